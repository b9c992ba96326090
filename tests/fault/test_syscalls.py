# SPDX-License-Identifier: LGPL-2.1-or-later
"""I1, I2, I5: the real worker, killed before any one system call of an encrypt, a decrypt or a recovery, loses
nothing; the next worker brings order, from the medium alone.

A point is one system call of one run. In CI a sample is tried, of the calls that can change the drive first of all; with
FAULT_LONG=1 every one; with FAULT_LONG=changing every one that can change the drive: whoever is killed before another one
leaves a medium that somebody leaves who is killed before one of these."""

import ctypes
import errno
import itertools
import os
import random
import select
import time
from pathlib import Path

import pytest

import worker
from conftest import PASSPHRASE
from test_worker_transactions import Volume, fill, keys_record, tree
from worker import Worker, run

LONG = os.environ.get("FAULT_LONG") in ("1", "changing")
CHANGING_ONLY = os.environ.get("FAULT_LONG") == "changing"
SECONDS = float(os.environ.get("FAULT_SECONDS", "1e9" if LONG else "20"))  # for each test
SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
MODE = {name: number for number, name in enumerate(("resume", "rollback", "settle"))}
BLOCK = 1 << 16
MS_NOSUID, MS_NODEV = 2, 4
libc = ctypes.CDLL(None, use_errno=True)

# x86-64's numbers of what can change a drive.
CHANGES = {18: "pwrite64", 74: "fsync", 306: "syncfs", 77: "ftruncate", 91: "fchmod", 93: "fchown", 190: "fsetxattr",
           263: "unlinkat", 258: "mkdirat", 280: "utimensat", 437: "openat2", 3: "close"}


def sizes():
    yield from (0, 1, 511, 512, 65536, 65537, 200000)
    yield from (100 + 97 * n for n in range(43))


FILES = {f"d{n % 5}/{n}": random.Random(n).randbytes(size) for n, size in enumerate(sizes())}
assert len(FILES) == 50


@pytest.fixture
def volume():
    """An enrolled drive whose image lies in memory, with fifty files. It is small, for it is put back thousands of times."""
    folder = Path("/dev/shm/usbcrypt-syscalls-%d" % os.getpid())
    folder.mkdir()
    drive = worker.Drive(folder, size=12 << 20)
    try:
        assert run(drive, "ENROLL", PASSPHRASE)["outcome"] == "DONE"
        volume = Volume(drive)
        fill(volume.root, FILES)
        yield volume
    finally:
        drive.close()
        drive.image.unlink()
        folder.rmdir()


def names(root):
    """What tree() would have read."""
    return [os.path.relpath(os.path.join(folder, name), root) for folder, _, found in os.walk(root) for name in found
            if not os.path.relpath(folder, root).startswith((".usbcrypt", "lost+found"))]


class Points:
    """Runs jobs on a volume and kills their workers."""

    def __init__(self, volume, kill_at):
        self.volume, self.kill_at = volume, kill_at
        self.calls_file = volume.drive.directory.parent / f"{volume.drive.directory.name}.calls"
        self.before = tree(volume.root)

    def traced(self, at, kind, flags=(), **fields):
        """Runs a job, killed before its call number `at`. Returns whether it got to its end, and its calls."""
        arguments = [str(self.kill_at), str(at), str(self.calls_file), str(worker.BINARY)]
        with Worker(arguments=arguments) as w:
            try:
                w.start(self.volume.drive, kind, flags, refuse_traced=0, **fields)
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

    # These do it a hundred thousand times: without mount(8), which takes longer than the kernel.

    def unmount(self):
        drive = self.volume.drive
        if libc.umount2(os.fsencode(drive.mount_point), 0) < 0:
            raise OSError(ctypes.get_errno(), "umount2")
        # Whoever made a mount namespace meanwhile, as each test bed does, has a mount of his own for a moment: until then
        # nothing was unmounted.
        deadline = time.monotonic() + 60
        while True:
            try:
                os.close(os.open(drive.loop, os.O_RDONLY | os.O_EXCL))
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            select.select([], [], [], 0.005)

    def mount(self):
        drive = self.volume.drive
        if libc.mount(os.fsencode(drive.loop), os.fsencode(drive.mount_point), b"ext4", MS_NOSUID | MS_NODEV, None) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        drive.look_up_mount()

    def fresh(self):
        """What a machine sees that the drive is plugged into next."""
        self.unmount()
        self.mount()

    def image(self):
        """What the medium holds."""
        self.unmount()
        try:
            return self.volume.drive.image.read_bytes()
        finally:
            self.mount()

    def put_back(self, image):
        """The medium as it was then. Only what differs is written."""
        drive = self.volume.drive
        self.unmount()
        with open(drive.image, "rb") as file, open(drive.loop, "r+b", buffering=0) as device:
            for at in range(0, len(image), BLOCK):
                wanted = image[at:at + BLOCK]
                if file.read(BLOCK) != wanted:
                    os.pwrite(device.fileno(), wanted, at)
            os.fsync(device.fileno())
        self.mount()

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
        assert result["pending"] == 0, where
        now = names(self.volume.root)
        assert {n.removesuffix(".ucr") for n in now} == set(self.before) and len(now) == len(self.before), (where, result)
        return now

    def back_to_plain(self, where):
        result = self.volume.run("DECRYPT")
        assert result["outcome"] == "DONE", (where, result)
        now = tree(self.volume.root)
        wrong = [name for name in self.before if now.get(name) != self.before[name]]
        assert not wrong, (where, wrong)

    def choose(self, calls):
        """Which calls to kill before: those that change something come first. In a long run all of them, and on from there
        for as long as a run is not over before: no two make quite the same number of calls."""
        changing = [n for n, call in enumerate(calls, 1) if call in CHANGES]
        if LONG:
            yield from changing if CHANGING_ONLY else range(1, len(calls) + 1)
            yield from itertools.takewhile(lambda _: self.reached, itertools.count(len(calls) + 1))
            return
        chance = random.Random(SEED)
        others = [n for n, call in enumerate(calls, 1) if call not in CHANGES]
        chance.shuffle(changing)
        chance.shuffle(others)
        yield from (n for pair in itertools.zip_longest(changing, others[::3]) for n in pair if n)

    def all(self, name, image, job, check, seconds=SECONDS, at_least=20):
        """Lets a job begin on that image, time and again, and kills it before each chosen call; check(n, where) then
        looks at what is left. As many as there is time for, and some in any case."""
        kind, flags, fields = job
        self.put_back(image)
        ended, calls = self.traced(0, kind, flags, **fields)
        assert ended, name
        deadline = time.monotonic() + seconds
        tried = missed = 0
        self.reached = True
        for n in self.choose(calls):
            if time.monotonic() > deadline and tried - missed >= at_least:
                break
            where = f"seed {SEED}: {name}, killed before call {n}"
            self.put_back(image)
            ended, _ = self.traced(n, kind, flags, **fields)
            self.reached = not ended
            tried += 1
            missed += ended
            self.fresh()
            self.nothing_lost(where)
            check(n, where)
        print(f"\n{name}: killed at {tried - missed} of {len(calls)} system calls, {sum(c in CHANGES for c in calls)} of which can "
              f"change the drive ({missed} times it was over before), seed {SEED}: 0 losses", flush=True)
        assert tried - missed >= at_least


