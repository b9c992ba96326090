# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a desktop does with a stick: an automounter mounts it, a prompt appears, its owner types, it is unlocked."""

import pytest

from machine.drive import PASSPHRASE

MOUNTER = ["udiskie", "--automount", "--no-notify", "--no-tray"]

# The agent on a terminal of alice's, and her fingers: each time that it asks, and the echo is off, she types.
AGENT = r"""
import os, pty, sys, termios, time
passphrase = sys.stdin.buffer.read()
child, terminal = pty.fork()
if child == 0:
    os.execvp("usbctl", ["usbctl", "agent", "--pinentry", "pinentry-tty"])
unread = b""
while data := os.read(terminal, 4096):
    unread += data
    if b"Passphrase:" in unread:
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.05)  # a terminal tells nobody of that
        os.write(terminal, passphrase + b"\n")
        unread = b""
"""


@pytest.mark.parametrize("kind", ["vfat+udisks", pytest.param("exfat+udisks", marks=pytest.mark.long)])
def test_plug_in_type_use_pull_out_plug_in_again(enrolled, make_vm, kind):
    drive, before = enrolled(kind)
    vm = make_vm()
    vm.reusable = False  # these two stay
    vm.agent.start(MOUNTER, user="alice", timeout=1000)
    vm.agent.start(["python3", "-c", AGENT], user="alice", input=PASSPHRASE, timeout=1000)

    def plug():
        drive.plug(vm, mount=False)
        drive.point = vm.call("wait_mount", drive.stick.node, 120)["point"]
        drive.wait(Locked=False, timeout=120)

    plug()
    assert drive.point.startswith("/media/alice/")
    assert not drive.encrypt().failures
    drive.yank()  # as people do
    plug()
    assert not drive.decrypt().failures
    assert drive.snapshot() == before
