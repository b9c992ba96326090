# SPDX-License-Identifier: LGPL-2.1-or-later
"""What FAT cannot do, and does otherwise than other filesystems."""

import pytest

from machine.drive import DONE, PARTIAL
from machine.stick import MIB

FAT = ["vfat+udisks", "exfat+udisks"]
FAT_BOTH = FAT + ["vfat"]


def there_and_back(drive, expect_encrypted=None):
    drive.unmount()
    drive.mount()
    before = drive.snapshot()
    files = {path for path, entry in before.items() if entry[1] is not None}
    drive.enroll()
    result = drive.encrypt()
    assert not result.failures and result.counts["encrypted"] == len(files), result
    names = {name for name, entry in drive.snapshot().items() if entry[1] is not None}
    assert len(names) == len(files) and all(name.endswith(".ucr") for name in names), names
    drive.unmount()
    drive.mount()
    drive.unlock()
    result = drive.decrypt()
    assert not result.failures and result.counts["decrypted"] == len(files), result
    drive.unmount()
    drive.mount()
    after = drive.snapshot()
    assert after == before, {path: (before.get(path), after.get(path)) for path in before.keys() | after.keys()
                             if before.get(path) != after.get(path)}
    drive.unplug()
    status, text = drive.stick.fsck(drive.stick.image.parent)
    assert status == 0, text


@pytest.mark.parametrize("kind", FAT_BOTH)
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
    result = drive.decrypt(expect=PARTIAL)
    assert result.failures == {"LONGNA~1.TXT.ucr": "clash"}, result
    assert drive.verify().counts["verified"] == 1
    drive.vm.run(["mv", f"{drive.point}/LONGNA~1.TXT.ucr", f"{drive.point}/other.txt.ucr"], user="alice")
    assert drive.decrypt(expect=PARTIAL).counts["moved"] == 1


@pytest.mark.parametrize("kind", FAT)
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


@pytest.mark.long
@pytest.mark.parametrize("kind", FAT)
def test_a_folder_of_thousands_of_long_names(make_vm, make_drive, kind):
    drive = make_drive(kind, size=256 * MIB).plug(make_vm())
    drive.call("make_many", "many", 5000, 10, "photo", 100)
    there_and_back(drive)


@pytest.mark.parametrize("kind", FAT)
def test_a_folder_of_a_thousand_long_names(make_vm, make_drive, kind):
    drive = make_drive(kind).plug(make_vm())
    drive.call("make_many", "many", 1000, 10, "photo", 100)
    there_and_back(drive)
