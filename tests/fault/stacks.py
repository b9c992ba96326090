# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two machines of the integration tests' test bed, and a stick that is carried between them."""

import os
import random
import select
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

# pylint: disable=wrong-import-position
from testbed import tree
from testbed.bus import Bus
from testbed.container import Stack
from testbed.drive import Drive
from testbed.stick import MIB, Stick

LONG = os.environ.get("FAULT_LONG") == "1"
SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)

STAGE = r"""
mkdir -p /etc/usbcrypt /etc/systemd/system/usbcryptd.service.d
printf 'KdfMemory=64M\nPolicyTraced=allow\n' >/etc/usbcrypt/usbcryptd.conf
printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=50ms\n' \
    >/etc/systemd/system/usbcryptd.service.d/often.conf
"""

# Every write takes a while, so that a run lasts long enough to be met anywhere.
SLOW = {"filters": ["delay"], "parameters": ["delay-write=2ms"]}


def boot():
    stack = Stack.boot(stage=STAGE)
    stack.run(["systemctl", "start", "usbcryptd.service"])
    return stack


@pytest.fixture(scope="session")
def machines():
    both = []
    try:
        for _ in range(2):
            both.append(boot())
        yield both
    finally:
        for machine in both:
            machine.down()


@pytest.fixture
def make_drive(machines):
    """make_drive(filesystem, size, files={path: bytes}) -> Drive on the first machine, enrolled, unlocked, plain
    files on it; plugged so that it can be yanked, with `plug` handed on."""
    sticks = []

    def make(filesystem, size=32 * MIB, files=None, plug=None):
        stick = Stick.make(machines[0], f"f{len(sticks)}", filesystem, size)
        sticks.append(stick)
        drive = Drive(stick, Bus(machines[0])).plug()
        for number, (name, data) in enumerate((files or {}).items()):
            tree.write(drive.files, name, data, mtime=1_500_000_000 + 2 * number)
        tree.give(drive.files, 3001)
        drive.enroll()
        drive.replug(**(plug or {}))
        drive.unlock()
        return drive

    yield make
    for stick in sticks:
        stick.discard()


def carry(drive, machine, **plug):
    """To another machine: what is in a cache of the first is not seen there."""
    drive.stick.carry_to(machine)
    drive.bus = Bus(machine)
    drive.plug(**plug)
    drive.unlock()
    return drive


def sectors_written(drive):
    return int(Path(f"/sys/class/block/{drive.stick.loop}/stat").read_text().split()[6])


def yank_after(drive, process, sectors):
    """Pulls the drive once that many sectors have been written since now, or the run has ended."""
    target, deadline = sectors_written(drive) + sectors, time.monotonic() + 60
    flag = Path(f"{drive.stick.stack.root}{drive.stick.flag}")
    ended = os.pidfd_open(process.pid)
    while sectors_written(drive) < target and not select.select([ended], [], [], 0.001)[0]:
        assert time.monotonic() < deadline
    os.close(ended)
    flag.touch()
    drive.stick.yank()


def contents(drive):
    """{path: digest} of all that the drive holds in plain, or gives in plain to `decrypt --to`."""
    machine = drive.stick.stack
    target = f"/home/alice/copy-{os.urandom(4).hex()}"
    drive.decrypt("--to", target, expect=None)
    found = {}
    for root in (drive.files, machine.root / target[1:]):
        for path in tree.walk(root):
            if not path.endswith(tree.SUFFIX):
                try:
                    entry = tree.Entry(os.path.join(os.fsencode(root), path))
                except OSError:
                    continue  # what a torn creation or deletion left cannot always be read
                found.setdefault(path, set()).add(entry.digest)
    machine.run(["rm", "-rf", target])
    return found


def assert_all_there(drive, before, where):
    """I1: each file can be had, from its plain or its encrypted form."""
    found = contents(drive)
    lost = [path for path, entry in before.items() if entry.digest and entry.digest not in found.get(path, ())]
    assert not lost, f"{where}: {len(lost)} of {len(before)} cannot be had any more: {lost[:5]}"
