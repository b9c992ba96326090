# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured with: drives whose medium lies in memory, at full speed or slowed to a stick's; the real worker with
its node helper over socketpairs; and the programs it is compared with."""

import contextlib
import os
import pathlib
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fault"))

# pylint: disable=wrong-import-position
import worker  # noqa: E402
from test_worker_transactions import SUBKEYS, keys_record  # noqa: E402

PASSPHRASE = b"correct horse 7 battery staple"
OWNER = worker.NOBODY
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SECTOR = 512
TIMEOUT = 1800
READING = ("METADATA_MAC", "FILE_ROOT")

# An ordinary stick: reads 100 MB/s (nbdkit counts bits); does one request after the other, and takes 4 ms for each
# write: 32 MB/s in requests of 128 KiB, which is the most that come through FUSE, and 250 scattered small ones a second.
STICK = {"rate": "800M", "burstiness": "0.1", "delay-write": "4ms"}


def children_seconds():
    """Processor time of the programs that have ended, in both modes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, timeout=TIMEOUT, **options)


def sync(path):
    run("sync", "-f", path)


class Drive(worker.Drive):
    """An enrolled ext4 drive. `stick` slows its medium."""

    def __init__(self, directory, size, stick=False, inodes=None):  # pylint: disable=super-init-not-called
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="drive-", dir=directory))
        self.image = self.directory / "image"
        self.mount_point = pathlib.Path(tempfile.mkdtemp(prefix="usbcrypt-bench-"))
        self.mount_point.chmod(0o755)
        self.server = self.loop = None
        with open(self.image, "wb") as f:
            f.truncate(size)
        extended = f"root_owner={OWNER}:{OWNER},lazy_itable_init=0,lazy_journal_init=0"
        many = ["-N", inodes] if inodes else []
        run("mkfs.ext4", "-q", "-F", "-m", "0", *many, "-E", extended, self.image)
        self.medium = self.image
        try:
            if stick:
                self.slow_down()
            direct = ["--direct-io=on"] if stick else []
            self.loop = run("losetup", "-f", "--show", *direct, self.medium, capture_output=True,
                            text=True).stdout.strip()
            # What Linux gives a stick, and not a loop device: requests that meet are merged.
            with contextlib.suppress(OSError):
                pathlib.Path("/sys/block", os.path.basename(self.loop), "queue/scheduler").write_text("mq-deadline")
            self.mount()
            enrolled = worker.run(self, "ENROLL", PASSPHRASE)
            assert enrolled["outcome"] == "DONE", enrolled
            self.unlocked = worker.run(self, "UNLOCK", PASSPHRASE)
        except BaseException:
            self.close()
            raise

    def slow_down(self):
        slowed = self.directory / "slowed"
        slowed.mkdir()
        self.medium = slowed / "disk"
        command = ["nbdfuse", self.medium, "--command", "nbdkit", "-s", "--exit-with-parent", "--filter=noparallel",
                   "--filter=rate", "--filter=delay", "file", self.image, *(f"{k}={v}" for k, v in STICK.items())]
        self.server = subprocess.Popen([str(c) for c in command])  # pylint: disable=consider-using-with
        deadline = time.monotonic() + 20
        while not (os.path.ismount(slowed) or os.path.ismount(self.medium)):
            assert self.server.poll() is None and time.monotonic() < deadline, "no nbdfuse"
            time.sleep(0.02)

    def statistics(self):
        """Sectors written to the device, and flushes it was asked for."""
        fields = pathlib.Path("/sys/block", os.path.basename(self.loop), "stat").read_text().split()
        return {"sectors": int(fields[6]), "flushes": int(fields[15])}

    def cool(self):
        """Nothing of its files stays in a cache."""
        sync(self.mount_point)
        deadline = time.monotonic() + 30
        while subprocess.run(["umount", str(self.mount_point)], check=False, timeout=TIMEOUT,
                             stderr=subprocess.DEVNULL).returncode:
            assert time.monotonic() < deadline, "it stays in use"  # by a FUSE server that is about to end
            time.sleep(0.05)
        self.mount()

    def trim(self):
        """Gives what was freed back to memory."""
        sync(self.mount_point)
        if not self.server:
            subprocess.run(["fstrim", str(self.mount_point)], check=False, timeout=TIMEOUT)

    def close(self):
        def quietly(*command):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([str(c) for c in command], check=False, timeout=120, stderr=subprocess.DEVNULL)

        if self.loop:
            if os.path.ismount(self.mount_point):
                quietly("umount", self.mount_point)
            quietly("losetup", "-d", self.loop)
        if self.server:
            quietly("umount", self.medium.parent)
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                self.server.kill()
                quietly("umount", "-l", self.medium.parent)
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.mount_point.rmdir()


