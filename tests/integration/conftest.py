# SPDX-License-Identifier: LGPL-2.1-or-later
"""One machine for the whole suite, a fresh stick for each test."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from testbed import paths, tree
from testbed.bus import Bus
from testbed.container import Stack
from testbed.drive import Drive
from testbed.stick import MIB, SLOW, Stick

# Little memory makes the key derivation no quicker (it takes about a second), but lets several run.
CONFIGURATION = r"""
mkdir -p /etc/usbcrypt
printf 'KdfMemory=64M\n' >/etc/usbcrypt/usbcryptd.conf
"""

DAEMON = "usbcryptd.service"


def boot(stage=""):
    return Stack.boot(stage=CONFIGURATION + stage)


@pytest.fixture(scope="session")
def machine():
    if os.geteuid() != 0:
        pytest.skip("the integration tests need root")
    if not (paths.build() / "usbcryptd").exists():
        pytest.fail(f"nothing is built in {paths.build()}: make O=...")
    stack = boot()
    stack.run(["systemctl", "start", DAEMON])
    yield stack
    stack.down()


@pytest.fixture
def bus(machine):
    return Bus(machine)


@pytest.fixture
def second_machine(machine):
    stack = boot()
    stack.run(["systemctl", "start", DAEMON])
    yield stack
    stack.down()


@pytest.fixture
def make_stick(machine, request):
    """make_stick(filesystem, size, ...) -> Stick, not plugged yet. Taken away at the end."""
    sticks = []

    def make(filesystem="ext4", size=64 * MIB, **options):
        if filesystem == "btrfs":
            size = max(size, 128 * MIB)
        stick = Stick.make(machine, f"s{len(sticks)}", filesystem, size, **options)
        sticks.append(stick)
        return stick

    yield make
    for stick in sticks:
        stick.discard()


@pytest.fixture
def make_drive(make_stick, bus):
    """make_drive(filesystem, ...) -> Drive: plugged, mounted, known to the daemon."""
    def make(filesystem="ext4", size=64 * MIB, plug=None, **options):
        return Drive(make_stick(filesystem, size, **options), bus).plug(**(plug or {}))
    return make


@pytest.fixture
def drive(make_drive):
    """A plain ext4 drive of alice's: plugged, mounted, not enrolled."""
    return make_drive()


@pytest.fixture
def enrolled(drive):
    """The same, enrolled and unlocked."""
    drive.enroll()
    return drive


@pytest.fixture
def slow(make_drive):
    """slow(filesystem) -> (drive, snapshot): enrolled, on a slow yankable stick, with plain files."""
    def make(filesystem="ext4"):
        # Little room makes small batches, so that there is a middle to be caught in.
        drive = make_drive(filesystem, size=28 * MIB)
        for number, size in enumerate([80000] * 150 + [1, 0, 200000, 70000]):
            tree.write(drive.files, f"d{number % 7}/{number}", tree.content(number, size), mtime=1_500_000_000 + number)
        tree.give(drive.files, 3001)
        drive.replug(yankable=True, **SLOW)
        before = tree.snapshot(drive.files)
        drive.enroll()
        return drive, before
    return make


@pytest.fixture(autouse=True)
def the_daemon_stays_alive(request):
    """No test may bring the daemon down, but those that do it on purpose."""
    if "machine" not in request.fixturenames:
        yield
        return
    machine = request.getfixturevalue("machine")
    on_purpose = request.node.get_closest_marker("ends_the_daemon")

    def restarts():
        return machine.run(["systemctl", "show", "-P", "NRestarts", "-P", "ActiveState", DAEMON]).stdout.split()

    before = restarts()
    yield
    reports = list((machine.root / "var/log/usbcrypt-sanitizer").glob("*"))
    text = "".join(report.read_text(errors="replace") for report in reports)
    for report in reports:
        report.unlink()
    assert not text, text
    if not on_purpose:
        assert restarts() == before, machine.journal()[-4000:]


def pytest_configure(config):
    config.addinivalue_line("markers", "ends_the_daemon: the daemon is restarted on purpose")
    config.addinivalue_line("markers", "large: takes minutes or gigabytes")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the daemon and polkit logged goes with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and "machine" in item.fixturenames and report.when == "call":
        machine = item.funcargs.get("machine")
        if machine:
            report.sections.append(("usbcryptd's journal", machine.journal()[-6000:]))
            report.sections.append(("polkit's journal", machine.journal("polkit.service")[-2000:]))
