# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulled out, or out of power, at any moment: every file is whole in one form (I1), recovery brings back all of it."""

import pytest

import fsck
from machine.drive import DONE


def long(*values):
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


# One verb on each filesystem; with VM_LONG both on all of them.
RUNS = [("vfat+udisks", "encrypt"), ("exfat+udisks", "decrypt"),
        *(pytest.param(kind, verb, marks=pytest.mark.long) for kind, verb in [
            ("vfat+udisks", "decrypt"), ("exfat+udisks", "encrypt"), ("vfat", "encrypt"), ("vfat", "decrypt"),
            ("exfat", "encrypt"), ("exfat", "decrypt")])]
MOMENTS = [0.6, *long(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 0.95)]


def is_encrypted(verb):
    return verb == "decrypt"


@pytest.fixture
def reference(enrolled, factory):
    """How many writes an undisturbed run takes: moments are fractions of that."""
    def measure(kind, verb):
        drive, _ = enrolled(kind, is_encrypted(verb))
        drive.plug(vm := factory.make())
        drive.unlock()
        begin = drive.stick.written()
        drive.usbctl(verb)
        writes = drive.stick.written() - begin
        factory.release(vm)
        return writes
    return lambda kind, verb: factory.shared.get(f"writes-{kind}-{verb}", lambda: measure(kind, verb))


def form(name):
    return name.removesuffix(".ucr")


def check_nothing_is_missing(drive, before):
    """Each file is there in one form at least; a plain one that claims to be whole is (checked after recovery)."""
    names = drive.snapshot()
    files = {path for path, entry in before.items() if entry[1] is not None}
    lost = files - {form(name) for name in names}
    assert not lost, lost


def check_recovers(drive, before, mode):
    """What is pending is settled; then everything can be decrypted, and is what it was."""
    drive.unlock()
    pending = drive.properties["Pending"]
    if pending:
        result = drive.recover(mode, expect=None)
        assert result.code == DONE, result
    assert drive.properties["Pending"] == ""
    names = drive.snapshot()
    left = [name for name in names if names[name][1] is not None]
    if pending:
        whole = {"resume": pending, "rollback": {"encrypt": "decrypt", "decrypt": "encrypt"}[pending]}[mode]
        encrypted = {name for name in left if name.endswith(".ucr")}
        assert len(left) == len({form(name) for name in left}), "both forms of a file are left"
        if mode == "resume":
            assert len(encrypted) == (len(left) if whole == "encrypt" else 0), left
    result = drive.verify()
    result = drive.decrypt()
    assert not result.failures, result
    after = drive.snapshot()
    assert after == before, {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
                             if before.get(path) != after.get(path)}
    drive.unplug()
    status, text = drive.stick.fsck(drive.stick.image.parent)
    assert not fsck.is_damaged(drive.stick.filesystem, status, text), text
    return pending


def begin_run(drive, verb, moment, writes):
    start = drive.stick.written()
    run = drive.begin(verb)
    drive.stick.wait_written(start + int(moment * writes), run.future.done)
    return run


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("kind", "verb"), RUNS)
def test_power_cut_while_running(enrolled, reference, make_vm, kind, verb, moment):
    writes = reference(kind, verb)
    drive, before = enrolled(kind, is_encrypted(verb))
    first = make_vm()
    drive.plug(first)
    drive.unlock()
    begin_run(drive, verb, moment, writes)
    first.kill()

    drive.plug(make_vm())
    check_nothing_is_missing(drive, before)
    check_recovers(drive, before, "resume" if round(moment * 10) % 2 == 0 else "rollback")


@pytest.mark.parametrize("moment", [0.3, *long(0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)])
@pytest.mark.parametrize(("kind", "verb"), RUNS)
def test_pulled_out_while_running(enrolled, reference, make_vm, kind, verb, moment):
    writes = reference(kind, verb)
    vm = make_vm()
    drive, before = enrolled(kind, is_encrypted(verb))
    drive.plug(vm)
    drive.unlock()
    run = begin_run(drive, verb, moment, writes)
    finished = run.future.done()  # no two runs write alike: this one took fewer requests than the measured one
    drive.yank()
    result = run.end()
    assert finished == (result.code == DONE), result

    drive.plug(vm)
    check_nothing_is_missing(drive, before)
    check_recovers(drive, before, "resume" if round(moment * 10) % 2 == 0 else "rollback")


@pytest.mark.parametrize(("kind", "verb", "mode", "how"), [
    ("vfat+udisks", "decrypt", "rollback", "power"), ("exfat+udisks", "encrypt", "resume", "pulled"),
    *(pytest.param(*row, marks=pytest.mark.long) for row in [
        ("vfat+udisks", "encrypt", "resume", "pulled"), ("vfat+udisks", "encrypt", "rollback", "power"),
        ("vfat+udisks", "decrypt", "resume", "pulled"), ("exfat+udisks", "encrypt", "rollback", "power"),
        ("exfat+udisks", "decrypt", "resume", "power"), ("exfat+udisks", "decrypt", "rollback", "pulled"),
        ("ext4", "encrypt", "resume", "power"), ("ext4", "decrypt", "rollback", "pulled")]),
])
def test_interrupted_while_recovering_again_and_again(enrolled, reference, make_vm, kind, verb, mode, how):
    """At the recovery's first write, when it has settled what it found, and in the middle of the resumed run."""
    writes = reference(kind, verb)
    drive, before = enrolled(kind, is_encrypted(verb))
    vm = make_vm()
    drive.plug(vm)
    drive.unlock()
    run = begin_run(drive, verb, 0.5, writes)
    for wait in [1, 12, writes // 4]:
        if how == "pulled":
            drive.yank()
            run.end()
        else:
            vm.kill()
            vm = make_vm()
        drive.plug(vm)
        check_nothing_is_missing(drive, before)
        drive.unlock()
        if not drive.properties["Pending"]:
            break  # the resumed run took fewer writes than that, and has ended
        start = drive.stick.written()
        run = drive.begin("recover", f"--{mode}")
        drive.stick.wait_written(start + wait, run.future.done)
    else:
        run.end()
    drive.unmount()
    drive.mount()
    check_recovers(drive, before, mode)
