# SPDX-License-Identifier: LGPL-2.1-or-later
"""I1, I2, I4, I5 on the real stack: a stick is pulled out at a random moment of a run, and every other time of the
recovery too; another machine recovers it. Nothing is lost.

FAULT_LONG=1 pulls it out 200 times; FAULT_SEED repeats a run of this test."""

import random

import pytest

from stacks import LONG, SEED, SLOW, assert_all_there, carry, machines, make_drive, sectors_written, yank_after
from testbed import tree
from testbed.drive import DONE, INTERRUPTED, end

YANKS = 100 if LONG else 10  # of each filesystem

FILES = {f"d{n % 6}/{n}": tree.content(n, size)
         for n, size in enumerate([0, 1, 511, 65536, 65537, 300000, 1 << 20] + [20000 + 777 * n for n in range(53)])}


def listing(drive):
    return "\n".join(f"{path} {size}" for path, size in sorted(tree.regular(drive.files).items()))


def same(before, after, where, exactly):
    """A scrub that was cut off may have left its time on a source, where the filesystem does not order the two."""
    if exactly:
        tree.assert_same(before, after)
    assert {path: entry.digest for path, entry in after.items()} == \
        {path: entry.digest for path, entry in before.items()}, where


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_pulled_out_anywhere_nothing_is_lost(machines, make_drive, filesystem):
    chance = random.Random(f"{SEED} {filesystem}")
    drive = make_drive(filesystem, files=FILES, plug=SLOW)
    before = tree.snapshot(drive.files)
    # How much a whole run writes, each way.
    total = {}
    for verb in ("encrypt", "decrypt"):
        begin = sectors_written(drive)
        getattr(drive, verb)()
        total[verb] = sectors_written(drive) - begin
    tree.assert_same(before, tree.snapshot(drive.files))

    here, there = machines
    pending = interrupted_twice = 0
    kept = []
    for n in range(YANKS):
        verb = chance.choice(["encrypt", "encrypt", "decrypt"])
        options = chance.choice([[], ["--no-scrub"]]) if verb == "encrypt" else []
        mode = chance.choice(["resume", "rollback", "settle"])
        where = f"seed {SEED}, {filesystem}, yank {n}: {verb} {options}, recover --{mode}"
        if verb == "decrypt":
            drive.encrypt("--no-scrub")
        after = chance.randrange(total[verb])
        running = drive.begin(verb, *options)
        yank_after(drive, running, after)
        result = end(running)
        assert result.code in (DONE, INTERRUPTED), (where, result)

        twice = chance.random() < 0.5
        carry(drive, there, **(SLOW if twice else {}))
        pending += drive.properties["Pending"] != ""
        assert_all_there(drive, before, where)
        if twice:
            first = chance.choice(["resume", "rollback", "settle"])
            where += f", after a --{first} that was pulled out too"
            running = drive.begin("recover", f"--{first}")
            yank_after(drive, running, chance.randrange(total[verb] // 3))
            result = end(running)
            assert result.code in (DONE, INTERRUPTED), (where, result)
            here, there = there, here
            carry(drive, there)
            interrupted_twice += result.code == INTERRUPTED
            assert_all_there(drive, before, where)
        expected = drive.properties["Pending"]
        result = drive.recover(mode, expect=None)
        if result.code != DONE:
            # The recovery table has cases in which both forms are kept and the user is asked; each is named.
            assert result.code == INTERRUPTED and result.failures, (where, result)
            assert_all_there(drive, before, where)
            kept.append((n, result.failures))
            drive.stick.unmount()
            drive.stick.unplug()
            drive = make_drive(filesystem, files=FILES, plug=SLOW)
            before = tree.snapshot(drive.files)
            here, there = machines
            continue
        assert drive.properties["Pending"] == "", where
        if mode != "settle" and expected:
            to_cipher = (expected == "encrypt") == (mode == "resume")
            left = tree.plain(drive.files) if to_cipher else tree.encrypted(drive.files)
            assert not left, (where, left)
        drive.decrypt()
        same(before, tree.snapshot(drive.files), where, exactly=filesystem == "ext4")
        # The next run starts on this machine.
        drive.replug(**SLOW)
        drive.unlock()
        here, there = there, here
    print(f"\n{filesystem}: pulled out {YANKS} times, {pending} times something was pending, "
          f"{interrupted_twice} times the recovery was pulled out too, {len(kept)} times files were kept in both forms {kept}; "
          f"seed {SEED}: 0 losses")
    assert pending >= YANKS // 3


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_resume_leaves_what_is_finished_alone(machines, make_drive, filesystem):
    """What was encrypted before the interruption is not encrypted again."""
    drive = make_drive(filesystem, files={f"{n}": tree.content(n, 400000) for n in range(30)}, plug=SLOW)
    before = tree.snapshot(drive.files)
    begin = sectors_written(drive)
    drive.encrypt()
    total = sectors_written(drive) - begin
    drive.decrypt()

    # Batches are as large as a third of what is free: fill it, so that some files are done before the others begin.
    running = drive.begin("encrypt")
    yank_after(drive, running, total * 3 // 4)
    end(running, expect=INTERRUPTED)
    carry(drive, machines[1])
    there = tree.snapshot(drive.files)
    finished = {path: entry for path, entry in there.items()
                if path.endswith(tree.SUFFIX) and path.removesuffix(tree.SUFFIX) not in there}
    drive.recover("resume")
    after = tree.snapshot(drive.files)
    assert {path: after[path] for path in finished} == finished
    assert not tree.plain(drive.files)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))
    print(f"\n{filesystem}: {len(finished)} of {len(before)} were finished before, and stayed as they were")
