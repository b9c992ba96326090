# SPDX-License-Identifier: LGPL-2.1-or-later
"""I1, I2, I4, I5, I7 on the real stack: usbcryptd, killed before any one system call of an encrypt, a decrypt or a
recovery, loses nothing. None of its workers stays, the bus starts another one, that sees the drive and what is pending
on it, and opens it with the passphrase alone. No key stays in the kernel.

In CI a sample of the calls is tried; with FAULT_LONG=1 every one."""

import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stacks import LONG, SEED, boot
from testbed import tree
from testbed.bus import Bus
from testbed.drive import DONE, FAILED, INTERRUPTED, PASSPHRASE, UNREACHABLE, Drive, end
from testbed.stick import MIB, Stick

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vectors"))

import generate
import reference

CLONE3 = 435  # x86-64's number
SECONDS = float(os.environ.get("FAULT_SECONDS", "1e9" if LONG else "20"))  # for each test
MODES = ("resume", "rollback", "settle")
FILES = {f"d{n % 5}/{n}": size for n, size in
         enumerate([0, 1, 511, 512, 65536, 65537, 200000] + [100 + 97 * n for n in range(43)])}
assert len(FILES) == 50

# So that a run lasts long enough for usbcryptd to hear of its progress.
SLOW = {"filters": ["delay"], "parameters": ["delay-write=3ms"]}


@pytest.fixture(scope="module")
def machine(kill_at):
    stack = boot()
    try:
        (stack.root / "run/kill-at").write_bytes(kill_at.read_bytes())
        (stack.root / "run/kill-at").chmod(0o755)
        yield stack
    finally:
        stack.down()


@pytest.fixture
def drive(machine):
    """A drive with fifty files. Its key derivation takes a tenth of a second, not a whole one: it is opened often."""
    stick = Stick.make(machine, "d", "ext4", 16 * MIB)
    try:
        drive = Drive(stick, Bus(machine)).plug()
        slot = generate.slot(1, PASSPHRASE.encode(), passes=3)
        metadata = reference.format_metadata(generate.DRIVE_KEY, generate.top([slot]))
        for name in ("a", "b"):
            tree.write(drive.files, f".usbcrypt/{name}/drive.json", metadata)
            for path in (".usbcrypt", f".usbcrypt/{name}", f".usbcrypt/{name}/drive.json"):
                os.chown(drive.files / path, 3001, 3001)
        for number, (name, size) in enumerate(FILES.items()):
            tree.write(drive.files, name, tree.content(name, size), mtime=1_500_000_000 + number)
        tree.give(drive.files, 3001)
        drive.replug(**SLOW)
        drive.unlock()
        yield drive
    finally:
        stick.discard()


def keys_of_root():
    """How many keys the kernel holds for root, everybody's."""
    for line in Path("/proc/key-users").read_text().splitlines():
        if line.split(":")[0].strip() == "0":
            return int(line.split(":")[1].split()[1].split("/")[0])
    return 0


