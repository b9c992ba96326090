# SPDX-License-Identifier: LGPL-2.1-or-later
"""I1: exFAT whose allocation bitmap does not know a folder's or a file's cluster any more, as a power cut can leave it. The
kernel sees nothing wrong with it; whatever is written next would take the cluster."""

import pytest

from test_interruption import interrupt
from testbed import tree
from testbed.drive import FAILED
from testbed.exfat import Bitmap


def out(drive):
    drive.stick.unmount()
    drive.stick.unplug()


def back(drive):
    drive.plug()
    drive.unlock()


def fill(drive):
    for number in range(40):
        tree.write(drive.files, f"album/{number:02}-{'x' * 60}.jpg", tree.content(number, 3000), mtime=1_500_000_000 + 2 * number)
    tree.write(drive.files, "letter", tree.content(99, 9000), mtime=1_600_000_000)
    tree.give(drive.files, 3001)
    return tree.snapshot(drive.files)


@pytest.mark.parametrize("victim", ["album", "letter"])
def test_nothing_is_written_to_it(make_drive, victim):
    drive = make_drive("exfat")
    drive.enroll()
    before = fill(drive)
    out(drive)
    bitmap = Bitmap(drive.stick)
    cluster = bitmap.last_cluster(victim)
    bitmap.set(cluster, False)
    back(drive)
    refused = drive.encrypt(expect=FAILED)
    assert refused.result == "FilesystemDamaged"
    assert "fsck.exfat" in refused.err
    tree.assert_same(before, tree.snapshot(drive.files))
    out(drive)
    bitmap.set(cluster, True)
    back(drive)
    drive.encrypt()
    assert not tree.plain(drive.files)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


@pytest.mark.parametrize("verb, mode", [("encrypt", "resume"), ("encrypt", "rollback"), ("encrypt", "settle"), ("decrypt", "resume")])
def test_with_a_damaged_folder_recovery_does_not_begin(slow, verb, mode):
    drive, before = slow("exfat")
    if verb == "decrypt":
        drive.encrypt()
    interrupt(drive, verb)
    bitmap = Bitmap(drive.stick)
    cluster = bitmap.last_cluster("d1")
    bitmap.set(cluster, False, clean=True)  # a driver that says so is not believed here
    back(drive)
    there = tree.snapshot(drive.files)
    refused = drive.recover(mode, expect=FAILED)
    assert refused.result == "FilesystemDamaged"
    assert drive.properties["Pending"] == verb
    tree.assert_same(there, tree.snapshot(drive.files))
    out(drive)
    bitmap.set(cluster, True)
    back(drive)
    drive.recover(mode)
    assert drive.properties["Pending"] == ""
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


def test_with_a_torn_file_nothing_follows_the_recovery(slow):
    """Somebody was copying a file onto it when it was pulled out."""
    drive, before = slow("exfat")
    interrupt(drive, "encrypt")
    drive.plug()
    tree.write(drive.files, "copied", tree.content(7, 9000), mtime=1_600_000_000)
    out(drive)
    bitmap = Bitmap(drive.stick)
    cluster = bitmap.last_cluster("copied")
    bitmap.set(cluster, False)
    back(drive)
    assert drive.recover("resume", expect=FAILED).result == "FilesystemDamaged"
    assert drive.properties["Pending"] == "encrypt"
    assert drive.recover("resume", expect=FAILED).result == "FilesystemDamaged"
    out(drive)
    bitmap.set(cluster, True)
    back(drive)
    drive.recover("resume")
    assert not tree.plain(drive.files)
    drive.decrypt()
    copied = drive.files / "copied"
    assert copied.read_bytes() == tree.content(7, 9000)
    copied.unlink()
    tree.assert_same(before, tree.snapshot(drive.files))