class NodeLine:
    """A node helper, and the line a worker talks to it over. With `count`, the questions are counted on their way."""

    def __init__(self, drive, count=False):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper = worker.Worker(node=theirs.fileno())
        theirs.close()
        self.helper.start(drive, "NODE", ["HAS_NODE"], uid=4242)
        self.helper.expect("READY")
        self.asked = {}
        self.end, self.thread = ours, None
        if count:
            self.end, middle = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.thread = threading.Thread(target=self.relay, args=(middle, ours))
            self.thread.start()

    def relay(self, questions, answers):
        with questions, answers:
            while packet := questions.recv(4096):
                name = worker.RECORDS[worker.HEADER.unpack_from(packet)[0]]
                self.asked[name] = self.asked.get(name, 0) + 1
                answers.send(packet)
                questions.send(answers.recv(4096))

    def close(self):
        self.end.close()
        if self.thread:
            self.thread.join()
        self.helper.close()


class Watch(threading.Thread):
    """Reads a process's peak of resident memory until it is gone."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.stopped = pid, 0, threading.Event()

    def look(self):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            self.peak = max(self.peak, int(text.split("VmHWM:")[1].split()[0]) * KIB)

    def run(self):
        while not self.stopped.wait(0.02):
            self.look()


def job(drive, kind, flags=(), keys=tuple(SUBKEYS), count=False,
        before=(), **fields):
    """A whole job of the real worker. `before` is put before its command line (a tracer)."""
    line = NodeLine(drive, count)
    statistics = drive.statistics()
    used = children_seconds()
    started = time.monotonic()
    arguments = [*before, str(worker.BINARY)] if before else None
    with worker.Worker(node=line.end.fileno(), arguments=arguments,
                       environment={"PATH": os.environ["PATH"]}) as w:
        line.end.close()
        w.socket.settimeout(TIMEOUT)
        worker.DEADLINE = TIMEOUT
        watch = Watch(w.pid)
        watch.start()
        w.start(drive, kind, ["HAS_NODE", *flags], uid=OWNER, **fields)
        w.expect("READY")
        w.send("KEYS", keys_record(drive.unlocked, keys))
        progress = []
        while True:
            record = w.receive()
            assert record, f"no RESULT: {w.log()}"
            if record[0] == "PROGRESS":
                progress.append((time.monotonic() - started, worker.PROGRESS_RECORD.unpack(record[1])))
            elif record[0] == "RESULT":
                ended = time.monotonic()
                watch.look()
                break
        watch.stopped.set()
        w.wait()
        log = w.log()
        values = worker.RESULT_RECORD.unpack(record[1])
    line.close()
    outcome = worker.OUTCOMES[values[0]]
    counts = dict(zip(worker.COUNTS, values[5:-1]))
    assert outcome == "DONE", (outcome, counts, log)
    after = drive.statistics()
    return {"seconds": ended - started, "cpu": children_seconds() - used, "rss": watch.peak, "counts": counts, "asked": line.asked,
            "progress": progress, "log": log, **{k: after[k] - statistics[k] for k in after}}


def timed(drive, *commands):
    """Programs one after the other, and what they cost the device."""
    statistics = drive.statistics()
    used = children_seconds()
    started = time.monotonic()
    for command in commands:
        run(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    after = drive.statistics()
    return {"seconds": seconds, "cpu": children_seconds() - used, **{k: after[k] - statistics[k] for k in after}}


def own(path):
    os.chown(path, OWNER, OWNER)


def make_tree(root, files, size, folder_files=100):
    """`files` files of `size` random bytes in folders of `folder_files`, of long ago."""
    tree = root / "tree"
    tree.mkdir()
    own(tree)
    pool = os.urandom(MIB)
    for i in range(files):
        if i % folder_files == 0:
            folder = tree / f"folder {i // folder_files:05d}"
            folder.mkdir()
            own(folder)
        path = folder / f"photograph {i:07d}.jpg"
        with open(path, "wb") as f:
            offset = (i * 4099) % (MIB - size)
            f.write(i.to_bytes(8, "little") + pool[offset : offset + size - 8])
            os.fchown(f.fileno(), OWNER, OWNER)
        os.utime(path, ns=(10**18, 10**18 + i))
    sync(root)
    return tree


def make_file(root, size):
    path = root / "film.mkv"
    pool = os.urandom(4 * MIB)
    with open(path, "wb") as f:
        for i in range(0, size, 4 * MIB):
            f.write(i.to_bytes(8, "little") + pool[8 : min(4 * MIB, size - i)])
    own(path)
    os.utime(path, ns=(10**18, 10**18))
    sync(root)
    return path
