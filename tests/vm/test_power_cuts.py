# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every disk that a power cut can leave: what the real daemon wrote is recorded below the USB bus, split at flushes,
and put together again with parts of it missing; the real kernel mounts that, the real worker recovers it. I1, I2."""

import json
import os
import pathlib
import shutil
import tempfile
import time

import pytest

import blocklog
from conftest import KEEP
from machine.drive import PASSPHRASE
from machine.stick import MIB

STATES = int(os.environ.get("VM_STATES", "50"))  # a filesystem, in the default set
SIZE = {"vfat": 36 * MIB, "exfat": 24 * MIB, "ext4": 24 * MIB}
TITLE = "Disks that a power cut can leave, mounted and recovered"
HEAD = ("| filesystem | run | epochs | pieces | states | settled at once | after a new mount | after a repair | pending "
        "| hidden until repaired | not as before | lost | newly damaged | seconds |", "|---|---|" + "---:|" * 12)
RESUME, ROLLBACK = 0, 1


def record(make_vm, make_drive, factory, kind, verb, near_full):
    """Runs `verb` on a stick, recording what it writes. Returns (base image, log, tree before)."""
    drive = make_drive(kind, whole_disk=True, size=SIZE[kind])
    vm = make_vm()
    drive.plug(vm)
    drive.call("make_tree", [0, 1, 511, 513, 4096, 65536, 200000])
    drive.call("make_many", "album", 24, 9000, "photo", 120)
    drive.call("make_many", "letters", 16, 700)
    drive.enroll()
    if near_full:  # only a few files at a time: many batches
        drive.call("fill", "rest", 1_300_000)  # two journals, and a third of the rest for each batch
        drive.unmount()
        drive.mount()
        drive.unlock()
    before = drive.snapshot()
    scope = [path for path in before if "/" not in path and path != "rest"] if near_full else []
    if verb == "decrypt":
        drive.encrypt(*scope)
    drive.unmount()
    drive.stick.pull()
    folder = pathlib.Path(tempfile.mkdtemp(dir=factory.stage))  # where the machine that looks at it sees it
    base, log = folder / f"{kind}-{verb}.base", folder / f"{kind}-{verb}.log"
    shutil.copy(drive.stick.image, base)
    drive.plug(vm, log=log)
    drive.unlock()
    result = drive.usbctl(verb, *scope)
    assert not result.failures, result
    vm.kill()
    return base, log, before


def is_bad(outcome):
    """READ_ONLY says that it is to be mounted again: vfat turns so when it meets a torn chain. FILESYSTEM_DAMAGED: that it is to be
    repaired."""
    asked = {"READ_ONLY", "FILESYSTEM_DAMAGED"}
    return set(outcome["recovery"]) - asked - {"DONE", "INTERRUPTED"} or outcome["recovery"][-1] in asked \
        or outcome["differs"] or outcome["lost"] or outcome["crosslinks"]


def explore(make_vm, kind, base, log, before, count, heeded=1, repaired=False):
    """Puts `count` of its disks before the real kernel and worker. Returns (a row's figures, what went wrong)."""
    vm = make_vm()
    vm.shell("mkdir -p /mnt/stage; mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 stage /mnt/stage")
    sizes = vm.call("explore_begin", f"/mnt/stage/{base.parent.name}/{base.name}", f"/mnt/stage/{log.parent.name}/{log.name}",
                    kind, PASSPHRASE, before, heeded, repaired)
    states = blocklog.states(log, count, heeded=heeded)
    begin, outcomes = time.monotonic(), []
    for number in range(0, len(states), 5):
        batch = [[epoch, kept, (ROLLBACK if (number + i) % 3 == 0 else RESUME)]
                 for i, (epoch, kept) in enumerate(states[number:number + 5])]
        outcomes += vm.call("explore", batch, timeout=600)
    seconds = time.monotonic() - begin
    for state, outcome in zip(states, outcomes):
        if outcome["recovery"] != ["DONE"] or outcome["hidden"] or is_bad(outcome):
            print(f"epoch {state[0]}, {len(state[1])} of {sizes[state[0]]} pieces: "
                  + str(outcome).replace("x" * 100, "x.."))
    bad = [[*state, outcome] for state, outcome in zip(states, outcomes) if is_bad(outcome)]
    if KEEP and bad:
        for path in (base, log):
            shutil.copy(path, KEEP)
        pathlib.Path(KEEP, f"{base.stem}.json").write_text(json.dumps({"before": before, "bad": bad}))
    tries = [len(outcome["recovery"]) if outcome["recovery"][-1] == "DONE" else 0 for outcome in outcomes]
    return [len(sizes), sum(sizes), len(outcomes), *(tries.count(n) for n in (1, 2, 3, 0)),
            *(sum(bool(outcome[what]) for outcome in outcomes) for what in ("hidden", "differs", "lost", "crosslinks")),
            f"{seconds:.0f}"], outcomes


@pytest.mark.parametrize(("kind", "verb", "near_full"), [
    ("vfat", "encrypt", False), ("vfat", "decrypt", True), ("exfat", "encrypt", True), ("exfat", "decrypt", False),
    ("ext4", "encrypt", True), ("ext4", "decrypt", False),
    *(pytest.param(*row, marks=pytest.mark.long) for row in [
        ("vfat", "encrypt", True), ("vfat", "decrypt", False), ("exfat", "encrypt", False), ("exfat", "decrypt", True),
        ("ext4", "encrypt", False), ("ext4", "decrypt", True)]),
])
def test_no_power_cut_loses_a_file(make_vm, make_drive, factory, tables, kind, verb, near_full):
    recorded = record(make_vm, make_drive, factory, kind, verb, near_full)
    figures, outcomes = explore(make_vm, kind, *recorded, STATES // 2)
    tables.append((TITLE, HEAD, [[kind, f"{verb}, {'nearly full' if near_full else 'roomy'}", *figures]]))
    bad = [outcome for outcome in outcomes if is_bad(outcome)]
    assert not bad, f"{len(bad)} of {len(outcomes)}: " + "\n".join(str(outcome).replace("x" * 100, "x..") for outcome in bad[:5])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["vfat", "exfat"])
def test_what_a_stick_that_lies_about_flushes_loses_is_counted(make_vm, make_drive, factory, tables, kind):
    """Of two flushes it heeds one, and loses what it likes in between: nothing can be promised then. Recovery must end, the
    filesystem must not be made worse."""
    recorded = record(make_vm, make_drive, factory, kind, "encrypt", True)
    figures, outcomes = explore(make_vm, kind, *recorded, STATES // 2, heeded=2)
    tables.append((TITLE, HEAD, [[kind, "encrypt, nearly full, every other flush a lie", *figures]]))
    assert {outcome["recovery"][-1] for outcome in outcomes} <= {"DONE", "INTERRUPTED", "PARTIAL"}, "recovery failed"
    assert not [outcome for outcome in outcomes if outcome["crosslinks"]]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "verb"), [(kind, verb) for kind in ("vfat", "exfat") for verb in ("encrypt", "decrypt")])
def test_no_file_is_lost_when_the_checker_mends_before_the_recovery(make_vm, make_drive, factory, tables, kind, verb):
    """A careful person's, or another system's, order of things."""
    recorded = record(make_vm, make_drive, factory, kind, verb, False)
    figures, outcomes = explore(make_vm, kind, *recorded, STATES // 2, repaired=True)
    tables.append((TITLE, HEAD, [[kind, f"{verb}, roomy, repaired first", *figures]]))
    assert not [outcome for outcome in outcomes if outcome["lost"] or outcome["crosslinks"]]
