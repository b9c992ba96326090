# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's control socket: commands, and waiting for events."""

import json
import socket
import time


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.reader = self.socket.makefile("rb")
        self.events = []
        self.receive()  # the greeting
        self.run("qmp_capabilities")

    def receive(self):
        line = self.reader.readline()
        if not line:
            raise QmpError("QEMU is gone")
        return json.loads(line)

    def run(self, command, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self.receive()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command} {arguments}: {message['error']['desc']}")
            else:
                return message["return"]

    def wait_event(self, name, timeout=60, **data):
        """Waits for (or finds) an event with this data; forgets it and those before it."""
        deadline = time.monotonic() + timeout
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    del self.events[:index + 1]
                    return event.get("data", {})
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                self.events.append(self.receive())
            except TimeoutError:
                raise QmpError(f"no {name} {data} in {timeout} s") from None
            finally:
                self.socket.settimeout(30)

    def close(self):
        self.reader.close()
        self.socket.close()
