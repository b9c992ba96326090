# SPDX-License-Identifier: LGPL-2.1-or-later
"""A key is kept until it is locked: on demand, by time, and when the drive, its mount or its owner goes."""

import time

import pytest

from testbed import tree
from testbed.drive import CANCELLED, DONE, FAILED, INTERRUPTED, end, usbctl
from testbed.stick import MIB

SLOW = {"filters": ["rate"], "parameters": ["rate=40M", "burstiness=0.25"]}


def locked(properties):
    return properties["Locked"]


def test_lock_forgets_the_key(enrolled):
    enrolled.lock()
    assert enrolled.properties["Locked"]
    for verb in ("encrypt", "decrypt", "verify"):
        assert enrolled.usbctl(verb, expect=FAILED).result == "Locked"


def test_locking_a_locked_drive_is_no_error(enrolled):
    enrolled.lock()
    enrolled.lock()


def test_lock_all_locks_every_drive_of_the_caller(machine, make_drive):
    drives = [make_drive(), make_drive("exfat")]
    for drive in drives:
        drive.enroll()
    usbctl(machine, "lock", "--all")
    assert all(drive.properties["Locked"] for drive in drives)


def test_it_locks_itself_when_its_time_is_over(machine, enrolled):
    with enrolled.bus.watch() as watch:
        begin = time.time()
        enrolled.unlock("--timeout", "3s")
        lock_at = enrolled.properties["LockAt"] / 1e6
        assert begin + 2.5 < lock_at < time.time() + 3.5
        watch.wait("it locks itself", lambda: enrolled.properties["Locked"], timeout=15)
    assert time.time() >= lock_at - 0.5
    assert enrolled.encrypt(expect=FAILED).result == "Locked"


def test_the_kernel_drops_the_key_even_if_the_daemon_sleeps(machine, enrolled):
    """Stopped over the deadline, so that no timer of its own runs, the daemon finds no key when it wakes up."""
    enrolled.unlock("--timeout", "3s")
    pid = machine.run(["systemctl", "show", "-P", "MainPID", "usbcryptd.service"]).stdout.strip()
    lock_at = enrolled.properties["LockAt"] / 1e6
    machine.run(["kill", "-STOP", pid])
    try:
        # The passing of time is what is tested.
        time.sleep(max(0, lock_at - time.time()) + 1)
    finally:
        machine.run(["kill", "-CONT", pid])
    assert enrolled.encrypt(expect=FAILED).result == "Locked"


def test_a_run_postpones_the_deadline(make_drive):
    drive = make_drive(plug={"filters": ["delay"], "parameters": ["delay-write=10ms"]})
    tree.make(drive.files, sizes=[1 << 20] * 8)
    drive.enroll()
    drive.unlock("--timeout", "2s")
    drive.encrypt()
    assert drive.properties["LockAt"] / 1e6 > time.time(), "idle time counts from the end of the run"
    assert not drive.properties["Locked"]


def test_unmounting_locks(enrolled):
    enrolled.stick.unmount()
    enrolled.wait("it is locked", lambda p: p["Locked"] and not p["MountPoints"])
    enrolled.stick.mount()
    assert enrolled.wait_known()["Locked"]


def test_pulling_it_out_locks(make_drive, bus):
    drive = make_drive(plug={"yankable": True})
    drive.enroll()
    path = drive.properties["path"]
    drive.stick.yank()
    bus.wait("the drive is gone", lambda: path not in bus.objects())
    drive.plug()
    assert drive.properties["Locked"] and drive.properties["Enrolled"]


def test_the_end_of_the_owners_session_locks(machine, enrolled):
    machine.session("alice")
    with enrolled.bus.watch() as watch:
        machine.run(["systemctl", "stop", "testbed-alice-seat.service"])
        machine.sessions.clear()
        watch.wait("it is locked", lambda: enrolled.properties["Locked"])


def test_while_a_run_goes_on_lock_is_refused_unless_forced(make_drive):
    drive = make_drive(size=28 * MIB)
    for number in range(150):
        tree.write(drive.files, f"{number}", tree.content(number, 80000))
    tree.give(drive.files, 3001)
    drive.replug(**SLOW)
    drive.enroll()
    running = drive.begin("encrypt")
    drive.wait_running()
    assert drive.lock(expect=FAILED).result == "Busy"
    assert not drive.properties["Locked"]
    drive.lock("--force")
    assert drive.properties["Locked"]
    assert end(running, expect=CANCELLED).result == "Cancelled"
    assert drive.properties["Pending"] == ""
    drive.unlock()
    drive.encrypt()
    assert not tree.plain(drive.files)


@pytest.mark.ends_the_daemon
def test_a_restart_of_the_daemon_locks_every_drive(machine, enrolled):
    machine.run(["systemctl", "restart", "usbcryptd.service"])
    assert enrolled.wait_known()["Locked"]
    enrolled.unlock()
