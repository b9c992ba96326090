# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sticks: partitioned images on loop devices, which udev takes for USB drives."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess

from testbed import container, keeper, paths
from testbed.uevent import Uevents

MIB = 1 << 20
PARTITION_START = MIB

# For plug(): so slow (bits a second) that a run of a few MiB takes seconds, and can be caught in the middle.
SLOW = {"filters": ["rate"], "parameters": ["rate=60M", "burstiness=0.25"]}

# How udisks2 would mount each. The FUSE filesystems keep no owners: uid and gid are the mount's.
FILESYSTEMS = {
    "ext4": {
        "make": ["mkfs.ext4", "-q", "-F", "-L", "{label}", "-E", "root_owner={uid}:{uid},lazy_itable_init=0,lazy_journal_init=0", "{file}"],
        "mount": ["mount", "-t", "ext4", "-o", "{access},nosuid,nodev,relatime", "{device}", "{point}"],
    },
    "btrfs": {
        "make": ["mkfs.btrfs", "-q", "-f", "-M", "-L", "{label}", "{file}"],
        "mount": ["mount", "-t", "btrfs", "-o", "{access},nosuid,nodev,relatime", "{device}", "{point}"],
    },
    "exfat": {
        "make": ["mkfs.exfat", "-L", "{label}", "{file}"],
        "mount": ["mount.exfat-fuse", "-o", "{access},nosuid,nodev,uid={uid},gid={uid},fmask=0022,dmask=0022",
                  "{device}", "{point}"],
    },
    "ntfs": {
        "make": ["mkfs.ntfs", "-q", "-Q", "-F", "-L", "{label}", "{file}"],
        "mount": ["mount", "-t", "ntfs-3g", "-o", "{access},nosuid,nodev,uid={uid},gid={uid},windows_names",
                  "{device}", "{point}"],
    },
}


