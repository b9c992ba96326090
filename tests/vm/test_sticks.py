# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sticks of every kind and in every state: several at once, read-only, full, failing, and pulled while nothing runs."""

import json

import pytest

from machine.drive import DONE, INTERRUPTED, PARTIAL, WRONG_PASSPHRASE

FAT = ["vfat+udisks", "exfat+udisks"]


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


def whole(drive, before):
    after = drive.snapshot()
    return {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
            if before.get(path) != after.get(path)}


@pytest.mark.parametrize("kind", [long("vfat"), "exfat"])  # test_power_cuts.py has others
def test_a_whole_disk_filesystem_goes_there_and_back(make_vm, make_drive, kind):
    drive = make_drive(kind, whole_disk=True).plug(make_vm())
    drive.call("make_tree")
    before = drive.snapshot()
    drive.enroll()
    assert not drive.encrypt().failures
    drive.unmount()
    drive.mount()
    drive.unlock()
    assert not drive.decrypt().failures
    drive.unmount()
    drive.mount()
    assert not whole(drive, before)


def test_plain_bytes_are_nowhere_on_the_stick_afterwards(enrolled, make_vm):
    """Every cluster that held a file holds something else (I9)."""
    for kind in FAT:
        drive, before = enrolled(kind)
        data = [bytes(f"album/{number}\n", "ascii") for number in range(60)]
        assert all(drive.stick.contains(line) for line in data)
        drive.plug(make_vm())
        drive.unlock()
        assert not drive.encrypt().failures
        drive.unplug()
        assert not [line for line in data if drive.stick.contains(line)]


@pytest.mark.parametrize("kind", [FAT[0], long(FAT[1])])
def test_a_wrong_passphrase_changes_no_byte(enrolled, make_vm, kind):
    drive, _ = enrolled(kind)
    vm = make_vm()
    drive.plug(vm)
    drive.names()
    drive.unplug()
    digest = drive.stick.digest()
    drive.plug(vm)
    drive.unlock(passphrase="wrong 7 horse battery", expect=WRONG_PASSPHRASE)
    drive.names()
    drive.unplug()
    assert drive.stick.digest() == digest


@pytest.mark.parametrize("kind", ["vfat+udisks", long("exfat+udisks")])
def test_two_sticks_at_once_do_not_meet(enrolled, make_vm, kind):
    vm = make_vm()
    drives = [enrolled(kind), enrolled("exfat+udisks" if kind.startswith("vfat") else "vfat+udisks")]
    for drive, _ in drives:
        drive.plug(vm)
    for drive, _ in drives:
        drive.unlock()
    for verb in ("encrypt", "decrypt"):
        runs = [drive.begin(verb) for drive, _ in drives]
        for run in runs:
            assert not run.end(DONE).failures
    for drive, before in drives:
        assert not whole(drive, before)


@pytest.mark.parametrize("kind", [long(FAT[0]), FAT[1]])
def test_a_read_only_stick_is_decrypted_to_elsewhere_and_nothing_else(enrolled, make_vm, kind):
    drive, before = enrolled(kind, encrypted=True)
    digest = drive.stick.digest()
    vm = make_vm()
    drive.plug(vm, read_only=True)
    drive.unlock()
    assert drive.decrypt(expect=None).document.get("error") or drive.decrypt(expect=None).result == "ReadOnly"
    vm.run(["mkdir", "/home/alice/out"], user="alice")
    assert not drive.decrypt("--to", "/home/alice/out").failures
    copied = vm.call("snapshot", "/home/alice/out")
    assert copied.keys() == {path for path in before if not path.startswith(".usbcrypt")}
    for path, entry in before.items():
        assert entry[1] is None or copied[path][1:] == entry[1:], path
    drive.unplug()
    assert drive.stick.digest() == digest


@pytest.mark.parametrize("kind", [FAT[0], long(FAT[1])])
def test_a_full_stick_is_refused_before_anything_changes(enrolled, make_vm, kind):
    drive, before = enrolled(kind)
    drive.plug(make_vm())
    drive.call("fill", "rest", 0)
    before = drive.snapshot()
    drive.unlock()
    result = drive.encrypt(expect=None)
    assert result.code != DONE and result.document["error"] == "NoSpace" if "error" in result.document \
        else result.result == "NoSpace", result
    assert not whole(drive, before)


@pytest.mark.parametrize("kind", FAT)
def test_a_nearly_full_stick_is_encrypted_and_decrypted(enrolled, make_vm, kind):
    """Room for a fraction of the files at a time."""
    drive, before = enrolled(kind)
    vm = make_vm()
    drive.plug(vm)
    size = sum(entry[1] or 0 for entry in before.values())
    assert size > 2_600_000
    drive.call("fill", "rest.iso", 2_300_000)  # the largest file is 1 MiB
    vm.call("write_file", drive.point, "note", "x")
    drive.unmount()
    drive.mount()
    before = drive.snapshot()
    drive.unlock()
    scope = [path for path in before if "/" not in path and path != "rest.iso"]
    assert not drive.encrypt(*scope).failures
    assert not drive.decrypt(*scope).failures
    assert not whole(drive, before)


@pytest.mark.parametrize(("kind", "state", "how"), [
    ("vfat+udisks", "unlocked", "pulled"), ("exfat+udisks", "unlocked", "power"),
    long("exfat+udisks", "locked", "pulled"), long("vfat+udisks", "locked", "power")])
def test_taken_away_while_idle_it_is_forgotten(enrolled, make_vm, kind, state, how):
    drive, before = enrolled(kind)
    vm = make_vm()
    drive.plug(vm)
    if state == "unlocked":
        drive.unlock()
    if how == "pulled":
        drive.yank()
        drives = json.loads(vm.run(["usbctl", "list", "--json"], user="alice").out.splitlines()[-1])
        assert not drives["drives"], drives
    else:
        vm.kill()
        vm = make_vm()
    drive.plug(vm)
    assert drive.properties["Locked"] is True and drive.properties["Pending"] == ""
    assert not whole(drive, before)


@pytest.mark.parametrize("kind", [long(FAT[0]), FAT[1]])
def test_bad_sectors_cost_no_file(enrolled, make_vm, kind):
    """Reads of one file's sectors fail for good: that file is named and left, the others are encrypted."""
    drive, before = enrolled(kind)
    with open(drive.stick.image, "rb") as image:
        position = image.read().find(b"album/30\n")
    sectors = [{"event": "none", "iotype": "read", "errno": 5, "sector": position // 512 + n, "once": False}
               for n in range(4)]
    vm = make_vm()
    drive.plug(vm, faults=sectors)
    drive.unlock()
    result = drive.encrypt(expect=None)
    assert result.code in (PARTIAL, 1, INTERRUPTED), result
    names = drive.names()
    failed = [path for path in result.failures]
    drive.yank()
    drive.plug(vm)
    drive.unlock()
    if drive.properties["Pending"]:
        drive.recover("settle")
    assert not drive.decrypt().failures
    assert not whole(drive, before), (failed, names)
    assert failed and all("photo-00030" in path for path in failed), result
