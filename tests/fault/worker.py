# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plays usbcryptd to the real usbcrypt-worker: starts it as root over a real SOCK_SEQPACKET socketpair and speaks the
records of daemon/protocol/record.h. The enums are read from the headers, so that they cannot drift apart."""

import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("USBCRYPT_WORKER", TREE / os.environ.get("O", "build") / "usbcrypt-worker"))
DEADLINE = 60

NOBODY = 65534


def x_macro(header, macro):
    text = (TREE / "daemon" / header).read_text()
    body = re.search(r"#define %s\(X\)(.*?)\n\n" % macro, text, re.S).group(1)
    return re.findall(r"X\((\w+),", body)


def c_enum(header, name):
    text = re.sub(r"/\*.*?\*/", "", (TREE / "daemon" / header).read_text(), flags=re.S)
    body = re.search(r"typedef enum %s \{(.*?)\}" % name, text, re.S).group(1)
    values, value = {}, 0
    for entry in (e.strip() for e in body.split(",")):
        if not entry:
            continue
        constant, _, expression = (p.strip() for p in entry.partition("="))
        value = eval(expression) if expression else value  # pylint: disable=eval-used
        values[constant] = value
        value += 1
    return values


OUTCOMES = x_macro("util/outcome.h", "OUTCOMES")
REASONS = x_macro("util/outcome.h", "REASONS")
COUNTS = x_macro("util/report.h", "COUNTS")
RECORDS = {v: k.removeprefix("RECORD_") for k, v in c_enum("protocol/record.h", "RecordType").items()}
RECORD = {name: number for number, name in RECORDS.items()}
JOB = {k.removeprefix("JOB_"): v for k, v in c_enum("protocol/record.h", "JobKind").items()}
FLAG = {k.removeprefix("JOB_"): v for k, v in c_enum("protocol/record.h", "JobFlag").items()}

HEADER = struct.Struct("@II")
JOB_RECORD = struct.Struct("@5I256I3IQQ4097s256s32s6IQ")
KEYS_RECORD = struct.Struct("@III16s160s")
DRIVE_RECORD = struct.Struct("@5I16sQQI0Q")
RESULT_RECORD = struct.Struct("@IiIQQ%dQ256s" % len(COUNTS))
PROGRESS_RECORD = struct.Struct("@IQQQQQ")
NODE_REQUEST = struct.Struct("@QII")
NODE_DONE = struct.Struct("@QiI")


class Drive:
    """An ext4 image on a loop device, mounted nosuid,nodev as udisks2 would."""

    def __init__(self, directory, image=None, options="nosuid,nodev", owner=NOBODY, size=32 << 20):
        self.directory = Path(directory)
        self.image = self.directory / "image"
        # Not below the directory: pytest's are for root alone.
        self.mount_point = Path(tempfile.mkdtemp(prefix="usbcrypt-drive-"))
        self.mount_point.chmod(0o755)
        if image:
            shutil.copy(image, self.image)
        else:
            with open(self.image, "wb") as f:
                f.truncate(size)
            options_of_mkfs = "root_owner=%d:%d,lazy_itable_init=0" % (owner, owner)
            subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-E", options_of_mkfs, self.image], check=True)
        self.loop = subprocess.run(
            ["losetup", "-f", "--show", self.image], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.mount(options)

    def mount(self, options="nosuid,nodev"):
        subprocess.run(["mount", "-t", "ext4", "-o", options, self.loop, self.mount_point], check=True)
        self.look_up_mount()

    def look_up_mount(self):
        """Which mount it is by now."""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[4] == str(self.mount_point):
                self.mount_id = int(fields[0])
        self.look_up()

    def look_up(self):
        """Which disk the loop device is by now."""
        device = os.stat(self.loop).st_rdev
        self.major, self.minor = os.major(device), os.minor(device)
        self.disk_sequence = int(Path("/sys/block", Path(self.loop).name, "diskseq").read_text())

    def unmount(self):
        subprocess.run(["umount", self.mount_point], check=True)

    def remount(self, options):
        subprocess.run(["mount", "-o", "remount," + options, self.mount_point], check=True)

    def bytes(self):
        """The device's content with nothing of it left in a cache, but for the superblock: ext4 writes there when it
        was last mounted, and where, whenever it likes."""
        subprocess.run(["sync", "-f", self.mount_point], check=True)
        data = self.image.read_bytes()
        return data[:1024] + data[2048:]

    def close(self):
        subprocess.run(["umount", "-q", "-l", self.mount_point], check=False)
        subprocess.run(["losetup", "-d", self.loop], check=False)
        self.mount_point.rmdir()


class Worker:
    """One worker. Descriptors for it (passphrase, target, node) are the caller's, and stay so."""

    def __init__(self, passphrase=None, target=None, node=None, environment=None, before_exec=None, arguments=None):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log_read, log_write = os.pipe()
        wanted = {2: log_write, 3: theirs.fileno(), 4: passphrase, 5: target, 6: node}
        # Out of the way first, so that no number is overwritten before it was copied.
        moved = {to: os.dup(fd) for to, fd in wanted.items() if fd is not None}
        for to, fd in moved.items():
            high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)
            os.close(fd)
            moved[to] = high
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for to in (4, 5, 6):
                    if to not in moved:
                        try:
                            os.close(to)
                        except OSError:
                            pass
                for to, fd in moved.items():
                    os.dup2(fd, to, inheritable=True)
                if before_exec:
                    before_exec()
                arguments = arguments or [str(BINARY)]
                os.execve(arguments[0], arguments, environment or {})
            finally:
                os._exit(127)
        for fd in moved.values():
            os.close(fd)
        os.close(log_write)
        theirs.close()
        self.socket.settimeout(DEADLINE)
        self.status = None

    def send(self, name, payload=b""):
        self.socket.send(HEADER.pack(RECORD[name], len(payload)) + payload)

    def receive(self):
        """The next record as (name, payload), or None when the worker has hung up."""
        try:
            packet = self.socket.recv(65536)
        except ConnectionResetError:  # it left something unread; what it had sent is still there
            packet = self.socket.recv(65536)
        if not packet:
            return None
        kind, size = HEADER.unpack_from(packet)
        assert size == len(packet) - HEADER.size
        return RECORDS[kind], packet[HEADER.size :]

    def expect(self, name):
        record = self.receive()
        assert record and record[0] == name, "%r instead of %s; log: %s" % (record, name, self.log())
        return record[1]

    def start(self, drive, kind, flags=(), uid=NOBODY, gid=None, groups=None, paths=(), **fields):
        gid = uid if gid is None else gid
        groups = [gid] if groups is None else groups
        values = dict(
            major=drive.major,
            minor=drive.minor,
            anonymous=0,
            disk_sequence=drive.disk_sequence,
            mount_id=drive.mount_id,
            mount_point=os.fsencode(drive.mount_point),
            node=os.fsencode(drive.loop),
            filesystem=b"ext4",
            suite=0,
            recovery_mode=0,
            n_paths=len(paths),
            passphrase_min_length=12,
            passphrase_min_classes=2,
            refuse_traced=1,
            kdf_memory=64 << 20,
        )
        values.update(fields)
        bits = 0
        for flag in flags:
            bits |= FLAG[flag]
        self.send(
            "JOB",
            JOB_RECORD.pack(
                JOB[kind], bits, uid, gid, len(groups), *(groups + [0] * (256 - len(groups))), *values.values()
            ),
        )
        for path in paths:
            self.send("PATH", path)
        self.send("START")

    def result(self):
        """Waits for RESULT, gathering what comes before it."""
        result = {"records": []}
        while True:
            record = self.receive()
            assert record, "no RESULT; log: %s, status %s" % (self.log(), self.wait())
            name, payload = record
            result["records"].append(name)
            if name == "DRIVE":
                keys = ("enrolled", "owner", "suite", "epoch", "pending", "id", "size", "free", "read_only")
                result["drive"] = dict(zip(keys, DRIVE_RECORD.unpack(payload)))
            elif name == "KEY":
                result["key"] = payload
            elif name == "FAILURE":
                reason, error = struct.unpack_from("@Ii", payload)
                result.setdefault("failures", []).append((payload[8:], REASONS[reason], error))
            elif name == "RESULT":
                fields = RESULT_RECORD.unpack(payload)
                result["outcome"] = OUTCOMES[fields[0]]
                result["error"] = fields[1]
                result["pending"], result["size"], result["free"] = fields[2:5]
                result["counts"] = dict(zip(COUNTS, fields[5:-1]))
                result["message"] = fields[-1].split(b"\0")[0].decode()
                self.wait()
                return result

    def wait(self):
        """Its exit status: what it returned, or minus the signal that ended it."""
        deadline = time.monotonic() + DEADLINE
        if self.status is None:
            fd = os.pidfd_open(self.pid)
            ended = select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]
            os.close(fd)
            if not ended:
                os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            assert ended, "the worker did not end"
        return self.status

    def log(self):
        os.set_blocking(self.log_read, False)
        text = b""
        try:
            while chunk := os.read(self.log_read, 65536):
                text += chunk
        except BlockingIOError:
            pass
        return text.decode(errors="replace")

    def close(self):
        self.socket.close()
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.log_read)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def passphrase_pipe(passphrase, close=True):
    """A pipe with a passphrase in it. Returns the read end, and the write end when it stays open."""
    read, write = os.pipe()
    os.write(write, passphrase)
    if close:
        os.close(write)
        return read
    return read, write


def run(drive, kind, passphrase=None, flags=(), **fields):
    """A whole job; `passphrase` are bytes, or a descriptor."""
    fd = passphrase_pipe(passphrase) if isinstance(passphrase, bytes) else passphrase
    if fd is not None:
        flags = (*flags, "HAS_PASSPHRASE")
    with Worker(passphrase=fd) as worker:
        if fd is not None:
            os.close(fd)
        worker.start(drive, kind, flags, **fields)
        return worker.result()
