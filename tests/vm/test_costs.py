# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a stick costs: seconds, sectors, requests and flushes, beside `cp -r` of the same tree on the same stick."""

import struct
import time

import pytest

import blocklog
from machine.stick import MIB

RATE, LATENCY = 20_000_000, 0.005  # bytes a second; seconds a write takes before its data
TREE = [("tree", 2, 8 * MIB), ("tree/album", 16, 500_000), ("tree/letters", 80, 4000)]  # folder, files, bytes of each
COUNT, SIZE = sum(count for _, count, _ in TREE), sum(count * length for _, count, length in TREE)
SEQUENCE_OFFSET = 24  # in a journal: daemon/engine/TRANSACTIONS.md
ROUNDS_BEYOND = 4  # records that a run writes beside one for each batch: the first, the last two rounds', "closed"
HEAD = ("| filesystem | work | seconds, emulated | times cp | of writing | times cp | MB written | writes | flushes | batches "
        "| writes a batch | sectors a batch | flushes a batch |", "|---|---|" + "---:|" * 11)


def sequence(drive):
    """Of the newest record in its journal; a drive's first run makes that."""
    if ".usbcrypt/a/journal" not in drive.call("own_names"):
        return 0
    return max(struct.unpack("<Q", bytes.fromhex(drive.call("read_hex", f".usbcrypt/{copy}/journal",
                                                              SEQUENCE_OFFSET, 8)))[0] for copy in "ab")


class Meter:
    def __init__(self, drive, log):
        self.drive, self.log = drive, log

    def measure(self, work):
        """Cold caches, then work(); returns (seconds, what the stick was told to do)."""
        self.drive.vm.shell("sync; echo 3 >/proc/sys/vm/drop_caches")
        start, begin = self.log.stat().st_size, time.monotonic()
        work()
        seconds = time.monotonic() - begin
        return seconds, blocklog.cost(self.log, start)


@pytest.mark.parametrize("kind", ["vfat", pytest.param("vfat+udisks", marks=pytest.mark.long), "exfat"])
def test_what_a_slow_stick_costs(make_vm, make_drive, folder, tables, kind):
    """The figures of a table; and that a run costs a few flushes a batch, and writes each byte no more than twice."""
    drive = make_drive(kind, size=128 * MIB, cluster=8)  # 4 KiB
    drive.plug(make_vm())
    for name, count, length in TREE:
        drive.call("make_many", name, count, length)
    drive.enroll()
    drive.unplug()
    drive.plug(drive_vm := make_vm(), log=folder / "log", slow=(RATE, LATENCY))
    meter = Meter(drive, folder / "log")
    rows, reference = [], []

    def work(name, function, journaled=True):
        before = sequence(drive)
        seconds, cost = meter.measure(function)
        # What the stick has to take for its writes; the rest is mostly the emulated processor's.
        written = cost["requests"] * LATENCY + cost["sectors"] * 512 / RATE
        reference[:] = reference or [seconds, written]
        row = [kind, name, f"{seconds:.1f}", f"{seconds / reference[0]:.2f}", f"{written:.1f}", f"{written / reference[1]:.2f}",
               f"{cost['sectors'] * 512 / 1e6:.1f}", cost["requests"], cost["flushes"]]
        if journaled:
            batches = sequence(drive) - before - ROUNDS_BEYOND
            row += [batches, *(f"{cost[what] / batches:.0f}" for what in ("requests", "sectors", "flushes"))]
            # A barrier is a flush on vfat and up to three on exFAT. Making the journal takes some more.
            assert cost["flushes"] <= 3 * (batches + ROUNDS_BEYOND + (0 if before else 3)), (name, batches, cost)
        rows.append(row + ["-"] * (13 - len(row)))
        return cost["sectors"] * 512

    def copy():
        drive_vm.shell("cp -r tree copy && sync", cwd=drive.point, user="alice", timeout=280)

    copied = work("cp -r; sync", copy, journaled=False)
    drive_vm.shell("rm -r copy; sync", cwd=drive.point)
    drive.unlock()
    once = work("encrypt --no-scrub", lambda: drive.encrypt("--no-scrub", "tree"))
    work("decrypt", lambda: drive.decrypt("tree"))
    twice = work("encrypt", lambda: drive.encrypt("tree"))
    tables.append((f"A stick of {RATE / 1e6:.0f} MB/s and {LATENCY * 1000:.0f} ms a write; {SIZE / 1e6:.0f} MB in {COUNT} "
                   "files", HEAD, rows))
    assert once < 1.3 * copied and twice < 2.4 * copied, (copied, once, twice)
