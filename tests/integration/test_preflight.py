# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands in the way is found before the first change, and listed by name."""

import os

import pytest

from testbed import tree
from testbed.drive import DONE, FAILED, PARTIAL, Drive, usbctl
from testbed.stick import MIB


def refused(drive, result, *arguments, verb="encrypt"):
    before = tree.snapshot(drive.files)
    answer = drive.usbctl(verb, *arguments, expect=FAILED)
    assert answer.result == result, answer
    tree.assert_same(before, tree.snapshot(drive.files))
    return answer


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_too_little_free_space_is_refused(make_drive, filesystem):
    drive = make_drive(filesystem, size=32 * MIB)
    drive.enroll()
    tree.write(drive.files, "big", tree.content("big", 1 * MIB))
    # One file that fills it, so that not even one batch fits.
    status = os.statvfs(drive.files)
    room = status.f_bavail * status.f_frsize
    with open(drive.files / "filler", "wb") as file:
        file.write(tree.content("filler", room - MIB // 2))
    os.utime(drive.files / "filler", (1_500_000_000, 1_500_000_000))
    tree.give(drive.files, 3001)
    answer = refused(drive, "NoSpace")
    assert answer.counts["bytes-missing"] > 0


def test_a_clash_of_names_is_refused_or_skipped(enrolled):
    tree.write(enrolled.files, "report", b"plain")
    tree.write(enrolled.files, "report.ucr", b"somebody else's file of that name")
    tree.write(enrolled.files, "free", b"no clash")
    tree.give(enrolled.files, 3001)
    before = tree.snapshot(enrolled.files)
    answer = refused(enrolled, "UnfitFiles")
    assert answer.failures == {"report": "clash"}
    answer = enrolled.encrypt("--skip-unfit", expect=PARTIAL)
    assert answer.failures == {"report": "clash"}
    assert (enrolled.files / "report").read_bytes() == b"plain"
    assert (enrolled.files / "free.ucr").exists()
    # What is only called like an encrypted file is a plain one, and was encrypted.
    assert (enrolled.files / "report.ucr.ucr").exists()
    enrolled.decrypt()
    tree.assert_same(before, tree.snapshot(enrolled.files))


def test_a_clash_when_decrypting_is_refused_too(enrolled):
    tree.write(enrolled.files, "report", b"encrypted")
    tree.give(enrolled.files, 3001)
    enrolled.encrypt()
    tree.write(enrolled.files, "report", b"a new one of that name")
    tree.give(enrolled.files, 3001)
    answer = refused(enrolled, "UnfitFiles", verb="decrypt")
    assert set(answer.failures.values()) == {"clash"}


def test_unreadable_files_are_refused_by_name(enrolled):
    tree.write(enrolled.files, "hers", b"alice's")
    tree.give(enrolled.files, 3001)
    tree.write(enrolled.files, "sealed off", b"root's", mode=0)
    answer = refused(enrolled, "UnfitFiles")
    assert answer.failures == {"sealed off": "unreadable"}


def test_a_folder_that_cannot_be_opened_is_said(enrolled):
    """Nothing is skipped silently: whatever is in there is not encrypted."""
    tree.write(enrolled.files, "hers", b"alice's")
    tree.give(enrolled.files, 3001)
    tree.write(enrolled.files, "closed/inside", b"root's")
    os.chmod(enrolled.files / "closed", 0o700)
    answer = enrolled.encrypt(expect=None)
    assert answer.code != DONE and "closed" in answer.failures


def test_a_read_only_mount_is_refused(enrolled):
    tree.make(enrolled.files, sizes=[100])
    enrolled.stick.remount("ro")
    refused(enrolled, "ReadOnly")
    enrolled.stick.remount("rw")
    enrolled.encrypt()


@pytest.mark.parametrize("options", ["rw,nosuid", "rw,nodev", "rw"])
def test_an_unsafe_mount_is_refused(make_drive, options):
    drive = make_drive()
    drive.enroll()
    drive.stick.unmount()
    drive.wait("it is unmounted", lambda p: not p["MountPoints"])
    drive.stick.mount(options=options)
    drive.wait("it is mounted", lambda p: p["MountPoints"])
    assert drive.unlock(expect=FAILED).result == "UnsafeMount"
    assert drive.properties["Locked"]


def test_an_unmounted_drive_is_said(machine, make_stick, bus):
    stick = make_stick()
    drive = Drive(stick, bus)
    stick.plug()
    drive.wait("it appears", lambda p: p["FilesystemType"] == "ext4")
    result = drive.unlock(expect=FAILED)
    assert result.result == "NotMounted"


def test_dry_run_lists_what_it_found_and_changes_nothing(enrolled):
    files = tree.make(enrolled.files)
    tree.write(enrolled.files, "report", b"plain")
    tree.write(enrolled.files, "report.ucr", b"in the way")
    tree.give(enrolled.files, 3001)
    before = tree.snapshot(enrolled.files)
    answer = enrolled.encrypt("--dry-run", expect=None)
    assert answer.code in (FAILED, PARTIAL)
    assert answer.failures.get("report") == "clash"
    assert answer.document["dry_run"] is True
    tree.assert_same(before, tree.snapshot(enrolled.files))
    assert answer.document["files_total"] >= len(files)


def test_a_name_too_long_for_a_suffix_is_shortened_not_refused(enrolled):
    name = "n" * 255
    tree.write(enrolled.files, name, b"long name")
    tree.give(enrolled.files, 3001)
    enrolled.encrypt()
    names = {os.fsdecode(path) for path in tree.encrypted(enrolled.files)}
    assert len(names) == 1 and len(next(iter(names))) <= 255 and not tree.plain(enrolled.files)
    enrolled.decrypt()
    assert (enrolled.files / name).read_bytes() == b"long name"


def test_a_file_in_use_is_left_and_named(machine, enrolled):
    tree.make(enrolled.files, sizes=[5000])
    tree.write(enrolled.files, "open", b"somebody writes here")
    tree.give(enrolled.files, 3001)
    holder = machine.popen(["sh", "-c", f"exec 3>>'{enrolled.stick.mount_point}/open'; echo held; read line"],
                           user="alice", stdin=-1, stdout=-1)
    assert holder.stdout.readline() == b"held\n"
    try:
        answer = enrolled.encrypt(expect=PARTIAL)
        assert answer.failures == {"open": "in-use"}
        assert (enrolled.files / "open").read_bytes() == b"somebody writes here"
        assert not (enrolled.files / "open.ucr").exists()
    finally:
        holder.communicate(b"\n")
    enrolled.encrypt()
    assert not tree.plain(enrolled.files)


def test_btrfs_is_told_beforehand_that_scrubbing_is_not_promised(make_drive):
    drive = make_drive("btrfs")
    tree.make(drive.files, sizes=[100])
    drive.enroll()
    done = drive.stick.stack.run(["usbctl", "encrypt", drive.stick.device], user="alice")
    said = (done.stderr + done.stdout).lower()
    assert "promise" in said
    assert said.index("promise") < said.index("encrypted 1"), "before, not after"


def test_ext4_is_not(enrolled):
    tree.make(enrolled.files, sizes=[100])
    done = enrolled.stick.stack.run(["usbctl", "encrypt", enrolled.stick.device], user="alice")
    assert "promise" not in (done.stderr + done.stdout).lower()
