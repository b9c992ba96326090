# SPDX-License-Identifier: LGPL-2.1-or-later
"""I1, I2, I5: the real worker, killed before any one system call of an encrypt, a decrypt or a recovery, loses
nothing; the next worker brings order, from the medium alone.

A point is one system call of one run. In CI every call that changes the drive and a stride of the others are
tried; with FAULT_LONG=1 every one."""

import itertools
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

import worker
from conftest import PASSPHRASE
from test_worker_transactions import Volume, fill, keys_record, tree
from worker import NOBODY, Worker, run

LONG = os.environ.get("FAULT_LONG") == "1"
SECONDS = float(os.environ.get("FAULT_SECONDS", "1e9" if LONG else "20"))  # for each test
SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
MODE = {name: number for number, name in enumerate(("resume", "rollback", "settle"))}
PENDING = {"ENCRYPT": 2, "DECRYPT": 3}

# x86-64's numbers of what changes a drive.
CHANGES = {18: "pwrite64", 74: "fsync", 306: "syncfs", 77: "ftruncate", 91: "fchmod", 93: "fchown", 190: "fsetxattr",
           263: "unlinkat", 258: "mkdirat", 280: "utimensat", 437: "openat2", 3: "close"}


def sizes():
    yield from (0, 1, 511, 512, 65536, 65537, 200000)
    yield from (100 + 97 * n for n in range(43))


FILES = {f"d{n % 5}/{n}": random.Random(n).randbytes(size) for n, size in enumerate(sizes())}
assert len(FILES) == 50


@pytest.fixture(scope="session")
def kill_at(tmp_path_factory):
    """The program of kill-at.c."""
    program = tmp_path_factory.mktemp("kill-at") / "kill-at"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-Wall", "-Werror", "-o", program,
                    Path(__file__).with_name("kill-at.c")], check=True)
    return program


@pytest.fixture
def volume(enrolled_image):
    """An enrolled drive whose image lies in memory, with fifty files."""
    folder = Path("/dev/shm/usbcrypt-syscalls-%d" % os.getpid())
    folder.mkdir()
    drive = worker.Drive(folder, image=enrolled_image)
    try:
        volume = Volume(drive)
        fill(volume.root, FILES)
        yield volume
    finally:
        drive.close()
        drive.image.unlink()
        folder.rmdir()


class Points:
    """Runs jobs on a volume and kills their workers."""

    def __init__(self, volume, kill_at):
        self.volume, self.kill_at = volume, kill_at
        self.calls_file = volume.drive.directory.parent / f"{volume.drive.directory.name}.calls"
        self.before = tree(volume.root)
        self.tried = self.not_reached = 0
        volume.drive.unmount()
        self.image = volume.drive.image.read_bytes()
        volume.drive.mount()

    def traced(self, at, kind, flags=(), **fields):
        """Runs a job, killed before its call number `at`. Returns whether it got to its end, and its calls."""
        arguments = [str(self.kill_at), str(at), str(self.calls_file), str(worker.BINARY)]
        with Worker(arguments=arguments) as w:
            w.start(self.volume.drive, kind, flags, refuse_traced=0, **fields)
            try:
                if (record := w.receive()) and record[0] == "READY":
                    w.send("KEYS", keys_record(self.volume.unlocked))
                    while record and record[0] != "RESULT":
                        record = w.receive()
            except (BrokenPipeError, ConnectionResetError):
                pass
            status = w.wait()
        data = self.calls_file.read_bytes()
        calls = [int.from_bytes(data[i:i + 2], "little") for i in range(0, len(data), 2)]
        assert status in (0, 137), (status, calls[-1:])
        return status == 0, calls

    def fresh(self):
        """What a machine sees that the drive is plugged into next."""
        self.volume.drive.unmount()
        self.volume.drive.mount()

    def start_again(self):
        """The image as it was before anything was tried."""
        drive = self.volume.drive
        drive.unmount()
        with open(drive.loop, "r+b") as device:
            device.write(self.image)
            os.fsync(device.fileno())
        drive.mount()

    def pending(self):
        return run(self.volume.drive, "PROBE", uid=1234)["drive"]["pending"]

    def nothing_lost(self, where):
        """Each file is there in plain, or its encrypted form is: both are what recover() is judged by."""
        now = tree(self.volume.root)
        lost = [name for name, facts in self.before.items()
                if (name not in now or now[name][0] != facts[0]) and name + ".ucr" not in now]
        assert not lost, (where, lost)

    def recover(self, mode, where):
        result = self.volume.run("RECOVER", ["MAY_DECRYPT"], recovery_mode=MODE[mode])
        assert result["outcome"] == "DONE", (where, result)
        assert result["pending"] == 0 and self.pending() == 0, where
        now = tree(self.volume.root)
        assert {n.removesuffix(".ucr") for n in now} == set(self.before) and len(now) == len(self.before), where
        return now

    def back_to_plain(self, where):
        result = self.volume.run("DECRYPT")
        assert result["outcome"] == "DONE", (where, result)
        now = tree(self.volume.root)
        wrong = [name for name in self.before if now.get(name) != self.before[name]]
        assert not wrong, (where, wrong)

    def choose(self, calls):
        """Which calls to kill before: those that change something come first."""
        chance = random.Random(SEED)
        points = list(range(1, len(calls) + 1))
        if LONG:
            return points
        changing = [n for n in points if calls[n - 1] in CHANGES]
        others = [n for n in points if calls[n - 1] not in CHANGES]
        chance.shuffle(changing)
        chance.shuffle(others)
        return [n for pair in itertools.zip_longest(changing, others[::3]) for n in pair if n]

    def all(self, name, calls, point):
        """point(n) at each chosen call, for as long as there is time."""
        deadline = time.monotonic() + SECONDS
        for n in self.choose(calls):
            if time.monotonic() > deadline:
                break
            self.tried += 1
            point(n)
        print(f"\n{name}: killed at {self.tried} of {len(calls)} system calls "
              f"({self.not_reached} were not reached), seed {SEED}: 0 losses")
        assert self.tried - self.not_reached >= 20


