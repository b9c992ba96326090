# SPDX-License-Identifier: LGPL-2.1-or-later
"""Joins the caller's terminal to a program on a pseudo-terminal of a test machine (stack exec, stack shell)."""

import fcntl
import os
import select
import signal
import termios
import tty


def run(terminal):
    """`terminal`: a Terminal. Returns the exit status."""
    def resize(*_):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, size)

    resize()
    signal.signal(signal.SIGWINCH, resize)
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        watched = [0, terminal.master]
        while True:
            readable = select.select(watched, [], [])[0]
            if terminal.master in readable:
                try:
                    data = os.read(terminal.master, 65536)
                except OSError:
                    break
                if not data:
                    break
                os.write(1, data)
            if 0 in readable:
                data = os.read(0, 65536)
                if data:
                    terminal.send(data)
                else:
                    watched.remove(0)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return terminal.process.wait()
