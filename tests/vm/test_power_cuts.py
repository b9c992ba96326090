# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every disk that a power cut can leave: what the real daemon wrote is recorded below the USB bus, split at flushes,
and put together again with parts of it missing; the real kernel mounts that, the real worker recovers it. I1, I2."""

import os
import shutil

import pytest

import blocklog
from machine.drive import PASSPHRASE
from machine.stick import MIB

STATES = int(os.environ.get("VM_STATES", "15"))
SIZE = {"vfat": 36 * MIB, "exfat": 24 * MIB}
RESUME, ROLLBACK = 0, 1


def record(make_vm, make_drive, factory, kind, verb, near_full):
    """Runs `verb` on a stick, recording what it writes. Returns (base image, log, tree before)."""
    folder = factory.stage / "explore"
    folder.mkdir(exist_ok=True)
    drive = make_drive(kind, whole_disk=True, size=SIZE[kind])
    vm = make_vm()
    drive.plug(vm)
    drive.call("make_tree", [0, 1, 511, 513, 4096, 65536, 200000])
    drive.call("make_many", "album", 24, 9000, "photo", 120)
    drive.call("make_many", "letters", 16, 700)
    drive.enroll()
    if near_full:  # only a few files at a time: many batches
        drive.call("fill", "rest", 900_000)  # two journals, and a third of the rest for each batch
        drive.unmount()
        drive.mount()
        drive.unlock()
    before = drive.snapshot()
    scope = [path for path in before if "/" not in path and path != "rest"] if near_full else []
    if verb == "decrypt":
        drive.encrypt(*scope)
    drive.unmount()
    drive.stick.pull()
    base, log = folder / f"{kind}.base", folder / f"{kind}.log"
    shutil.copy(drive.stick.image, base)
    drive.plug(vm, log=log)
    drive.unlock()
    result = drive.usbctl(verb, *scope)
    assert not result.failures, result
    vm.kill()
    return base, log, before


LONG = pytest.mark.long


@pytest.mark.parametrize(("kind", "verb", "near_full"), [
    ("vfat", "encrypt", False), ("vfat", "decrypt", True), ("exfat", "encrypt", True), ("exfat", "decrypt", False),
    *(pytest.param(*row, marks=LONG) for row in [
        ("vfat", "encrypt", True), ("vfat", "decrypt", False), ("exfat", "encrypt", False), ("exfat", "decrypt", True)]),
])
def test_no_power_cut_loses_a_file(make_vm, make_drive, factory, kind, verb, near_full):
    base, log, before = record(make_vm, make_drive, factory, kind, verb, near_full)
    cost = blocklog.cost(log)
    vm = make_vm()
    vm.shell("mkdir -p /mnt/stage; mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 stage /mnt/stage")
    sizes = vm.call("explore_begin", f"/mnt/stage/explore/{base.name}", f"/mnt/stage/explore/{log.name}", kind,
                    PASSPHRASE, before)
    states = blocklog.states(log, STATES)
    outcomes = []
    for number in range(0, len(states), 5):
        batch = [[epoch, kept, (ROLLBACK if (number + i) % 3 == 0 else RESUME)]
                 for i, (epoch, kept) in enumerate(states[number:number + 5])]
        outcomes += vm.call("explore", batch, timeout=600)
    print(f"{kind} {verb}: {cost}, {len(sizes)} epochs of {sizes} pieces, {len(outcomes)} states:",
          {", ".join(o["recovery"]) for o in outcomes})
    for state, outcome in zip(states, outcomes):
        if outcome["recovery"] != ["DONE"]:
            print(f"  epoch {state[0]}, {len(state[1])} of {sizes[state[0]]} pieces: {outcome['recovery']} {outcome['failures']}")
    bad = [(state[0], len(state[1]), outcome) for state, outcome in zip(states, outcomes)
           if outcome["differs"] or outcome["crosslinks"]]
    assert not bad, f"{len(bad)} of {len(outcomes)}: " + "\n".join(str(entry) for entry in bad[:5])
    assert {outcome["recovery"][-1] for outcome in outcomes} <= {"DONE", "INTERRUPTED"}, outcomes
