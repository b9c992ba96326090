# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests ask of the machine beyond running programs. Arguments and results are JSON; paths are text with
surrogates for what is not UTF-8."""

import errno
import glob
import hashlib
import json
import os
import select
import subprocess
import time

import tree
from explore import explore, explore_begin, explore_end

uevents = None  # set by the agent


# ---- devices

def node_of(serial, partition):
    """The node of the stick with this serial number, once udev has a name for it."""
    pattern = f"/dev/disk/by-id/usb-*_{serial}-*" + (f"-part{partition}" if partition else "")
    found = [path for path in glob.glob(pattern) if partition or "-part" not in path]
    return os.path.realpath(found[0]) if found else None


def wait_node(serial, partition, timeout):
    """Waits until it is there and the daemon's rules have seen it."""
    def ready():
        node = node_of(serial, partition)
        if not node:
            return None
        status = os.stat(node)
        database = f"/run/udev/data/b{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        try:
            with open(database) as file:
                return node if "ID_FS_TYPE" in file.read() else None
        except FileNotFoundError:
            return None
    return uevents.wait(f"stick {serial}", ready, timeout)


def wait_gone(serial, timeout):
    return uevents.wait(f"stick {serial} is gone",
                        lambda: not glob.glob(f"/dev/disk/by-id/usb-*_{serial}-*"), timeout)


# ---- the machine

def reset():
    """Leaves nothing of what a test did but warm caches."""
    explore_end()
    for mount in reversed(mounts()):
        if mount["source"].startswith("/dev/sd") or mount["type"] == "9p":
            subprocess.run(["umount", "-l", mount["point"]], check=True)
    subprocess.run(["systemctl", "stop", "usbcryptd"], check=True)
    for home in glob.glob("/home/*"):
        for entry in os.scandir(home):
            if not entry.name.startswith("."):
                subprocess.run(["rm", "-rf", "--", entry.path], check=True)


# ---- mounts

def mounts():
    found = []
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            words, tail = line.split(b" - ")
            words, tail = words.split(), tail.split()
            point = words[4].decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
            found.append({"device": words[2].decode(), "point": point, "options": words[5].decode(),
                          "type": tail[0].decode(), "source": tail[1].decode(), "super": tail[2].decode()})
    return found


def wait_mount(source, timeout):
    """Waits until a node is mounted; returns where. The mount table itself wakes us."""
    deadline = time.monotonic() + timeout
    with open("/proc/self/mountinfo") as file:
        poll = select.poll()
        poll.register(file, select.POLLPRI | select.POLLERR)
        while True:
            for mount in mounts():
                if mount["source"] == source:
                    return mount
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{source} is not mounted")
            poll.poll(left * 1000)


# ---- the daemon