@pytest.fixture
def points(volume, kill_at):
    made = Points(volume, kill_at)
    yield made
    made.calls_file.unlink(missing_ok=True)


MODES = ("resume", "rollback", "settle")


def recovers(points, kind):
    """What is to be seen after a kill: each mode leads where it says, and all the way back to what was."""
    def check(n, where):
        mode = MODES[n % 3]
        where += f", recover --{mode}"
        pending = points.pending()
        now = points.recover(mode, where)
        if pending and mode != "settle":
            to_cipher = (kind == "ENCRYPT") == (mode == "resume")
            assert all(name.endswith(".ucr") == to_cipher for name in now), where
        points.back_to_plain(where)
    return check


@pytest.mark.parametrize("flags", [(), ("NO_SCRUB",)], ids=["scrub", "no-scrub"])
def test_killed_anywhere_in_an_encrypt(points, flags):
    name = " ".join(("encrypt", *flags))
    points.all(name, points.image(), ("ENCRYPT", flags, {}), recovers(points, "ENCRYPT"))


def test_killed_anywhere_in_a_decrypt(points):
    assert points.volume.run("ENCRYPT")["outcome"] == "DONE"
    points.all("decrypt", points.image(), ("DECRYPT", (), {}), recovers(points, "DECRYPT"))


def forms(points):
    """Which files have their old form whole, how many have one at all, and how many have a new one."""
    now = tree(points.volume.root)
    return now, [name for name in now if name.endswith(".ucr")], [name for name in now if not name.endswith(".ucr")]


def writing(points, kind):
    """Some of the new files are there."""
    _, encrypted, plain = forms(points)
    old, new = (plain, encrypted) if kind == "ENCRYPT" else (encrypted, plain)
    return len(old) == len(FILES) and 10 < len(new) < 40


def scrubbing(points, _):
    """Some of the old files have been overwritten."""
    now, _, plain = forms(points)
    return 10 < sum(now[name][0] != FILES[name] for name in plain) < 40


def unlinking(points, kind):
    """Some of the old files are gone."""
    _, encrypted, plain = forms(points)
    return 10 < len(plain if kind == "ENCRYPT" else encrypted) < 40


@pytest.mark.parametrize("kind, states", [("ENCRYPT", (writing, scrubbing, unlinking)), ("DECRYPT", (writing, unlinking))],
                         ids=["encrypt", "decrypt"])
def test_killed_anywhere_in_a_recovery(points, kind, states):
    """Two interruptions: the run's, and the recovery's, in each mode; then a recovery in any mode."""
    if kind == "DECRYPT":
        assert points.volume.run("ENCRYPT")["outcome"] == "DONE"
    begin = points.image()
    ended, calls = points.traced(0, kind)
    assert ended
    changing = [n for n, call in enumerate(calls, 1) if call in CHANGES]

    # Runs that were killed in each of those states.
    images = {}
    for at in changing[::5] * 2:
        points.put_back(begin)
        points.traced(at, kind)
        points.fresh()
        for state in states:
            if state not in images and points.pending() and state(points, kind):
                images[state] = points.image()
        if len(images) == len(states):
            break

    for state in states:
        for number, mode in enumerate(MODES):
            def check(n, where):
                second = MODES[(n + number) % 3]
                where += f", recover --{second}"
                points.recover(second, where)
                points.back_to_plain(where)

            name = f"recover --{mode} of {kind.lower()} that was cut off while {state.__name__}"
            job = ("RECOVER", ["MAY_DECRYPT"], {"recovery_mode": MODE[mode]})
            points.all(name, images[state], job, check, SECONDS / len(states) / len(MODES), at_least=5)