class Points:
    """Runs on a drive whose usbcryptd is killed."""

    def __init__(self, machine, drive):
        self.machine, self.drive = machine, drive
        self.before = tree.snapshot(drive.files)
        cgroup = machine.run(["systemctl", "show", "-P", "ControlGroup", "usbcryptd.service"]).stdout.strip()
        self.processes = machine.root / f"sys/fs/cgroup{cgroup}/cgroup.procs"
        self.calls_file = machine.root / "run/kill-at.calls"

    # ---- the medium

    def image(self):
        """What the medium holds. Takes it out."""
        self.drive.stick.unmount()
        self.drive.stick.unplug()
        return self.drive.stick.image.read_bytes()

    def put_back(self, image):
        """The medium as it was then, plugged in anew."""
        stick = self.drive.stick
        if stick.loop:
            stick.unmount()
            stick.unplug()
        with open(stick.image, "r+b") as file:
            for at in range(0, len(image), MIB):
                if file.read(MIB) != image[at:at + MIB]:
                    os.pwrite(file.fileno(), image[at:at + MIB], at)
        self.drive.plug(**SLOW)
        self.drive.unlock()

    # ---- the daemon

    def pids(self):
        try:
            return set(self.processes.read_text().split())
        except FileNotFoundError:  # killed, and not started again yet
            return set()

    def traced(self, at, verb, *options):
        """Lets usbctl run while usbcryptd is to be killed before its call number `at`. Returns usbctl's result, whether
        usbcryptd was killed, and its calls."""
        pid = self.machine.run(["systemctl", "show", "-P", "MainPID", "usbcryptd.service"]).stdout.strip()
        killer = self.machine.popen(["/run/kill-at", str(at), "/run/kill-at.calls", pid], stdout=subprocess.PIPE)
        try:
            assert killer.stdout.readline() == b"ready\n"
            self.old = self.pids()
            result = end(self.drive.begin(verb, *options))
        finally:
            # It lets go of what it has not killed by now.
            self.machine.run(["pkill", "-TERM", "-x", "kill-at"], check=False)
            killer.communicate(timeout=20)
        killed = killer.returncode == 137
        assert killed or killer.returncode == 0, killer.returncode
        data = self.calls_file.read_bytes()
        return result, killed, [int.from_bytes(data[i:i + 2], "little") for i in range(0, len(data), 2)]

    def see_order(self, result, mode, where):
        """After a kill: what has to hold, and the way back to plain files."""
        known = self.drive.wait_known()
        assert known["Locked"], where
        assert not self.old & self.pids(), where
        there = tree.snapshot(self.drive.files)
        lost = [path for path, entry in self.before.items()
                if entry.digest and path + tree.SUFFIX not in there and
                (path not in there or there[path].digest != entry.digest)]
        assert not lost, (where, lost)
        if result.code == DONE:
            assert not known["Pending"], where
        self.drive.unlock()
        self.drive.recover(mode)
        assert not self.drive.properties["Pending"], where
        to_cipher = (known["Pending"] == "encrypt") == (mode == "resume")
        if known["Pending"] and mode != "settle":
            assert not (tree.plain if to_cipher else tree.encrypted)(self.drive.files), where
        self.drive.decrypt()
        tree.assert_same(self.before, tree.snapshot(self.drive.files))

    def choose(self, calls):
        if LONG:
            yield from range(1, len(calls) + 1)
            yield from itertools.takewhile(lambda _: self.reached, itertools.count(len(calls) + 1))
            return
        begun = self.begun(calls)
        before, after = list(range(1, begun + 1)), list(range(begun + 1, len(calls) + 1))
        for points in (before, after):
            random.Random(SEED).shuffle(points)
        yield from (n for pair in itertools.zip_longest(after, before) for n in pair if n)

    @staticmethod
    def begun(calls):
        """The call with which the worker is started."""
        return max(n for n, call in enumerate(calls, 1) if call == CLONE3)

    def all(self, name, prepare, verb, *options, seconds=SECONDS, at_least=6):
        prepare()
        assert verb != "recover" or self.drive.properties["Pending"]
        result, killed, calls = self.traced(0, verb, *options)
        assert result.code == DONE and not killed
        self.drive.decrypt()
        deadline, keys = time.monotonic() + seconds, keys_of_root()
        tried = pending = 0
        self.reached = True
        for n in self.choose(calls):
            if time.monotonic() > deadline and tried >= at_least:
                break
            mode = MODES[n % 3]
            where = f"seed {SEED}: {name}, usbcryptd killed before call {n}, then recover --{mode}"
            prepare()
            result, killed, _ = self.traced(n, verb, *options)
            self.reached = killed
            if not killed:
                self.drive.decrypt()
                continue
            assert result.code in (DONE, INTERRUPTED, UNREACHABLE) or \
                (result.code == FAILED and result.result == "Locked"), (where, result)
            tried += 1
            pending += bool(self.drive.wait_known()["Pending"])
            self.see_order(result, mode, where)
        # Other machines' keys come and go; what each of these left would add up.
        left = keys_of_root() - keys
        assert left < max(tried, 10), f"{left} keys were left behind"
        print(f"\n{name}: usbcryptd killed at {tried} of {len(calls)} system calls, {pending} times something was pending, "
              f"seed {SEED}: 0 losses", flush=True)
        assert tried >= at_least


@pytest.fixture
def points(machine, drive):
    return Points(machine, drive)


def test_usbcryptd_killed_anywhere_in_an_encrypt(points):
    points.all("encrypt", lambda: None, "encrypt")


def test_usbcryptd_killed_anywhere_in_a_decrypt(points):
    points.all("decrypt", lambda: points.drive.encrypt("--no-scrub"), "decrypt")


def test_usbcryptd_killed_anywhere_in_a_recovery(points):
    begin = points.image()
    points.put_back(begin)
    _, _, calls = points.traced(0, "encrypt")
    # Something is pending after a kill in its middle.
    for at in range(points.begun(calls) + 20, len(calls), 5):
        points.put_back(begin)
        points.traced(at, "encrypt")
        if points.drive.wait_known()["Pending"]:
            break
    image = points.image()
    for mode in MODES:
        points.all(f"recover --{mode}", lambda: points.put_back(image), "recover", f"--{mode}",
                   seconds=SECONDS / len(MODES), at_least=2)
