# SPDX-License-Identifier: LGPL-2.1-or-later
"""Little room: a nearly full drive, one that fills up meanwhile, and a quota nobody can see beforehand."""

import errno
import os

import pytest

from testbed import tree
from testbed.drive import DONE, FAILED, INTERRUPTED, PARTIAL, end
from testbed.stick import MIB

CLUSTER = 4096


def room(drive):
    """What is free for its user, in bytes."""
    status = os.statvfs(drive.files)
    return status.f_bavail * status.f_frsize


class Filler:
    """Takes room away. It lies where no run looks."""

    def __init__(self, drive, leave):
        self.drive = drive
        self.path = drive.files / ".usbcrypt/filler"
        self.file = open(self.path, "wb", buffering=0)
        self.take(leave)

    def take(self, leave):
        while (more := (room(self.drive) - leave) // CLUSTER * CLUSTER) > 0:
            try:
                self.file.write(tree.content(0, min(more, MIB)))
                os.fsync(self.file.fileno())
            except OSError as error:
                # Somebody else was quicker, or the filesystem wants some for itself.
                assert error.errno == errno.ENOSPC
                return

    def give(self, size):
        self.file.truncate(self.file.tell() // CLUSTER * CLUSTER - (size + CLUSTER - 1) // CLUSTER * CLUSTER)
        self.file.seek(0, os.SEEK_END)
        os.fsync(self.file.fileno())

    def close(self):
        self.file.close()
        self.path.unlink()


def fill(drive, sizes):
    for number, size in enumerate(sizes):
        tree.write(drive.files, f"d{number % 5}/{number}", tree.content(number, size), mtime=1_500_000_000 + 2 * number)
    tree.give(drive.files, 3001)
    return tree.snapshot(drive.files)


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_what_is_said_to_be_missing_is_what_is_missing(make_drive, filesystem):
    """Small files need one small batch of free space, not as much as they hold."""
    drive = make_drive(filesystem, size=40 * MIB)
    drive.enroll()
    before = fill(drive, [20000 + number for number in range(600)])
    filler = Filler(drive, 100_000)
    for verb in ("encrypt", "decrypt"):
        there = tree.snapshot(drive.files)
        refused = drive.usbctl(verb, expect=None)
        if refused.code != DONE:
            assert refused.code == FAILED and refused.result == "NoSpace"
            tree.assert_same(there, tree.snapshot(drive.files))
            missing = refused.counts["bytes-missing"]
            assert 0 < missing < 4 * MIB
            # A little less than that is not enough; that much is.
            filler.give(missing - 2 * CLUSTER)
            drive.usbctl(verb, expect=FAILED)
            filler.give(2 * CLUSTER)
            drive.usbctl(verb)
        assert not (tree.plain if verb == "encrypt" else tree.encrypted)(drive.files)
        print(f"\n{filesystem}, {verb}: 12 MB in small files with {room(drive)} bytes free; missing were "
              f"{refused.counts.get('bytes-missing')}")
    filler.close()
    tree.assert_same(before, tree.snapshot(drive.files))


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_a_file_that_does_not_fit_is_named_and_nothing_changes(machine, make_drive, filesystem):
    drive = make_drive(filesystem, size=40 * MIB)
    drive.enroll()
    before = fill(drive, [1000, 5 * MIB, 2000])
    filler = Filler(drive, 3 * MIB)
    there = room(drive)
    refused = drive.encrypt(expect=FAILED)
    assert refused.result == "NoSpace" and refused.failures == {"d1/1": "no-space"}
    missing = refused.counts["bytes-missing"]
    assert missing >= 5 * MIB - there
    tree.assert_same(before, tree.snapshot(drive.files))
    # People are told the same, and what to do.
    said = machine.run(["usbctl", "encrypt", drive.stick.device], user="alice", check=False)
    assert said.returncode == FAILED
    assert "d1/1: not enough free space for it" in said.stderr
    assert f"{missing / MIB:.1f} MiB of free space are missing" in said.stderr
    assert "Make room" in said.stderr and "--skip-unfit" in said.stderr
    tree.assert_same(before, tree.snapshot(drive.files))
    # Either of it helps.
    drive.encrypt("--skip-unfit", expect=PARTIAL)
    assert tree.plain(drive.files) == {b"d1/1"}
    filler.give(missing)
    drive.encrypt()
    filler.close()
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_a_drive_that_fills_up_meanwhile(slow, filesystem, verb):
    drive, before = slow(filesystem)
    if verb == "decrypt":
        drive.encrypt()
    filler = Filler(drive, 4 * MIB)  # enough to begin with, and soon taken
    running = drive.begin(verb)
    drive.wait_running(20)
    # Whatever becomes free is taken.
    while running.poll() is None:
        filler.take(0)
    result = end(running, expect=PARTIAL)
    assert result.failures and set(result.failures.values()) == {"no-space"}
    assert drive.properties["Pending"] == ""
    tree.assert_whole(drive.files, before)
    filler.close()
    drive.usbctl(verb)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


@pytest.mark.parametrize("left", [MIB // 2, MIB, 3 * MIB])
@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_a_quota_that_is_met_in_the_middle_costs_nobody_a_file(machine, make_drive, verb, left):
    """EDQUOT, from a real quota. statvfs() says nothing of it, so that no preflight finds it. Where nothing is overwritten in
    place the journal needs room, too: without it the run can only be left as it is, for a recovery."""
    drive = make_drive("btrfs")
    point = drive.stick.mount_point
    drive.enroll()
    before = fill(drive, [20000 + number for number in range(200)])
    if verb == "decrypt":
        drive.encrypt()
    machine.run(["btrfs", "quota", "enable", point])
    machine.run(["btrfs", "quota", "rescan", "-w", point])
    machine.run(["sync", "-f", point])
    used = int(machine.run(["btrfs", "qgroup", "show", "--raw", point]).stdout.splitlines()[-1].split()[1])
    machine.run(["btrfs", "qgroup", "limit", str(used + left), point])
    result = drive.usbctl(verb, expect=None)
    print(f"\n{left} bytes left: {verb} ended with {result.result}, {len(result.failures)} files had no room")
    assert result.result in ("NoSpace", "Partial", "Interrupted"), result
    assert set(result.failures.values()) <= {"no-space"}
    assert drive.properties["Pending"] == (verb if result.code == INTERRUPTED else "")

    machine.run(["btrfs", "qgroup", "limit", "none", point])
    there = {path.removesuffix(tree.SUFFIX) for path in tree.snapshot(drive.files)}
    assert there == set(before)
    if result.code == INTERRUPTED:
        drive.recover("settle")
    tree.assert_whole(drive.files, before)
    drive.usbctl(verb)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))
