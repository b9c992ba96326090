# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a disk was told to do, as QEMU's blklogwrites wrote it down, and the disks a power cut can leave of it.

The log: a superblock of one sector, `<QQQI` (magic, version, entries, sector size), then entries: one sector `<QQQQ`
(sector, count, flags, length of data), and the sectors written. Flags: 1 flush, 2 FUA, 4 discard. See the kernel's
Documentation/admin-guide/device-mapper/log-writes.rst, whose format it is.
"""

import random
import struct

SECTOR = 512
MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
PIECE = 8  # sectors: what is written by one request may reach the medium in pieces


def parse(path, start=0):
    """Yields (first sector, data, flags), from an entry's position in the file on. The superblock lags behind after a
    kill, so the entries decide."""
    with open(path, "rb") as file:
        magic, _, _, size = struct.unpack_from("<QQQI", file.read(SECTOR))
        if magic != MAGIC or size != SECTOR:
            raise ValueError(f"{path} is no log of writes")
        file.seek(max(start, SECTOR))
        while len(head := file.read(SECTOR)) == SECTOR:
            sector, count, flags, length = struct.unpack_from("<QQQQ", head)
            if flags & DISCARD:
                continue
            data = file.read(count * SECTOR)
            if len(data) != count * SECTOR:
                return
            yield sector, data, flags


def epochs(path, heeded=1):
    """What was written between flushes: a list of lists of (sector, data) pieces, in the order of their requests. Of a stick
    that lies about flushes only each `heeded`th counts."""
    found = [[]]
    for sector, data, flags in parse(path):
        if flags & FLUSH and found[-1]:
            found.append([])
        for start in range(0, len(data), PIECE * SECTOR):
            found[-1].append((sector + start // SECTOR, data[start:start + PIECE * SECTOR]))
        if flags & FUA and data:
            found.append([])
    found = [epoch for epoch in found if epoch]
    return [sum(found[n:n + heeded], []) for n in range(0, len(found), heeded)]


def cost(path, start=0):
    """{requests, sectors, flushes} of a log, from a position in it on (its length, as long as nothing is under way)."""
    total = {"requests": 0, "sectors": 0, "flushes": 0}
    for _, data, flags in parse(path, start):
        total["flushes"] += bool(flags & (FLUSH | FUA))
        total["requests"] += bool(data)
        total["sectors"] += len(data) // SECTOR
    return total


def draw_kept(draw, size):
    """Which of an epoch's pieces reached the medium."""
    kind = draw.choice(["prefix", "drop", "drop", "random", "random"])
    if kind == "prefix":
        return tuple(range(draw.randint(0, size)))
    if kind == "drop":
        gone = {draw.randrange(size) for _ in range(draw.randint(1, 2))}
        return tuple(n for n in range(size) if n not in gone)
    share = draw.choice([0.1, 0.5, 0.9])
    return tuple(n for n in range(size) if draw.random() < share)


def states(path, count, seed=1, heeded=1):
    """`count` different power cuts, as (epoch, pieces of it that reached the medium), by epoch: prefixes, single and
    double drops, random subsets; each epoch gets its share."""
    sizes = [len(epoch) for epoch in epochs(path, heeded)]
    draw = random.Random(seed)
    chosen = set()
    # The largest first; small ones have few states, and run out of them.
    for number in range(count * 20):
        if len(chosen) >= count:
            break
        epoch = sorted(range(len(sizes)), key=lambda n: -sizes[n])[number % len(sizes)]
        chosen.add((epoch, draw_kept(draw, sizes[epoch])))
    return sorted(chosen)