@pytest.fixture
def points(volume, kill_at):
    made = Points(volume, kill_at)
    yield made
    made.calls_file.unlink(missing_ok=True)


MODES = ("resume", "rollback", "settle")


@pytest.mark.parametrize("flags", [(), ("NO_SCRUB",)], ids=["scrub", "no-scrub"])
def test_killed_anywhere_in_an_encrypt(points, flags):
    ended, calls = points.traced(0, "ENCRYPT", flags)
    assert ended
    points.back_to_plain("at first")

    def point(n):
        mode = MODES[n % 3]
        where = f"seed {SEED}: encrypt{flags} killed before call {n}, then recover --{mode}"
        ended, _ = points.traced(n, "ENCRYPT", flags)
        points.not_reached += ended
        points.fresh()
        points.nothing_lost(where)
        pending = points.pending()
        now = points.recover(mode, where)
        if pending and mode == "resume":
            assert all(name.endswith(".ucr") for name in now), where
        if pending and mode == "rollback":
            assert not any(name.endswith(".ucr") for name in now), where
        points.back_to_plain(where)

    points.all("encrypt" + " ".join(flags), calls, point)


def test_killed_anywhere_in_a_decrypt(points):
    assert points.volume.run("ENCRYPT")["outcome"] == "DONE"
    ended, calls = points.traced(0, "DECRYPT")
    assert ended

    def point(n):
        mode = MODES[n % 3]
        where = f"seed {SEED}: decrypt killed before call {n}, then recover --{mode}"
        assert points.volume.run("ENCRYPT", ["NO_SCRUB"])["outcome"] == "DONE", where
        ended, _ = points.traced(n, "DECRYPT")
        points.not_reached += ended
        points.fresh()
        points.nothing_lost(where)
        pending = points.pending()
        now = points.recover(mode, where)
        if pending and mode == "rollback":
            assert all(name.endswith(".ucr") for name in now), where
        if pending and mode == "resume":
            assert not any(name.endswith(".ucr") for name in now), where
        points.back_to_plain(where)

    points.all("decrypt", calls, point)


@pytest.mark.parametrize("kind", ["ENCRYPT", "DECRYPT"])
def test_killed_anywhere_in_a_recovery(points, kind):
    """Two interruptions: the run's, somewhere in its middle, and the recovery's; then a recovery in another mode."""
    if kind == "DECRYPT":
        assert points.volume.run("ENCRYPT")["outcome"] == "DONE"
    ended, of_the_run = points.traced(0, kind)
    assert ended
    if kind == "ENCRYPT":
        points.back_to_plain("at first")
    chance = random.Random(SEED)

    def interrupt(where):
        """Leaves something pending."""
        for _ in range(50):
            if kind == "DECRYPT":
                assert points.volume.run("ENCRYPT", ["NO_SCRUB"])["outcome"] == "DONE", where
            at = chance.randrange(len(of_the_run) // 4, len(of_the_run))
            ended, _ = points.traced(at, kind)
            points.fresh()
            if not ended and points.pending():
                return at
            points.recover("rollback", where)
            points.back_to_plain(where)
        raise AssertionError("nothing was pending in fifty tries")

    interrupt("at first")
    ended, calls = points.traced(0, "RECOVER", ["MAY_DECRYPT"])
    assert ended
    points.back_to_plain("at first")

    def point(n):
        first, second = MODES[n % 3], MODES[n // 3 % 3]
        at = interrupt(f"seed {SEED}")
        where = f"seed {SEED}: {kind} killed before call {at}, recover --{first} before call {n}, recover --{second}"
        ended, _ = points.traced(n, "RECOVER", ["MAY_DECRYPT"], recovery_mode=MODE[first])
        points.not_reached += ended
        points.fresh()
        points.nothing_lost(where)
        points.recover(second, where)
        points.back_to_plain(where)

    points.all(f"recovery of {kind}", calls, point)
