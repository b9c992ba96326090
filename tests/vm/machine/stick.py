# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sticks: images that are plugged into the USB bus of a machine, pulled out, and carried to another one."""

import hashlib
import os
import secrets
import socket
import struct
import subprocess
import time

import fsck

MIB = 1 << 20
PARTITION_START = MIB

# What makes each, its partition type, and how root would mount it for the user with this number. "udisks" in a
# test's name means that the user lets udisks2 mount it, as a desktop does.
OWNED = "uid={uid},gid={uid},fmask=0022,dmask=0022"
FILESYSTEMS = {
    "vfat": (["mkfs.vfat", "-F", "32", "-s", "{cluster}", "-n", "{label}", "{file}"], 0x0c,
             ["-t", "vfat", "-o", "rw,nosuid,nodev,utf8," + OWNED]),
    "exfat": (["mkfs.exfat", "-L", "{label}", "{file}"], 0x07, ["-t", "exfat", "-o", "rw,nosuid,nodev," + OWNED]),
    "ext4": (["mkfs.ext4", "-q", "-F", "-L", "{label}", "-E", "root_owner={uid}:{uid}", "{file}"], 0x83,
             ["-t", "ext4", "-o", "rw,nosuid,nodev"]),
    "ntfs": (["mkfs.ntfs", "-q", "-Q", "-F", "-L", "{label}", "{file}"], 0x07,
             ["-t", "ntfs-3g", "-o", "rw,nosuid,nodev,windows_names," + OWNED]),
}
DEFAULT_SIZE = {"vfat": 72 * MIB, "exfat": 64 * MIB, "ext4": 64 * MIB, "ntfs": 64 * MIB}


