# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts disks a power cut can leave before the real kernel and the real worker: mounted, recovered, decrypted, compared,
checked by fsck. Everything happens in memory."""

import fcntl
import hashlib
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import sys

import blocklog
import fsck
import tree

HERE = "/usr/local/lib/explore"
IMAGE, POINT, ELSEWHERE = "/run/explore/image", "/run/explore/mount", "/run/explore/elsewhere"
UID = 3001
BLOCK = 65536
BLKFLSBUF = 0x1261
SUBKEYS = {"METADATA_MAC": 1, "JOURNAL_MAC": 2, "FILE_ROOT": 3, "SCRUB_ROOT": 4}
MOUNT = "rw,nosuid,nodev"
OWNED = f",uid={UID},gid={UID},fmask=0022,dmask=0022"


def load_worker():
    os.environ["USBCRYPT_WORKER"] = "/usr/libexec/usbcrypt/usbcrypt-worker"
    sys.path.insert(0, HERE + "/tests/fault")
    import worker
    return worker


class Explorer:
    """One recorded run: the disk before it, the log of it, what the tree must be when it is plain."""

    def __init__(self, base, log, filesystem, passphrase, before, heeded, repaired):
        self.worker = load_worker()
        self.filesystem, self.before, self.repaired = filesystem, before, repaired
        self.epochs = blocklog.epochs(log, heeded)
        self.epoch = 0
        os.makedirs(POINT, exist_ok=True)
        with open(base, "rb") as file:
            self.disk = bytearray(file.read())  # as it is when `epoch` begins
        with open(IMAGE, "wb") as file:
            file.write(self.disk)
        self.loop = subprocess.run(["losetup", "-f", "--show", IMAGE], check=True, capture_output=True,
                                   text=True).stdout.strip()
        self.mount_point = POINT
        status = os.stat(self.loop)
        self.major, self.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        with open(f"/sys/block/{os.path.basename(self.loop)}/diskseq") as file:
            self.disk_sequence = int(file.read())
        self.mount()
        unlocked = self.worker.run(self, "UNLOCK", os.fsencode(passphrase), uid=UID,
                                   filesystem=os.fsencode(filesystem))
        self.umount()
        if unlocked["outcome"] != "DONE":
            raise RuntimeError(unlocked)
        self.keys = self.keys_record(unlocked)
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper = self.worker.Worker(node=theirs.fileno())  # holds the node, for every job
        theirs.close()
        self.helper.start(self, "NODE", ["HAS_NODE"], uid=UID)
        self.helper.expect("READY")

    def close(self):
        self.line.close()
        self.helper.close()
        subprocess.run(["losetup", "-d", self.loop], check=True)

    def keys_record(self, unlocked):
        subkeys, present = bytearray(160), 0
        for number in SUBKEYS.values():
            subkeys[32 * number:32 * number + 32] = hashlib.blake2b(
                b"", digest_size=32, key=unlocked["key"], salt=struct.pack("<QQ", number, 0),
                person=b"usbcrypt").digest()
            present |= 1 << number
        drive = unlocked["drive"]
        return self.worker.KEYS_RECORD.pack(present, drive["epoch"], drive["suite"], drive["id"], bytes(subkeys))

    # ---- the disk

    def mount(self):
        subprocess.run(["mount", "-t", self.filesystem, "-o", MOUNT + OWNED * (self.filesystem != "ext4"), self.loop,
                        POINT], check=True)
        with open("/proc/self/mountinfo") as file:
            self.mount_id = int(next(line.split()[0] for line in file if line.split()[4] == POINT))

    def umount(self):
        subprocess.run(["umount", POINT], check=True)

    def put(self, epoch, kept):
        """Makes the disk what a cut in this epoch left, of whose pieces these got through."""
        for passed in range(self.epoch, epoch):
            self.apply(self.disk, self.epochs[passed])
        self.epoch = epoch
        disk = bytearray(self.disk)
        self.apply(disk, [self.epochs[epoch][n] for n in kept])
        with open(IMAGE, "r+b") as file, mmap.mmap(file.fileno(), 0) as image:
            for start in range(0, len(disk), BLOCK):
                wanted = disk[start:start + BLOCK]
                if image[start:start + BLOCK] != wanted:
                    image[start:start + BLOCK] = wanted
        fd = os.open(self.loop, os.O_RDONLY)
        fcntl.ioctl(fd, BLKFLSBUF)
        os.close(fd)

    @staticmethod
    def apply(disk, pieces):
        for sector, data in pieces:
            disk[sector * 512:sector * 512 + len(data)] = data

    # ---- the worker

    def job(self, kind, flags=(), target=None, **fields):
        with self.worker.Worker(target=target, node=self.line.fileno()) as worker:
            worker.start(self, kind, (*flags, "HAS_NODE"), uid=UID, filesystem=os.fsencode(self.filesystem), **fields)
            record = worker.receive()
            if record and record[0] == "READY":
                worker.send("KEYS", self.keys)
                return worker.result() | {"log": worker.log()}
            return {"outcome": str(record), "log": worker.log()}

    # ---- what must hold

    @staticmethod
    def snapshot(root):
        """What tree.snapshot() says, but for files that cannot be read: what a cut tore."""
        found = {}
        for path in tree.walk(root):
            try:
                entry = tree.Entry(os.path.join(os.fsencode(root), path))
                found[os.fsdecode(path)] = [entry.kind, entry.size, entry.mtime, entry.digest]
            except OSError as error:
                found[os.fsdecode(path)] = [None, None, None, error.strerror]
        return found

    def compare(self, after):
        """What a checker has found and named FSCK0000.REC was lost to nobody."""
        after = {path: entry for path, entry in after.items() if not re.fullmatch(r"FSCK\d{4}\.REC", path)}
        return [f"{path}: {self.before.get(path)} -> {after.get(path)}"
                for path in sorted(self.before.keys() | after.keys()) if self.before.get(path) != after.get(path)]

    def missing(self):
        """Files that are there in no whole form: neither as they were, nor as something that decrypts to that. A cut may leave
        a file under its short alias alone, so it is the content that counts; and a folder that is torn may list less than
        what can be opened by its name."""
        shutil.rmtree(ELSEWHERE, ignore_errors=True)
        os.mkdir(ELSEWHERE)
        os.chown(ELSEWHERE, UID, UID)
        fd = os.open(ELSEWHERE, os.O_RDONLY | os.O_DIRECTORY)
        self.job("DECRYPT", ("HAS_TARGET",), target=fd)
        os.close(fd)
        there = {entry[3] for root in (POINT, ELSEWHERE) for entry in self.snapshot(root).values()}
        there |= {self.digest(os.path.join(POINT, path)) for path in self.before}
        return [path for path, entry in self.before.items() if entry[1] is not None and entry[3] not in there]

    @staticmethod
    def digest(path):
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError:
            return None

    def fsck(self):
        """Returns (whether it is damaged, what the checker said)."""
        status, said = fsck.check(self.filesystem, self.loop)
        return fsck.is_damaged(self.filesystem, status, said), said

    def mount_anew(self, repaired):
        """As a person would who is told that something is wrong; repaired: with a checker's help, before anything is given up.
        Returns what the checker had found."""
        self.umount()
        found = self.fsck()
        if repaired:
            fsck.repair(self.filesystem, self.loop)
        self.mount()
        return found

    def settle(self, mode, seen):
        """Recovers, and decrypts when that came to its end. Returns whether it did."""
        recovery = self.job("RECOVER", ("MAY_DECRYPT",), recovery_mode=mode)
        seen["recovery"].append(recovery["outcome"])
        seen["failures"] += recovery.get("failures", [])
        seen["log"] += recovery["log"]
        if recovery["outcome"] != "DONE":
            return False
        decrypted = self.job("DECRYPT")
        seen["failures"] += decrypted.get("failures", [])
        if decrypted["outcome"] != "FILESYSTEM_DAMAGED":
            return True
        seen["recovery"].append(decrypted["outcome"])
        return False

    def explore(self, epoch, kept, mode):
        """Returns what became of one state. Nothing is read before the recovery: reading a torn chain makes vfat turn
        read-only. Where it does so during the recovery, it is mounted again; what is pending then, or not listed, is to come
        back with a repair."""
        self.put(epoch, kept)
        if self.repaired:
            fsck.repair(self.filesystem, self.loop)
        crossed = self.filesystem != "ext4" and self.fsck()[0]
        seen = {"recovery": [], "failures": [], "unreadable": [], "log": ""}
        found = None  # by the checker, before it has mended anything
        self.mount()
        settled = self.settle(mode, seen)
        if not settled:
            self.mount_anew(False)
            settled = self.settle(mode, seen)
        if not settled:
            seen["unreadable"] = self.missing()
            found = self.mount_anew(True)
            settled = self.settle(mode, seen)
        differs, hidden = self.compare(self.snapshot(POINT)) if settled else [], []
        if differs and not found:
            seen["unreadable"] = self.missing()
            found, before = self.mount_anew(True), differs
            differs = self.compare(self.snapshot(POINT))
            hidden = [difference for difference in before if difference not in differs]
        lost = self.missing() if seen["unreadable"] or differs else []
        self.umount()
        damaged, said = found or self.fsck()
        return seen | {"differs": differs, "hidden": hidden, "lost": lost, "crosslinks": damaged and not crossed,
                       "failures": [[os.fsdecode(path), reason, error] for path, reason, error in seen["failures"]],
                       "log": seen["log"][-1000:], "fsck": said[-400:]}


explorer = None


def explore_begin(base, log, filesystem, passphrase, before, heeded=1, repaired=False):
    """`heeded`: the stick heeds each so manyth flush; `repaired`: the checker mends the filesystem before the recovery."""
    global explorer
    os.makedirs("/run/explore", exist_ok=True)
    explorer = Explorer(base, log, filesystem, passphrase, before, heeded, repaired)
    return [len(epoch) for epoch in explorer.epochs]


def explore_end():
    global explorer
    if explorer:
        explorer.close()
        shutil.rmtree("/run/explore")
        explorer = None


def explore(states):
    """[[epoch, kept pieces, mode], ...], by epoch -> their outcomes."""
    return [explorer.explore(*state) for state in states]
