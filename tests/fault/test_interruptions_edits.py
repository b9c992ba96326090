# SPDX-License-Identifier: LGPL-2.1-or-later
"""What somebody does to the files between an interruption and its recovery is respected."""

import os
import random

import pytest

import test_syscalls
from test_syscalls import FILES, MODE, MODES, SEED, points, volume
from test_worker_transactions import READING, tree
from worker import NOBODY

ROUNDS = 60 if test_syscalls.LONG else 8
EDIT = b"what the user has written since " * 40


def put(path, data):
    path.write_bytes(data)
    os.chown(path, NOBODY, NOBODY)


def everything(points, target):
    """All contents that can be had: plain files, and what `decrypt --to` gives."""
    target.mkdir()
    os.chown(target, NOBODY, NOBODY)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    points.volume.begin("DECRYPT", ["HAS_TARGET"], keys=READING, target=fd).__enter__().result()
    os.close(fd)
    found = {}
    for root in (points.volume.root, target):
        for name, facts in tree(root).items():
            found.setdefault(name, set()).add(facts[0])
    return found


def edit(path):
    """In place, as an editor that keeps the inode."""
    put(path, EDIT)


def append(path):
    with open(path, "ab") as file:
        file.write(EDIT)


def replace(path):
    """As an editor that writes another file and renames it."""
    new = path.with_name(path.name + ".new")
    put(new, EDIT)
    os.rename(new, path)


def rename(path):
    os.rename(path, path.with_name("renamed-" + path.name))


def move(path):
    os.rename(path, path.parents[1] / ("moved-" + path.name))


def delete(path):
    path.unlink()


def nothing(_):
    pass


WAYS = {"edit": edit, "append": append, "replace": replace, "rename": rename, "move": move, "delete": delete,
        "nothing": nothing}


@pytest.mark.parametrize("kind", ["ENCRYPT", "DECRYPT"])
@pytest.mark.parametrize("way", list(WAYS))
def test_what_the_user_did_meanwhile_stays(points, tmp_path, kind, way):
    chance = random.Random(f"{SEED} {kind} {way}")
    root = points.volume.root
    if kind == "DECRYPT":
        assert points.volume.run("ENCRYPT")["outcome"] == "DONE"
    begin = points.image()
    ended, calls = points.traced(0, kind)
    assert ended
    pending = settled = 0
    for n in range(ROUNDS):
        points.put_back(begin)
        mode, at = MODES[n % 3], chance.randrange(len(calls) // 4, len(calls))
        points.traced(at, kind)
        points.fresh()
        there = sorted(tree(root))
        chosen = chance.sample(there, 6)
        where = f"seed {SEED}: {kind} killed before call {at}, {way} {chosen}, recover --{mode}"
        was = {name: (root / name).read_bytes() for name in chosen}
        for name in chosen:
            WAYS[way](root / name)
        put(root / "new one", EDIT)
        after_edit = {name: facts[0] for name, facts in tree(root).items()}

        result = points.volume.run("RECOVER", ["MAY_DECRYPT"], recovery_mode=MODE[mode])
        assert result["outcome"] in ("DONE", "PARTIAL", "INTERRUPTED"), (where, result)
        if result["outcome"] != "DONE":
            assert result.get("failures"), (where, result)
        pending += result["outcome"] == "INTERRUPTED"
        settled += result["outcome"] == "DONE"

        found = everything(points, tmp_path / f"{n}")
        # Nobody's file but what was deleted is gone.
        touched = {name.removesuffix(".ucr") for name in chosen}
        lost = [name for name in points.before if name not in touched and points.before[name][0] not in found.get(name, ())]
        assert not lost, (where, result, lost)
        # Whatever the user wrote into a plain file can be had, where it was put.
        assert EDIT in found["new one"], (where, result)
        for name in chosen:
            plain = not name.endswith(".ucr")
            if way in ("edit", "append", "replace") and plain:
                assert after_edit[name] in found.get(name, ()), (where, name, result)
            if way in ("rename", "move") and plain:
                new = "renamed-" + os.path.basename(name) if way == "rename" else "moved-" + os.path.basename(name)
                new = os.path.join(os.path.dirname(name), new) if way == "rename" else new
                assert was[name] in found.get(new, ()), (where, name, result)
        # Once more changes nothing.
        if result["outcome"] == "INTERRUPTED":
            names = tree(root)
            again = points.volume.run("RECOVER", ["MAY_DECRYPT"], recovery_mode=MODE["settle"])
            assert again["outcome"] == "INTERRUPTED", (where, again)
            assert tree(root) == names, where
    print(f"\n{kind}, {way}: {ROUNDS} interruptions, {settled} settled, {pending} left for the user to decide")
