#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What usbcrypt costs, beside what people know: cp, gocryptfs, age. One line a figure; tests/bench/README.md explains."""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import busy
import idle
import report
import rig
from rig import GIB, KIB, MIB, READING, run

TREE = pathlib.Path(__file__).resolve().parents[2]
CHUNK = 64 * KIB

# Why goals are missed where they are: tests/bench/README.md has the figures behind it.
TWICE = "each byte is sealed, read back from the medium, opened and compared: four passes on two cores"
STICK = "each byte is read twice and written once, or twice with scrubbing, by a medium that does one request at a time"
LOOKED = "a first walk looks at each file, and read-ahead fetches small ones whole: they are read again past the cache"
CLOSED = "one more, so that the next run in the same mount cannot overwrite a record the medium lacks"


def batch_files():
    text = (TREE / "daemon/engine/rounds.c").read_text()
    return int(re.search(r"#define BATCH_FILES\s+(\d+)", text).group(1))


def cipher_speed():
    """Bytes a second that one core opens, of the default suite's chunks."""
    sodium = ctypes.CDLL("libsodium.so.23")
    assert sodium.sodium_init() >= 0
    plain, sealed = ctypes.create_string_buffer(CHUNK), ctypes.create_string_buffer(CHUNK + 16)
    key, nonce, size = os.urandom(32), os.urandom(24), ctypes.c_ulonglong
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, None, plain, size(CHUNK), None, size(0), None, nonce, key)
    speeds = []
    for _ in range(5):
        started = time.monotonic()
        for _ in range(256):
            sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(plain, None, None, sealed, size(CHUNK + 16), None,
                                                              size(0), nonce, key)
        speeds.append(256 * CHUNK / (time.monotonic() - started))
    return statistics.median(speeds)


class Peers:
    """The programs usbcrypt is compared with, each given the same files on the same drive."""

    def __init__(self, drive, scratch):
        self.drive, self.scratch = drive, scratch
        self.root = drive.mount_point
        self.key = scratch / "age.key"
        if not self.key.exists():
            run("age-keygen", "-o", self.key, stderr=subprocess.DEVNULL)
        self.recipient = re.search(r"age1\w+", self.key.read_text()).group(0)

    def copy(self, source):
        target = self.root / "copy"
        cost = rig.timed(self.drive, ("cp", "-a", source, target), ("sync", "-f", self.root))
        run("rm", "-rf", target)
        return cost

    def gocryptfs(self, source):
        cipher, plain = self.root / "gocryptfs", self.scratch / "gocryptfs"
        cipher.mkdir()
        plain.mkdir(exist_ok=True)
        options = ("-q", "-extpass", "echo bench")
        run("gocryptfs", "-init", "-scryptn", "10", *options, cipher)
        run("gocryptfs", "-nosyslog", *options, cipher, plain)
        try:
            return rig.timed(self.drive, ("cp", "-a", source, plain), ("sync", "-f", plain), ("sync", "-f", self.root))
        finally:
            run("fusermount3", "-u", plain)
            run("rm", "-rf", cipher)

    def age(self, source):
        target = self.root / "film.age"
        cost = rig.timed(self.drive, ("age", "-r", self.recipient, "-o", target, source), ("sync", "-f", self.root))
        self.drive.cool()
        back = self.root / "film.back"
        opened = rig.timed(self.drive, ("age", "-d", "-i", self.key, "-o", back, target), ("sync", "-f", self.root))
        target.unlink()
        back.unlink()
        return cost, opened

    def openssl(self, source):
        """Neither authenticated nor verified: how fast a pipe through a cipher can be here."""
        target = self.root / "film.enc"
        (self.scratch / "key").write_text("0" * 64)
        cost = rig.timed(self.drive, ("openssl", "enc", "-chacha20", "-K", "00" * 32, "-iv", "00" * 16, "-in", source,
                                      "-out", target), ("sync", "-f", self.root))
        target.unlink()
        return cost

    def read(self, source):
        """Every byte once, as a program that only reads it."""
        return rig.timed(self.drive, ("find", source, "-type", "f", "-exec", "cat", "{}", "+"))


