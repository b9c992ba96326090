# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program on a pseudo-terminal, as a person sees it: read until something appears, type."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

# Linux's; the termios module does not name them.
TIOCGPTPEER = 0x5441
TIOCGPTN = 0x80045430
TIOCSPTLCK = 0x40045431


class TerminalError(Exception):
    pass


class Terminal:
    """`pts` is the devpts of the machine it runs on, so that ttyname() and /dev/tty mean something there."""

    def __init__(self, pts, arguments, rows=40, columns=120):
        self.master = os.open(pts / "ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(self.master, TIOCSPTLCK, struct.pack("i", 0))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        number = struct.unpack("I", fcntl.ioctl(self.master, TIOCGPTN, b"\0" * 4))[0]
        self.name = f"/dev/pts/{number}"
        slave = fcntl.ioctl(self.master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        # Whoever runs on it may reopen it by name, as programs like pinentry do.
        os.fchmod(slave, 0o666)

        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.seen = b""

    def fill(self, deadline):
        """Reads what comes. False at the end."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.master], [], [], left)[0]:
            raise TerminalError(f"nothing more came; so far: {self.seen!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def expect(self, pattern, timeout=20):
        """Reads until `pattern` (bytes, a regular expression) has appeared; consumes up to its end."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            if not self.fill(deadline):
                raise TerminalError(f"ended without {pattern!r}: {self.seen!r}")

    def wait_echo_off(self, timeout=20):
        """Waits until the program has switched the echo off: what is typed earlier would be shown."""
        deadline = time.monotonic() + timeout
        while termios.tcgetattr(self.master)[3] & termios.ECHO:
            # The terminal tells nobody when its modes change; programs switch and prompt within microseconds.
            if time.monotonic() > deadline:
                raise TerminalError("the echo stays on")
            select.select([], [], [], 0.005)

    def send(self, data):
        os.write(self.master, data)

    def finish(self, timeout=60):
        """Reads to the end; returns the exit status. What it printed is in `seen`."""
        deadline = time.monotonic() + timeout
        while self.fill(deadline):
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self):
        """Closes the window: what runs in it is hung up."""
        os.close(self.master)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
