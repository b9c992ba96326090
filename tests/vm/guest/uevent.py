# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waits for devices: wakes up when udev has dealt with one."""

import socket
import threading
import time

NETLINK_KOBJECT_UEVENT = 15
GROUP_UDEV = 2


class Uevents:
    def __init__(self):
        self.changed = threading.Condition()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, GROUP_UDEV))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                self.socket.recv(65536)
            except OSError:  # some were lost: then everything may have changed
                pass
            with self.changed:
                self.changed.notify_all()

    def wait(self, what, condition, timeout):
        """Returns the condition's first true value. Looks again after each event of udev's."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"waited {timeout} s in vain: {what}")
                self.changed.wait(min(left, 5))
            return value
