# SPDX-License-Identifier: LGPL-2.1-or-later
"""What usbcryptd says on the bus, read as root from the host; and waiting until it says something else."""

import json
import os
import select
import signal
import subprocess
import time

NAME = "org.usbcrypt.UsbCrypt1"
PATH = "/org/usbcrypt/UsbCrypt1"
DRIVE = NAME + ".Drive"
TRANSACTION = NAME + ".Transaction"
NOT_KNOWN = 4294967295


class BusError(Exception):
    pass


class Bus:
    def __init__(self, stack):
        self.stack = stack

    def busctl(self, *arguments):
        command = ["busctl", f"--address={self.stack.bus_address}", "--json=short", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise BusError(done.stderr.strip())
        return json.loads(done.stdout) if done.stdout.strip() else None

    def call(self, path, interface, member, *arguments):
        return self.busctl("call", NAME, path, interface, member, *arguments)

    def objects(self):
        """{path: {interface: {property: value}}}"""
        answer = self.call(PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        return {path: {interface: {name: value["data"] for name, value in properties.items()}
                       for interface, properties in interfaces.items()}
                for path, interfaces in answer["data"][0].items()}

    def drives(self):
        return {path: interfaces[DRIVE] for path, interfaces in self.objects().items() if DRIVE in interfaces}

    def drive(self, device):
        """The properties of a device's drive and its path as "path"; None: there is no such drive."""
        for path, properties in self.drives().items():
            if properties["Device"] == device:
                return properties | {"path": path}
        return None

    def transaction(self, device):
        """The properties of the transaction that runs on a device, or None."""
        objects = self.objects()
        for path, interfaces in objects.items():
            if DRIVE in interfaces and interfaces[DRIVE]["Device"] == device:
                current = objects.get(interfaces[DRIVE]["Transaction"], {}).get(TRANSACTION)
                return current | {"path": interfaces[DRIVE]["Transaction"]} if current else None
        return None

    def watch(self):
        return Watch(self)

    def connection(self):
        return Connection(self.stack.bus_address)

    def wait(self, what, condition, timeout=30):
        """Waits for a condition that changes with a signal of the daemon's; returns its value."""
        with self.watch() as watch:
            return watch.wait(what, condition, timeout)


class Connection:
    """A connection of one's own that stays: many questions in the time that busctl needs to start."""

    def __init__(self, address):
        import dbus
        self.connection = dbus.bus.BusConnection(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def call(self, path, interface, member, signature="", arguments=(), timeout=25):
        return self.connection.call_blocking(NAME, path, interface, member, signature, arguments, timeout)

    def ping(self):
        """Asks the bus itself, not the daemon."""
        self.connection.call_blocking("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId",
                                      "", ())

    def get(self, path, interface, name):
        return self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", (interface, name))

    def get_all(self, path, interface):
        return self.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", (interface,))


class Watch:
    """Signals of the daemon. Open it before what causes them, or look at the condition first, as wait() does."""

    def __init__(self, bus):
        self.bus = bus

    def __enter__(self):
        command = ["busctl", f"--address={self.bus.stack.bus_address}", "--json=short", "monitor",
                   "--match", f"type='signal',sender='{NAME}'",
                   "--match", f"type='signal',member='NameOwnerChanged',arg0='{NAME}'"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        # It says so on standard error once it listens.
        line = self.process.stderr.readline()
        if b"Monitoring" not in line:
            raise BusError(f"busctl monitor: {line!r}")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def next_signal(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            return False
        # All that has come: one look at the state answers for all of it.
        return bool(os.read(self.process.stdout.fileno(), 1 << 20))

    def wait(self, what, condition, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            try:
                value = condition()
            except BusError as error:
                value, last = None, error
            else:
                last = value
            if value:
                return value
            if not self.next_signal(deadline):
                raise TimeoutError(f"waited {timeout} s for: {what}; at the end: {last!r}; "
                                   f"drives: {self.bus.drives()}")