class Stick:
    def __init__(self, image, filesystem, whole_disk=False, label="STICK"):
        self.image, self.filesystem, self.whole_disk, self.label = image, filesystem, whole_disk, label
        self.serial = secrets.token_hex(6)
        self.vm = None
        self.node = None  # "/dev/sda1" while plugged
        self.name = None  # QEMU's
        self.server = None  # nbdkit, under a slow one

    # ---- the image

    @classmethod
    def make(cls, image, filesystem, size=None, whole_disk=False, label="STICK", cluster=1, uid=3001):
        size = size or DEFAULT_SIZE[filesystem]
        command, kind, _ = FILESYSTEMS[filesystem]
        start = 0 if whole_disk else PARTITION_START
        partition = image.with_suffix(".partition")
        with open(partition, "wb") as file:
            file.truncate(size - start)
        words = [word.format(file=partition, label=label, cluster=cluster, uid=uid) for word in command]
        subprocess.run(words, check=True, capture_output=True)
        if whole_disk:
            partition.rename(image)
        else:
            with open(image, "wb") as file:
                file.truncate(size)
                entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start // 512,
                                    (size - start) // 512)
                file.seek(446)
                file.write(entry + bytes(48) + b"\x55\xaa")
            subprocess.run(["dd", f"if={partition}", f"of={image}", "bs=1M", f"seek={start // MIB}", "conv=notrunc,sparse",
                            "status=none"], check=True)
            partition.unlink()
        return cls(image, filesystem, whole_disk, label)

    @property
    def partition(self):
        return 0 if self.whole_disk else 1

    @property
    def start(self):
        """Where the filesystem begins on it, in bytes."""
        return 0 if self.whole_disk else PARTITION_START

    def digest(self):
        assert self.vm is None
        digest = hashlib.blake2b()
        with open(self.image, "rb") as file:
            while block := file.read(4 * MIB):
                digest.update(block)
        return digest.hexdigest()

    def contains(self, needle):
        """Whether the raw image holds these bytes anywhere."""
        with open(self.image, "rb") as file:
            tail = b""
            while block := file.read(4 * MIB):
                if needle in tail + block:
                    return True
                tail = block[-len(needle):]
        return False

    def partition_copy(self, target):
        """The filesystem alone, for fsck."""
        subprocess.run(["dd", f"if={self.image}", f"of={target}", "bs=1M", f"skip={self.start // MIB}", "conv=sparse",
                        "status=none"], check=True)
        return target

    def fsck(self, folder):
        """Checks an unplugged stick without changing it. Returns (exit status, what it said)."""
        assert self.vm is None
        copy = self.partition_copy(folder / f"{self.serial}.check")
        status, said = fsck.check(self.filesystem, copy)
        os.unlink(copy)
        return status, said

    # ---- the bus

    def serve_slowly(self, rate, latency):
        """Serves the image at so many bytes a second each way, each write that many seconds late: nbdkit's filters add
        the two up, as a stick does; QEMU's throttling takes the longer one."""
        path = self.image.with_suffix(".socket")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:  # nbdkit gets it as systemd would pass it on
            listening.bind(str(path))
            listening.listen()
            self.server = subprocess.Popen(
                ["bash", "-c", f'exec 3<&{listening.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "bash",
                 "nbdkit", "--foreground", "--exit-with-parent", "--newstyle", "--filter=noparallel", "--filter=rate",
                 "--filter=delay", "file", str(self.image), f"rate={rate * 8}", "burstiness=0.05",
                 f"delay-write={int(latency * 1000)}ms"],
                stdin=subprocess.DEVNULL, pass_fds=[listening.fileno()])
        return path

    def layers(self, faults=None, log=None, slow=None):
        """The block nodes from the image up; the last is what is plugged in. `faults`: blkdebug's rules; `slow`: bytes a
        second, and seconds for a write."""
        if slow:
            nodes = [{"driver": "nbd", "node-name": f"{self.name}-file",
                      "server": {"type": "unix", "path": str(self.serve_slowly(*slow))}}]
        else:
            nodes = [{"driver": "file", "node-name": f"{self.name}-file", "filename": str(self.image),
                      "cache": {"no-flush": True}, "locking": "off"}]
        if faults is not None:
            nodes.append({"driver": "blkdebug", "node-name": f"{self.name}-faults", "image": f"{self.name}-file",
                          "inject-error": faults})
        if log is not None:
            log.write_bytes(b"")
            nodes.append({"driver": "file", "node-name": f"{self.name}-log", "filename": str(log),
                          "cache": {"no-flush": True}})
            nodes.append({"driver": "blklogwrites", "node-name": f"{self.name}-logged", "log-sector-size": 512,
                          "log-super-update-interval": 1, "file": nodes[-2]["node-name"], "log": f"{self.name}-log"})
        nodes.append({"driver": "raw", "node-name": self.name, "file": nodes[-1]["node-name"]})
        return nodes

    def plug(self, vm, read_only=False, faults=None, log=None, slow=None, wait=True):
        """Plugs it in; waits until udev has dealt with it."""
        assert self.vm is None
        self.vm = vm
        self.name = "s" + secrets.token_hex(4)
        self.nodes = self.layers(faults, log, slow)
        for node in self.nodes:
            if read_only:
                node["read-only"] = True
            vm.qmp.run("blockdev-add", **node)
        # As most sticks have it: no cache to speak of is announced, so the kernel sends no flushes by itself.
        vm.qmp.run("device_add", driver="usb-storage", id=self.name, drive=self.name, bus="xhci.0",
                   serial=self.serial, removable=True)
        vm.sticks.append(self)
        if wait:
            self.node = vm.call("wait_node", self.serial, self.partition, 60)
        return self

    def pull(self):
        """Pulls it out, whatever is going on."""
        vm = self.vm
        vm.qmp.run("device_del", id=self.name)
        vm.qmp.wait_event("DEVICE_DELETED", device=self.name)
        vm.call("wait_gone", self.serial, 60)
        for node in reversed(self.nodes):
            vm.qmp.run("blockdev-del", node_name=node["node-name"])
        self.forget()

    def forget(self):
        """It is in no machine any more."""
        self.vm.sticks.remove(self)
        self.vm = self.node = None
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None

    def written(self):
        """How many write requests it has seen since it was plugged in."""
        for device in self.vm.qmp.run("query-blockstats"):
            if device.get("qdev", "").find(self.name) >= 0:
                return device["stats"]["wr_operations"]
        raise LookupError(self.name)

    def wait_written(self, count, unless, timeout=120):
        """Waits until it has seen so many write requests, or until `unless()`. Counting them tells nobody: QEMU has
        no event for it."""
        deadline = time.monotonic() + timeout
        while self.written() < count and not unless():
            assert time.monotonic() < deadline, f"{self.written()} of {count} writes"

    # ---- the mount

    def mount_by_root(self, point=None, options=None, uid=3001):
        arguments = [word.format(uid=uid) for word in FILESYSTEMS[self.filesystem][2]]
        if options is not None:
            arguments[-1] += "," + options
        point = point or f"/media/alice/{self.label}"
        self.vm.shell('point=$1; shift; mkdir -p "$point"; chown root:alice /media/alice; chmod 750 /media/alice; '
                      'mount "$@" "$point"', point, *arguments, self.node)
        return point

    def mount_by_udisks(self, user="alice"):
        self.vm.call("wait_udisks", self.node, 30)
        self.vm.run(["udisksctl", "mount", "--block-device", self.node, "--no-user-interaction"], user=user)
        return self.vm.call("wait_mount", self.node, 30)["point"]
