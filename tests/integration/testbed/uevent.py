# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for the kernel's block events. They reach every network namespace, the host's too."""

import select
import socket
import time

NETLINK_KOBJECT_UEVENT = 15


class Uevents:
    """Open it before what causes the event; then wait()."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, 1))
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wait(self, action, kernel_name, timeout=20):
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"no {action} event for {kernel_name}")
            head = self.socket.recv(65536).split(b"\0")[0].decode()
            if head.startswith(f"{action}@") and head.endswith(f"/{kernel_name}"):
                return
