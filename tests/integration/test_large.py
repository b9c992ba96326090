# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ten thousand files, and one of 4 GiB: there and back, in the same memory."""

import hashlib
import os
import re
import shutil

import pytest

from testbed import paths, tree
from testbed.drive import end
from testbed.stick import MIB

pytestmark = pytest.mark.large
GIB = 1 << 30


def test_ten_thousand_files_go_there_and_back(make_drive):
    drive = make_drive(size=512 * MIB)
    for number in range(10_000):
        size = [0, 17, 900, 4096, 20_000][number % 5]
        tree.write(drive.files, f"{number % 20}/{number // 20 % 25}/file {number}", tree.content(number, size),
                   mtime=1_400_000_000 + number)
    tree.give(drive.files, 3001)
    drive.replug()
    before = tree.snapshot(drive.files)
    drive.enroll()
    result = drive.encrypt(timeout=600)
    assert result.counts["encrypted"] == 10_000 and not tree.plain(drive.files)
    drive.replug()
    drive.unlock()
    result = drive.decrypt(timeout=600)
    assert result.counts["decrypted"] == 10_000
    tree.assert_same(before, tree.snapshot(drive.files))


def write_large(path, size):
    """Bytes that do not repeat, at the speed of the medium. Returns their digest."""
    digest = hashlib.blake2b()
    block = bytearray(tree.content("large", 4 * MIB))
    with open(path, "wb") as file:
        for number in range(size // len(block)):
            block[0:8] = number.to_bytes(8, "little")
            file.write(block)
            digest.update(block)
    os.utime(path, (1_500_000_000, 1_500_000_000))
    return digest.hexdigest()


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class PeakMemory:
    """The most memory that any worker of a user's ever had: the kernel's own high-water mark, read while the
    worker waits for its last answer, so that nothing is missed."""

    def __init__(self, machine, drive):
        self.machine, self.drive, self.peak = machine, drive, 0

    def look(self):
        pids = self.machine.run(["pgrep", "-x", "usbcrypt-worker", "-u", "alice"], check=False).stdout.split()
        for pid in pids:
            status = self.machine.run(["cat", f"/proc/{pid}/status"], check=False).stdout
            if match := re.search(r"VmHWM:\s*(\d+) kB", status):
                self.peak = max(self.peak, int(match[1]))

    def during(self, process):
        """Looks at each signal of the daemon until the client has ended."""
        with self.drive.bus.watch() as watch:
            def over():
                self.look()
                return process.poll() is not None
            watch.wait("the run ends", over, timeout=900)
        return end(process, expect=0)


def round_trip(machine, drive, size):
    """Encrypts and decrypts one file; returns the worker's peak memory of each, in KiB."""
    path = drive.files / "large"
    digest = write_large(path, size)
    os.chown(path, 3001, 3001)
    mtime = os.stat(path).st_mtime_ns
    peaks = []
    for verb in ("encrypt", "decrypt"):
        memory = PeakMemory(machine, drive)
        memory.during(drive.begin(verb))
        assert memory.peak, "no worker was seen"
        peaks.append(memory.peak)
        if verb == "encrypt":
            assert [p.name for p in drive.files.glob("large*")] == ["large.ucr"]
    assert digest_of(path) == digest and os.stat(path).st_mtime_ns == mtime
    path.unlink()
    return peaks


def test_four_gib_go_there_and_back_in_the_memory_of_64_mib(machine, make_drive, record_property):
    size = 9 * GIB + 256 * MIB
    if shutil.disk_usage(paths.sticks()).free < size:
        pytest.skip(f"{paths.sticks()} has no room for a stick of {size >> 30} GiB")
    drive = make_drive(size=size)
    drive.enroll()
    small = round_trip(machine, drive, 64 * MIB)
    large = round_trip(machine, drive, 4 * GIB)
    print(f"peak of the worker, KiB (encrypt, decrypt): 64 MiB {small}, 4 GiB {large}")
    for few, many in zip(small, large):
        assert many <= few + 4096, "memory must not grow with the file"
