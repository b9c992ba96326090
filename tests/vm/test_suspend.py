# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that sleeps keeps no key, and a run that it sleeps through is finished afterwards."""

import pytest

from machine.drive import DONE

KINDS = ["vfat+udisks", "exfat+udisks"]


def sleep_and_wake(vm):
    """Suspends it to memory as a lid would, wakes it when it sleeps."""
    vm.reusable = False  # emulated, it wakes by itself from its second sleep
    done = vm.agent.start(["systemctl", "suspend"])
    vm.qmp.wait_event("SUSPEND", 120)
    vm.qmp.run("system_wakeup")
    vm.qmp.wait_event("WAKEUP", 60)
    done.result(120).check()


def mount_anew(drive):
    """The bus was reset, and the kernel cannot tell whether this is the same medium: a removable disk has a new sequence
    number. Only a new mount says that it is."""
    drive.unmount()
    drive.mount()


def test_sleep_locks_every_stick(enrolled, make_vm):
    vm = make_vm()
    drives = [enrolled(kind)[0] for kind in KINDS]
    for drive in drives:
        drive.plug(vm)
        drive.unlock()
        assert drive.properties["Locked"] is False
    sleep_and_wake(vm)
    for drive in drives:
        drive.wait(Locked=True)
        mount_anew(drive)
        drive.unlock()
        assert not drive.encrypt().failures


@pytest.mark.parametrize("kind", [KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.long)])
def test_a_run_that_sleep_interrupts_is_finished_afterwards(enrolled, make_vm, kind):
    drive, before = enrolled(kind)
    vm = make_vm()
    drive.plug(vm)
    drive.unlock()
    start = drive.stick.written()
    run = drive.begin("encrypt")
    drive.stick.wait_written(start + 10, run.future.done)
    assert not run.future.done()
    sleep_and_wake(vm)
    result = run.end()
    assert result.code != DONE and drive.properties["Locked"] is True, result
    mount_anew(drive)
    drive.unlock()
    if drive.properties["Pending"]:
        drive.recover("resume")
    else:
        assert not drive.encrypt().failures
    assert all(name.endswith(".ucr") for name, entry in drive.snapshot().items() if entry[1] is not None)
    assert not drive.decrypt().failures
    assert drive.snapshot() == before
