# SPDX-License-Identifier: LGPL-2.1-or-later
"""I6: the daemon waits neither for a drive nor for a worker. Who asks it something is answered meanwhile. How soon, in
milliseconds, is measured by tests/bench."""

import contextlib
import itertools

import pytest

from testbed import tree
from testbed.bus import DRIVE, TRANSACTION
from testbed.drive import DONE, FAILED, end

ROUNDS = 250


@pytest.fixture
def two_runs(slow):
    """Two slow sticks in the middle of an encrypt run each: [(drive, process, the transaction's path)]"""
    drives = [slow()[0], slow("exfat")[0]]
    running = [drive.begin("encrypt") for drive in drives]
    return [(drive, process, drive.wait_running(5)["path"]) for drive, process in zip(drives, running)]


def test_reads_are_answered_between_two_steps_of_two_runs(two_runs, bus):
    done = {transaction: [] for _, _, transaction in two_runs}
    with bus.connection() as connection:
        while all(connection.get(path, TRANSACTION, "State") == "running" for path in done):
            for path, seen in done.items():
                seen.append(int(connection.get(path, TRANSACTION, "FilesDone")))
    for _, process, _ in two_runs:
        end(process, expect=DONE)
    for path, seen in done.items():
        # What is read again and again before the next step, between the first step that was seen and the last.
        steps = [len(list(group)) for _, group in itertools.groupby(seen)][1:-1]
        assert max(steps, default=0) >= 10, (path, steps)


def test_all_is_answered_while_two_drives_stand_still(drive, two_runs, bus):
    tree.make(drive.files, sizes=[1000])
    objects = [(path, interface, name) for path, interfaces in bus.objects().items()
               for interface in (DRIVE, TRANSACTION) if interface in interfaces for name in interfaces[interface]]
    with contextlib.ExitStack() as still, bus.connection() as connection:
        for busy, _, _ in two_runs:
            still.enter_context(busy.stick.standing_still())
        for _ in range(ROUNDS):
            for path, interface, name in objects:
                connection.get(path, interface, name)
        for busy, _, _ in two_runs:
            assert busy.decrypt(expect=FAILED).result == "Busy"
            assert busy.lock(expect=FAILED).result == "Busy"
        drive.enroll()
        drive.encrypt()
        assert not tree.plain(drive.files)
        # No run can have ended: what it wrote had to reach the medium first.
        for _, _, transaction in two_runs:
            properties = connection.get_all(transaction, TRANSACTION)
            assert properties["State"] == "running" and properties["FilesDone"] < properties["FilesTotal"]
    for _, process, _ in two_runs:
        end(process, expect=DONE)