def sparse_copy(source, target, offset):
    """Copies a file's data, not its holes, into another at an offset."""
    size = source.stat().st_size
    with open(source, "rb") as reading, open(target, "r+b") as writing:
        position = 0
        while position < size:
            try:
                position = os.lseek(reading.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(reading.fileno(), position, os.SEEK_HOLE)
            while position < end:
                data = os.pread(reading.fileno(), min(end - position, 4 * MIB), position)
                os.pwrite(writing.fileno(), data, offset + position)
                position += len(data)


class Stick:
    def __init__(self, stack, name, filesystem, whole_disk, owner, label):
        self.stack, self.name, self.filesystem = stack, name, filesystem
        self.whole_disk, self.owner, self.label = whole_disk, owner, label
        self.loop = None  # "loop3" while plugged
        self.lock = None
        self.yankable = False
        self.mounted = False
        self.sequence = 0

    # ---- the image

    @classmethod
    def make(cls, stack, name, filesystem="ext4", size=64 * MIB, whole_disk=False, owner="alice", label=None):
        stick = cls(stack, name, filesystem, whole_disk, owner, label or name.upper()[:11])
        partition = stick.image.with_suffix(".partition")
        uid = container.USERS.get(owner, 0)
        with open(partition, "wb") as file:
            file.truncate(size if whole_disk else size - PARTITION_START)
        command = [word.format(label=stick.label, uid=uid, file=partition)
                   for word in FILESYSTEMS[filesystem]["make"]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise container.StackError(f"{command}: {done.stderr}{done.stdout}")
        if whole_disk:
            partition.rename(stick.image)
        else:
            with open(stick.image, "wb") as file:
                file.truncate(size)
                entry = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff",
                                    PARTITION_START // 512, (size - PARTITION_START) // 512)
                file.seek(446)
                file.write(entry + bytes(48) + b"\x55\xaa")
            sparse_copy(partition, stick.image, PARTITION_START)
            partition.unlink()
        stick.remember()
        return stick

    def remember(self):
        """Lets another process (stack yank, stack unplug) go on with it."""
        facts = {key: value for key, value in vars(self).items() if key not in ("stack", "lock")}
        self.image.with_suffix(".json").write_text(json.dumps(facts))

    @classmethod
    def find(cls, stack, name):
        try:
            facts = json.loads((stack.sticks / f"{name}.json").read_text())
        except FileNotFoundError:
            raise container.StackError(f"there is no stick named {name}") from None
        stick = cls(stack, name, facts["filesystem"], facts["whole_disk"], facts["owner"], facts["label"])
        vars(stick).update(facts)
        return stick

    @property
    def image(self):
        return self.stack.sticks / f"{self.name}.img"

    def digest(self):
        """The image's hash. Unmounted, so that nothing is in a cache."""
        digest = hashlib.blake2b()
        with open(self.image, "rb") as file:
            while block := file.read(4 * MIB):
                digest.update(block)
        return digest.hexdigest()

    def carry_to(self, stack):
        """Takes the unplugged stick to another machine."""
        assert self.loop is None
        for path in (self.image, self.image.with_suffix(".json")):
            path.rename(stack.sticks / path.name)
        self.stack = stack
        self.remember()

    # ---- the device

    @property
    def kernel_name(self):
        return self.loop if self.whole_disk else f"{self.loop}p1"

    @property
    def device(self):
        return f"/dev/{self.kernel_name}"

    @property
    def fuse(self):
        """Where a yankable stick's disk is, inside: behind an error filter."""
        return f"/run/testbed/fuse/sticks/{self.stack.name}/{self.name}-{self.sequence}"

    @property
    def inside(self):
        return f"/run/testbed/sticks/{self.stack.name}/{self.name}.img"

    @property
    def flag(self):
        return f"{self.fuse}.pulled"

    def plug(self, yankable=False, filters=(), parameters=()):
        """Plugs it in and waits until udev has seen it. `filters` and `parameters` are nbdkit's."""
        assert self.loop is None
        self.sequence += 1
        self.yankable = yankable or bool(filters)
        backing = self.inside
        if self.yankable:
            backing = f"{self.fuse}/disk"
            nbdkit = ["nbdkit", "-s", "--exit-with-parent", "--filter=error",
                      *(f"--filter={f}" for f in filters), "file", self.inside,
                      "error-rate=1", f"error-file={self.flag}", *parameters]
            # nbdfuse writes its pid when the disk is there; through a FIFO that can be waited for.
            self.stack.shell(f"""
                mkdir -p {self.fuse}; rm -f {self.flag}; mkfifo {self.fuse}.ready
                setsid nbdfuse -P {self.fuse}.ready {backing} --command "$@" </dev/null >/dev/null 2>&1 &
                timeout 20 cat {self.fuse}.ready >/dev/null; rm {self.fuse}.ready""", arguments=nbdkit)
            # The keeper aborts this connection when the machine ends with the stick plugged in.
            connection = os.minor(int(self.stack.shell(f"stat -c %d {self.fuse}").stdout))
            keeper.record_disk(self.stack.name, connection)
        self.loop = self.stack.shell(
            'losetup -fP --show "$1"', arguments=[backing]).stdout.strip().removeprefix("/dev/")
        # losetup's close makes every udevd on this kernel, other stacks' too, reread the partition table, which
        # would drop what partx adds. They leave a locked disk alone.
        self.lock = os.open(f"/dev/{self.loop}", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        sequence = pathlib.Path(f"/sys/class/block/{self.loop}/diskseq").read_text()
        (paths.STATE / self.stack.name / "loops" / self.loop).write_text(sequence)
        if not self.whole_disk and not os.path.exists(f"/sys/class/block/{self.loop}p1"):
            # A kernel without partition tables: partx reads it instead.
            with Uevents() as events:
                self.stack.run(["partx", "-a", f"/dev/{self.loop}"])
                events.wait("add", self.kernel_name)
        self.stack.settle()
        self.remember()
        return self

    def unplug(self):
        """Takes it out after unmount()."""
        assert not self.mounted
        loop = self.loop
        self.unlock()
        with Uevents() as events:
            self.stack.run(["losetup", "-d", f"/dev/{loop}"])
            # Whoever looks at the disk at this moment (udev) only delays it until it has closed it.
            events.wait("change", loop)
            if not self.whole_disk and os.path.exists(f"/sys/class/block/{loop}p1"):
                events.wait("remove", f"{loop}p1")
        self.forget_device()
        self.stack.settle()

    def yank(self):
        """Pulls it out: from now on every read and write fails, and the device is gone for udev."""
        assert self.yankable
        names = [self.loop] if self.whole_disk else [f"{self.loop}p1", self.loop]
        self.stack.shell(": >" + self.flag)
        for name in names:
            self.stack.shell(f"echo remove >/sys/class/block/{name}/uevent")
        self.stack.settle()
        if self.mounted:
            # What udisks2 does when a device has gone.
            self.stack.run(["umount", "-l", self.mount_point])
            self.mounted = False
        self.unlock()
        self.stack.run(["losetup", "-d", f"/dev/{self.loop}"])
        self.forget_device()

    @contextlib.contextmanager
    def standing_still(self):
        """While this lasts, a yankable stick answers nothing: whoever reads or writes it waits."""
        server = ["-x", "-f", rf"nbdkit .* file {re.escape(self.inside)} .*"]
        self.stack.run(["pkill", "-STOP", *server])
        try:
            yield
        finally:
            self.stack.run(["pkill", "-CONT", *server])

    def unlock(self):
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def forget_device(self):
        (paths.STATE / self.stack.name / "loops" / self.loop).unlink(missing_ok=True)
        if self.yankable:
            self.stack.run(["umount", "-l", self.fuse])
        self.loop = None
        self.remember()

    # ---- the mount

    @property
    def mount_point(self):
        return f"/media/{self.owner}/{self.label}"

    @property
    def files(self):
        """Its root directory as seen from the host."""
        return pathlib.Path(f"{self.stack.root}{self.mount_point}")

    def mount(self, read_only=False, options=None, repair=False):
        """Mounts it as udisks2 would; `options` instead of that. `repair`: first does what a desktop would do
        about a volume that was pulled out and does not mount as it is."""
        if repair and self.filesystem == "ntfs":
            self.stack.run(["ntfsfix", "-d", self.device])
            self.stack.settle()
        uid = container.USERS.get(self.owner, 0)
        command = [word.format(device=self.device, point=self.mount_point, uid=uid,
                               access="ro" if read_only else "rw")
                   for word in FILESYSTEMS[self.filesystem]["mount"]]
        if options is not None:
            command[command.index("-o") + 1] = options
        if self.filesystem == "btrfs" and not read_only:
            # mkfs.btrfs knows no owner. In a namespace of its own the daemon does not see this mount.
            self.stack.run(["unshare", "--mount", "sh", "-euc",
                            f"mount {self.device} /mnt; chown {uid}:{uid} /mnt; umount /mnt"])
        self.stack.shell(f"""
            mkdir -p {self.mount_point}; chown root:{uid} /media/{self.owner}; chmod 750 /media/{self.owner}
            "$@" """, arguments=command)
        self.mounted = True
        self.remember()
        return self

    def remount(self, options):
        self.stack.run(["mount", "-o", f"remount,{options}", self.mount_point])

    def unmount(self):
        if self.mounted:
            self.stack.run(["umount", self.mount_point])
            self.mounted = False
            self.remember()

    def replug(self, **options):
        """Out and in again, mounted: nothing of it is in a cache any more."""
        self.unmount()
        self.unplug()
        self.plug(**options)
        return self.mount()

    def discard(self):
        """Takes it away, whatever state a test left it in."""
        if not self.stack.state.exists():
            return  # it went with its machine
        if self.mounted:
            self.stack.run(["umount", "-l", self.mount_point], check=False)
            self.mounted = False
        self.unlock()
        if self.loop:
            self.stack.run(["losetup", "-d", f"/dev/{self.loop}"], check=False)
            self.forget_device()
            self.stack.settle()
        for path in (self.image, self.image.with_suffix(".json")):
            path.unlink(missing_ok=True)
