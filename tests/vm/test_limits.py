# SPDX-License-Identifier: LGPL-2.1-or-later
"""What FAT cannot do, and does otherwise than other filesystems."""

import pytest

from machine.drive import DONE, FAILED, PARTIAL
from machine.stick import MIB

FAT = ["vfat+udisks", "exfat+udisks"]


def form(name):
    return name.removesuffix(".ucr")


def there_and_back(drive, timeout=300):
    drive.unmount()
    drive.mount()
    before = drive.snapshot()
    files = {path for path, entry in before.items() if entry[1] is not None}
    drive.enroll()
    result = drive.encrypt(timeout=timeout)
    assert not result.failures and result.counts["encrypted"] == len(files), result
    names = {name for name, entry in drive.snapshot().items() if entry[1] is not None}
    assert len(names) == len(files) and all(name.endswith(".ucr") for name in names), names
    drive.unmount()
    drive.mount()
    drive.unlock()
    result = drive.decrypt(timeout=timeout)
    assert not result.failures and result.counts["decrypted"] == len(files), result
    drive.unmount()
    drive.mount()
    after = drive.snapshot()
    assert after == before, {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
                             if before.get(path) != after.get(path)}
    drive.unplug()
    status, text = drive.stick.fsck(drive.stick.image.parent)
    assert status == 0, text


@pytest.mark.parametrize("kind", [FAT[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in (FAT[1], "vfat"))])
def test_odd_names_go_there_and_back(make_vm, make_drive, kind):
    drive = make_drive(kind).plug(make_vm())
    names = ["x" * 255, "y" * 251, "z" * 252, "\N{BEACH WITH UMBRELLA}" * 127, "\u017e" * 255, "\u3042" * 250,
             "UPPER.TXT", "MixedCase.Txt", "lower", "longname one.txt", "longname two.txt",
             ".hidden", "two.dots.jpg", "NOEXT", "with space", "e\u0301 and \u00e9", "file.ucr.bak", "a" * 8 + ".ext",
             "deep/" * 30 + "file"]
    for number, name in enumerate(names):
        drive.call("write_file", name, f"{number} {name}", 1_500_000_000 + 2 * number)
    there_and_back(drive)


def test_a_name_that_became_anothers_alias_is_said_and_stays_encrypted(make_vm, make_drive):
    """LONGNA~1.TXT is encrypted; when "longname one.txt" is decrypted, vfat gives it that name as its alias."""
    drive = make_drive("vfat+udisks").plug(make_vm())
    drive.call("write_file", "LONGNA~1.TXT", "short")
    drive.call("write_file", "longname one.txt", "long")
    drive.enroll()
    assert not drive.encrypt().failures
    drive.usbctl("decrypt", "longname one.txt")
    result = drive.decrypt(expect=FAILED)
    assert result.result == "UnfitFiles" and result.failures == {"LONGNA~1.TXT.ucr": "clash"}, result
    assert drive.verify().counts["verified"] == 1
    drive.vm.run(["mv", f"{drive.point}/LONGNA~1.TXT.ucr", f"{drive.point}/other.txt.ucr"], user="alice")
    assert drive.decrypt(expect=PARTIAL).counts["moved"] == 1


@pytest.mark.parametrize("kind", [FAT[0], pytest.param(FAT[1], marks=pytest.mark.long)])
def test_names_that_differ_only_in_case_are_one_file(make_vm, make_drive, kind):
    """A plain file and the encrypted one of a name that differs in case: the name is taken."""
    drive = make_drive(kind).plug(make_vm())
    drive.call("write_file", "Photo.JPG", "one")
    drive.call("write_file", "photo.jpg.UCR", "not ours")
    before = drive.snapshot()
    drive.enroll()
    result = drive.encrypt(expect=None)
    assert result.code != DONE and result.failures, result
    assert drive.snapshot() == before


@pytest.mark.parametrize("kind", [FAT[0], pytest.param(FAT[1], marks=pytest.mark.long)])
def test_what_fat_cannot_name_is_named_when_it_is_copied_there(make_vm, make_drive, kind):
    """From ext4, which can. Each file is there, or said to be not; none is put in another's place."""
    vm = make_vm()
    drive, target = make_drive("ext4").plug(vm), make_drive(kind).plug(vm)
    forbidden = ["colon: what?.txt", 'quote".txt', "pipe|star*", "back\\slash", "<angle>"]
    twins = [("photo.jpg", "Photo.JPG"), ("dot", "dot.")]
    for name in [*forbidden, *(name for pair in twins for name in pair), "fine.txt"]:
        drive.call("write_file", name, name)
    before = drive.snapshot()
    drive.enroll()
    assert not drive.encrypt().failures
    vm.run(["mkdir", f"{target.point}/out"], user="alice")
    result = drive.decrypt("--to", f"{target.point}/out", expect=PARTIAL)
    failed = set(result.failures)
    assert set(forbidden) <= {form(name) for name in failed}, result
    assert all(len(failed & {name + ".ucr" for name in pair}) == 1 for pair in twins), result
    copied = vm.call("snapshot", f"{target.point}/out")
    assert {entry[3] for entry in copied.values()} == \
        {entry[3] for name, entry in before.items() if name + ".ucr" not in failed}, (copied, failed)


@pytest.mark.parametrize("kind", FAT)
def test_times_come_back_as_the_filesystem_keeps_them(make_vm, make_drive, kind):
    drive = make_drive(kind).plug(make_vm())
    for number, mtime in enumerate([315_619_200, 1_000_000_001, 1_234_567_890.5, 4_000_000_000, 1_600_000_000.01]):
        drive.call("write_file", f"file {number}", "x" * number, mtime)
    there_and_back(drive)


@pytest.mark.long
@pytest.mark.parametrize("kind", FAT)
def test_a_file_of_nearly_four_gib_is_refused_where_it_would_not_fit(make_vm, make_drive, kind):
    """FAT cannot hold its encrypted form; exFAT can. Both write the zeros of a longer file: that takes its time."""
    size = 5 << 30 if kind.startswith("vfat") else 9 << 30
    drive = make_drive(kind, size=size, **({"cluster": 64} if kind.startswith("vfat") else {})).plug(make_vm())
    drive.vm.shell('truncate -s 4294966000 "$1/film.mkv" && touch -d @1500000000 "$1/film.mkv"', drive.point,
                   user="alice", timeout=280)
    drive.enroll()
    result = drive.encrypt("--dry-run", expect=None)
    if kind.startswith("vfat"):
        assert result.failures == {"film.mkv": "too-large"}, result
    else:
        assert not result.failures, result


@pytest.mark.parametrize("kind", ["vfat", pytest.param("exfat", marks=pytest.mark.long)])  # udisks2's "flush" makes each file's close take 0.1 s
@pytest.mark.parametrize(("count", "prefix", "padding"), [
    (300, "photo", 100), pytest.param(5000, "photo", 100, marks=pytest.mark.long),
    pytest.param(21000, "img", 0, marks=pytest.mark.long)])
def test_a_folder_of_many_long_names(make_vm, make_drive, kind, count, prefix, padding):
    """A folder of vfat has 65,536 slots: two for each of 21,000 names of 13 characters, three for each encrypted one."""
    drive = make_drive(kind, size=256 * MIB if count > 1000 else None).plug(make_vm())
    drive.call("make_many", "many", count, 10, prefix, padding, timeout=1800)
    there_and_back(drive, timeout=1800)