class Run:
    """The repetitions of one workload on one device, every kind of work taking its turn in each."""

    def __init__(self, drive, source, peers):
        self.drive, self.source, self.peers = drive, source, peers
        self.costs = {}

    def note(self, name, cost):
        self.costs.setdefault(name, []).append({k: v for k, v in cost.items() if k not in ("progress", "log")})
        print(f"  {name:22}{cost['seconds']:8.2f} s", file=sys.stderr, flush=True)

    def job(self, name, kind, *flags, **fields):
        self.drive.cool()
        self.note(name, rig.job(self.drive, kind, flags, **fields))

    def peer(self, name, *arguments):
        self.drive.cool()
        cost = getattr(self.peers, name)(*arguments)
        self.drive.trim()
        if isinstance(cost, tuple):
            self.note(name, cost[0])
            self.note(name + " open", cost[1])
        else:
            self.note(name, cost)

    def warm_up(self):
        """The journal is made once for a drive; and how many barriers there were, which does not vary."""
        self.job("count", "ENCRYPT", "NO_SCRUB", count=True)
        self.job("decrypt (unmeasured)", "DECRYPT")
        self.job("count", "ENCRYPT", "NO_SCRUB", count=True)
        self.job("decrypt (unmeasured)", "DECRYPT")

    def repeat(self, times, small):
        encrypted = self.source if small else self.source.with_name(self.source.name + ".ucr")
        for _ in range(times):
            self.peer("copy", self.source)
            self.peer("gocryptfs" if small else "age", self.source)
            if not small:
                self.peer("openssl", self.source)
            self.job("encrypt --no-scrub", "ENCRYPT", "NO_SCRUB")
            self.peer("read", encrypted)
            self.job("verify", "VERIFY", keys=READING)
            self.job("decrypt", "DECRYPT")
            self.job("encrypt", "ENCRYPT")
            self.drive.trim()
            self.job("decrypt (unmeasured)", "DECRYPT")
            self.drive.trim()

    def ratio(self, above, below, what="seconds"):
        """The median over the repetitions of one cost by another."""
        pairs = zip(self.costs[above], self.costs[below])
        return statistics.median(a[what] / b[what] for a, b in pairs)

    def median(self, name, what="seconds"):
        return statistics.median(c[what] for c in self.costs[name])


class Table:
    """The figures of one workload, printed as they come. A note says why a goal is missed."""

    def __init__(self, title):
        self.title, self.figures = title, []

    def add(self, name, value, goal=None, unit="", at_least=False, note=""):
        met = None if goal is None else value >= goal if at_least else value <= goal
        self.figures.append({"name": name, "value": value, "goal": goal, "unit": unit, "at_least": at_least, "met": met,
                             "note": note})
        goal_text = "" if goal is None else f" (goal {'>=' if at_least else '<='} {goal:g}{unit})"
        verdict = "" if met is None else " met" if met else " missed"
        print(f"{self.title}: {name}: {value:.3g}{unit}{goal_text}{verdict}", flush=True)