def busctl(*arguments):
    done = subprocess.run(["busctl", "--system", "--json=short", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def drive_properties(node):
    """The daemon's drive at that node, as {property: value}; None when there is none."""
    reply = busctl("call", "org.usbcrypt.UsbCrypt1", "/org/usbcrypt/UsbCrypt1",
                   "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    for interfaces in reply["data"][0].values():
        for interface, properties in interfaces.items():
            if interface.endswith(".Drive") and properties.get("Device", {}).get("data") == node:
                return {name: value["data"] for name, value in properties.items()}
    return None


class Monitor:
    """Signals of a service, the daemon's unless told, and changes of its name's owner: each wakes a waiter."""

    def __init__(self, sender="org.usbcrypt.UsbCrypt1"):
        self.process = subprocess.Popen(
            ["busctl", "--system", "--json=short", "monitor", f"--match=type=signal,sender={sender}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def wait(self, timeout):
        if select.select([self.process.stdout], [], [], timeout)[0]:
            os.read(self.process.stdout.fileno(), 1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def wait_drive(node, wanted, timeout):
    """Waits until the daemon's drive at `node` has these values ({property: value}; a value of null: any that is true)."""
    deadline = time.monotonic() + timeout
    seen = None
    with Monitor() as monitor:
        while True:
            try:
                seen = drive_properties(node)
            except RuntimeError as error:
                seen = {"": str(error)}
            if seen and all(seen.get(name) if value is None else seen.get(name) == value
                            for name, value in wanted.items()):
                return seen
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{node} is not {wanted} but {seen}")
            monitor.wait(min(left, 1))


def wait_udisks(node, timeout):
    """Waits until udisks2 has a filesystem to mount there. It hears of a disk when the daemon does, and is slower."""
    deadline = time.monotonic() + timeout
    path = "/org/freedesktop/UDisks2/block_devices/" + os.path.basename(node)
    with Monitor("org.freedesktop.UDisks2") as monitor:
        while True:
            try:
                return busctl("get-property", "org.freedesktop.UDisks2", path, "org.freedesktop.UDisks2.Filesystem",
                              "MountPoints")["data"]
            except RuntimeError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"udisks2 does not know {node}") from None
            monitor.wait(min(left, 1))


# ---- trees

def own(root, name):
    """Gives what was made there, and the folders above it, to the drive's owner, where the filesystem knows any."""
    uid = os.stat(root).st_uid
    parts = os.fsencode(name).rstrip(b"/").split(b"/")
    for count in range(1, len(parts) + 1):
        path = os.path.join(os.fsencode(root), *parts[:count])
        if os.lstat(path).st_uid != uid:
            os.chown(path, uid, uid)


def make_tree(root, sizes=None):
    tree.make(root, **({"sizes": sizes} if sizes else {}))
    subprocess.run(["sync", "-f", root], check=True)


def make_many(root, folder, count, size, prefix="photo", padding=0):
    """`count` files of `size` bytes in one folder; their names are `padding` characters longer than they must."""
    path = os.path.join(root, folder)
    os.makedirs(path, exist_ok=True)
    block = tree.content(folder, 1 << 16)
    for number in range(count):
        name = os.path.join(path, f"{prefix}-{number:05d}{'x' * padding}.jpg")
        with open(name, "wb") as file:
            head = f"{folder}/{number}\n".encode()
            left = size
            while left > 0:
                data = (head + block)[:left]
                file.write(data)
                left -= len(data)
        os.utime(name, ns=(1_500_000_000 * 10**9 + number * 2 * 10**9,) * 2)
        own(root, os.path.relpath(name, root))


def fill(root, name, leave):
    """Fills the filesystem up to `leave` bytes. Returns the size of the file that does it."""
    path = os.path.join(root, name)
    size = 0
    block = tree.content("fill", 1 << 20)
    with open(path, "wb") as file:
        while True:
            status = os.statvfs(root)
            left = status.f_bavail * status.f_frsize - leave
            if left < status.f_frsize:
                break
            try:
                size += file.write(block[:min(left, len(block))])
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                break
    os.utime(path, ns=(1_500_000_000 * 10**9,) * 2)
    own(root, name)
    return size


def write_file(root, name, data, mtime=1_500_000_000):
    tree.write(root, name, data.encode(errors="surrogateescape"), mtime=mtime)
    own(root, name)


def snapshot(root):
    """{path: [kind, size, mtime in ns, BLAKE2b]} of everything below root that is the user's."""
    return {os.fsdecode(path): [entry.kind, entry.size, entry.mtime, entry.digest]
            for path, entry in tree.snapshot(root).items()}


def names(root):
    return sorted(os.fsdecode(path) for path in tree.walk(root))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def space(root):
    status = os.statvfs(root)
    return {"size": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize,
            "block": status.f_frsize}


def read_file(path, limit=1 << 20):
    with open(path, "rb") as file:
        return file.read(limit).decode(errors="surrogateescape")


def own_names(root):
    """What usbcrypt keeps on the drive."""
    return glob.glob(".usbcrypt/**", root_dir=root, recursive=True)


def read_hex(root, name, offset, size):
    with open(os.path.join(root, name), "rb") as file:
        return os.pread(file.fileno(), size, offset).hex()