def small_files(table, directory, device, files, times):
    with contextlib.closing(rig.Drive(directory, files * 26 * KIB + 512 * MIB, device == "stick")) as drive:
        tree = rig.make_tree(drive.mount_point, files, 8 * KIB)
        work = Run(drive, tree, Peers(drive, directory))
        work.warm_up()
        work.repeat(times, True)
        why = STICK if drive.server else TWICE
        table.add("encrypt --no-scrub / cp", work.ratio("encrypt --no-scrub", "copy"), 1.5, note=why)
        table.add("gocryptfs / encrypt --no-scrub", work.ratio("gocryptfs", "encrypt --no-scrub"), 4,
                  at_least=True, note=why)
        table.add("encrypt / cp", work.ratio("encrypt", "copy"), 1.8, note=why)
        table.add("decrypt / cp", work.ratio("decrypt", "copy"), 1.5, note=why)
        table.add("verify / reading or the cipher", verify_ratio(work, files * 8 * KIB), 1.2, note=LOOKED)
        counted = work.costs["count"][-1]
        batches = -(-files // batch_files())
        table.add("barriers - batches", counted["asked"]["NODE_SYNC"] - batches, 4, note=CLOSED)
        table.add("sectors written, encrypt --no-scrub / cp", work.ratio("encrypt --no-scrub", "copy", "sectors"), 1.6)
        table.add("sectors written, encrypt / cp", work.ratio("encrypt", "copy", "sectors"), 2.6)
        return work.costs


def verify_ratio(work, size):
    cipher = size / cipher_speed()
    return statistics.median(v["seconds"] / max(r["seconds"], cipher)
                             for v, r in zip(work.costs["verify"], work.costs["read"]))


def large_file(table, directory, device, size, times):
    with contextlib.closing(rig.Drive(directory, int(size * 3.1) + 512 * MIB, device == "stick")) as drive:
        film = rig.make_file(drive.mount_point, size)
        work = Run(drive, film, Peers(drive, directory))
        work.warm_up()
        work.repeat(times, False)
        why = STICK if drive.server else TWICE
        table.add("encrypt --no-scrub / cp", work.ratio("encrypt --no-scrub", "copy"), 1.5, note=why)
        table.add("encrypt --no-scrub / age", work.ratio("encrypt --no-scrub", "age"), 1, note=why)
        table.add("encrypt / cp", work.ratio("encrypt", "copy"), 2.2, note=why)
        table.add("decrypt / cp", work.ratio("decrypt", "copy"), 1.5, note=why)
        table.add("decrypt / age -d", work.ratio("decrypt", "age open"), 1, note=why)
        table.add("verify / reading or the cipher", verify_ratio(work, size), 1.2, note=LOOKED)
        rss = max(c["rss"] for name in ("encrypt --no-scrub", "encrypt", "decrypt", "verify") for c in work.costs[name])
        table.add("worker's peak memory", rss / MIB, 48, " MiB")
        table.add("openssl enc / cp, to compare", work.ratio("openssl", "copy"))
        return work.costs


def many_files(table, directory, files):
    """Whether the time stays in proportion from a hundredth of the files on."""
    few = files // 100
    costs = {}
    for n in (few, files):
        with contextlib.closing(rig.Drive(directory, n * 12 * KIB + GIB, inodes=n * 2 + 10000)) as drive:
            rig.make_tree(drive.mount_point, n, KIB, 1000)
            drive.cool()
            cost = rig.job(drive, "ENCRYPT", ["NO_SCRUB"])
            first = next((t for t, p in cost["progress"] if p[1] > 0), cost["seconds"])
            costs[n] = {k: v for k, v in cost.items() if k not in ("progress", "log")} | {"first progress": first}
            print(f"  {n} files: {cost['seconds']:.2f} s", file=sys.stderr, flush=True)
    growth = costs[files]["seconds"] / files / (costs[few]["seconds"] / few)
    table.add(f"time for each file / at {few:,}", growth, 1.2)
    table.add("worker's peak memory", costs[files]["rss"] / MIB, 96, " MiB")
    table.add("first progress", costs[files]["first progress"], 1, " s")
    return costs


def batch_sizes(directory, device, files, times, workers):
    """The same work by workers that were built with other batch sizes: {size: seconds, of cp too}."""
    found = {}
    with contextlib.closing(rig.Drive(directory, files * 26 * KIB + 512 * MIB, device == "stick")) as drive:
        tree = rig.make_tree(drive.mount_point, files, 8 * KIB)
        work = Run(drive, tree, Peers(drive, directory))
        for _ in range(times):
            work.peer("copy", tree)
            for size, binary in workers.items():
                rig.worker.BINARY = binary
                work.job(f"{size} files a batch", "ENCRYPT", "NO_SCRUB")
                work.job("decrypt (unmeasured)", "DECRYPT")
        for size in workers:
            found[size] = work.ratio(f"{size} files a batch", "copy")
            print(f"{device}: {size} files a batch / cp: {found[size]:.3g}", flush=True)
    return found


def keep(folder, name, machine, costs):
    """The raw numbers."""
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine, "costs": costs}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=TREE / os.environ.get("O", "build"))
    parser.add_argument("--quick", action="store_true", help="fewer files, a smaller file, 2 repetitions, nothing kept")
    parser.add_argument("--long", action="store_true", help="1,000,000 files instead of 100,000", default=bool(os.environ.get("BENCH_LONG")))
    parser.add_argument("--only", help="of: small-memory small-stick large-memory large-stick many idle busy", default="")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--size", type=int, help="of the large file, in MiB")
    parser.add_argument("--batch-sizes", nargs="+", metavar="SIZE=WORKER", default=[])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("as root, please: it makes loop devices")
    rig.worker.BINARY = options.build.resolve() / "usbcrypt-worker"
    times = options.repetitions or (2 if options.quick else 5)
    size = (options.size or (256 if options.quick else 4096)) * MIB
    files = 2000 if options.quick else 10000
    only = options.only.split()
    machine, kept = report.machine(), options.build / "bench"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="usbcrypt-bench-", dir="/dev/shm") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o711)
        if options.batch_sizes:
            workers = {int(w.split("=")[0]): pathlib.Path(w.split("=")[1]).resolve() for w in options.batch_sizes}
            for device in ("memory", "stick"):
                keep(kept, f"batches-{device}", machine, batch_sizes(directory, device, files, times, workers))
        else:
            many = 1000000 if options.long else 100000
            film = min(size, 128 * MIB)
            works = {
                "small-memory": (f"{files:,} files of 8 KiB, a medium in memory",
                                 lambda table: small_files(table, directory, "memory", files, times)),
                "small-stick": (f"{files:,} files of 8 KiB, a slow stick",
                                lambda table: small_files(table, directory, "stick", files, times)),
                "large-memory": (f"One file of {size / GIB:g} GiB, a medium in memory",
                                 lambda table: large_file(table, directory, "memory", size, times)),
                "large-stick": (f"One file of {film / GIB:g} GiB, a slow stick",
                                lambda table: large_file(table, directory, "stick", film, times)),
                "many": (f"{many:,} files of 1 KiB, a medium in memory",
                         lambda table: many_files(table, directory, many)),
                "busy": ("Property reads while two drives are encrypted and decrypted",
                         lambda table: busy.measure(table, options.build)),
                "idle": ("The daemon with nothing to do", lambda table: idle.measure(table, options.build)),
            }
            for work, (title, measure) in works.items():
                if work in only or not only and not (options.quick and work in ("many", "idle", "busy")):
                    table = Table(title)
                    keep(kept, work, machine, measure(table))
                    if not options.quick:
                        measured = {work: {"title": title, "machine": machine, "figures": table.figures}}
                        report.write(TREE / "tests/bench/results", TREE / "README.md", measured, works)


if __name__ == "__main__":
    main()
