# SPDX-License-Identifier: LGPL-2.1-or-later
"""The process that keeps one stack: starts the container, waits for its end (or its owner's), cleans up.

Run as a program by container.py, in a session of its own, so that neither ^C nor its owner's crash reaches it.
It holds STATE/NAME/lock for as long as it lives; a state folder whose lock is free belongs to a dead stack.
"""

import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from testbed import paths

DEV = pathlib.Path("/dev")


def cgroup_root():
    """The cgroup2 mount of this machine, mounted if nobody has."""
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return pathlib.Path(fields[4])
    root = paths.STATE / "cgroup2"
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", root], check=True)
    return root


def cgroup_remove(cgroup):
    """Kills what is left in a cgroup, and removes it with all below it."""
    if not cgroup.exists():
        return
    try:
        (cgroup / "cgroup.kill").write_text("1")
    except OSError:
        pass
    deadline = time.monotonic() + 10
    while cgroup.exists() and time.monotonic() < deadline:
        for folder in sorted((p for p in cgroup.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            try:
                folder.rmdir()
            except OSError:
                pass
        try:
            cgroup.rmdir()
        except OSError:
            # Populated until the killed ones are reaped: the kernel tells through cgroup.events.
            with open(cgroup / "cgroup.events") as events:
                poll = select.poll()
                poll.register(events, select.POLLPRI)
                poll.poll(200)


def loop_is(loop, sequence):
    """Whether a loop device is still the disk it was when it was recorded."""
    try:
        return pathlib.Path(f"/sys/class/block/{loop}/diskseq").read_text().strip() == sequence
    except OSError:
        return False


def fuse_connections():
    """Where the kernel lets FUSE connections be aborted, mounted if nobody has."""
    for place in (pathlib.Path("/sys/fs/fuse/connections"), paths.STATE / "fusectl"):
        if place.is_mount():
            return place
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "fusectl", "fusectl", place], check=True)
    return place


def record_disk(name, connection):
    """Notes an nbdfuse's connection for abort_disks(): by its number, and by the inode of its folder, which no later
    connection of that number has."""
    inode = (fuse_connections() / str(connection)).stat().st_ino
    (paths.STATE / name / "fuse" / str(connection)).write_text(str(inode))


def abort_disks(name):
    """Makes every request to a stack's nbdfuse disks fail from now on. When a container dies with a stick mounted,
    the kernel unmounts it as the last process ends, which may be the very nbdfuse that would have to answer: that one
    would wait for itself, and whoever calls sync() for it."""
    for record in (paths.STATE / name / "fuse").glob("*"):
        connection = fuse_connections() / record.name
        try:
            # Numbers are given again: it may be anybody's by now.
            if str(connection.stat().st_ino) == record.read_text():
                (connection / "abort").write_text("1")
        except OSError:
            pass


def sweep(name):
    """Takes away all that a stack left on the host. Its container is dead."""
    state = paths.STATE / name
    abort_disks(name)
    loops = state / "loops"
    for record in loops.iterdir() if loops.is_dir() else []:
        if loop_is(record.name, record.read_text().strip()):
            subprocess.run(["losetup", "-d", f"/dev/{record.name}"], stderr=subprocess.DEVNULL)
    # A plug that was cut short may have no record yet: its backing file tells.
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if f"/sticks/{name}/" in backing.read_text():
                subprocess.run(["losetup", "-d", f"/dev/{backing.parts[3]}"], stderr=subprocess.DEVNULL)
        except OSError:
            pass
    cgroup_remove(cgroup_root() / f"usbcrypt-testbed-{name}")
    shutil.rmtree(paths.sticks() / name, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)


def others_live(name):
    """Whether any other stack is running; sweeps those that are dead."""
    live = False
    for state in paths.STATE.iterdir() if paths.STATE.is_dir() else []:
        if state.name in (name, "cgroup2") or not (state / "lock").exists():
            continue
        with open(state / "lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                live = True
                continue
            sweep(state.name)
    return live


def restore_dev():
    """Removes what udevd and journald of the last stack put into the shared /dev."""
    before_file = paths.STATE / "dev-before"
    try:
        before = set(json.loads(before_file.read_text()))
    except (OSError, ValueError):
        return
    for entry in DEV.iterdir():
        if entry.name in before:
            continue
        if entry.name.startswith("loop") and re.fullmatch(r"loop\d+", entry.name):
            subprocess.run(
                [sys.executable, "-c", LOOP_REMOVE, entry.name[4:]], stderr=subprocess.DEVNULL
            )
        elif entry.is_symlink():
            entry.unlink()
        elif entry.is_dir() and not entry.is_mount():
            shutil.rmtree(entry, ignore_errors=True)
    before_file.unlink()
    for folder in (paths.sticks(), paths.sticks().parent):
        try:
            folder.rmdir()
        except OSError:
            pass


LOOP_REMOVE = """
import fcntl, sys
with open("/dev/loop-control") as control:
    fcntl.ioctl(control, 0x4C81, int(sys.argv[1]))
"""


class Exclusive:
    """One stack at a time begins or ends."""

    def __enter__(self):
        paths.STATE.mkdir(parents=True, exist_ok=True)
        self.file = open(paths.STATE / ".lock", "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def main(name, stage, owner, report):
    state = paths.STATE / name
    sticks = paths.sticks()
    lock = open(state / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (state / "keeper").write_text(f"{os.getpid()}\n")

    with Exclusive():
        if not others_live(name):
            (paths.STATE / "dev-before").write_text(json.dumps(sorted(e.name for e in DEV.iterdir())))
    cgroup = cgroup_root() / f"usbcrypt-testbed-{name}"
    cgroup.mkdir(exist_ok=True)
    (sticks / name).mkdir(parents=True, exist_ok=True)
    (state / "loops").mkdir(exist_ok=True)
    (state / "fuse").mkdir(exist_ok=True)

    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    notify.bind(str(state / "notify"))
    ended, ending = os.pipe()
    os.set_blocking(ending, False)
    signal.set_wakeup_fd(ending)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def join():
        (cgroup / "cgroup.procs").write_text("0")

    log = open(state / "log", "wb")
    container = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--net", "--kill-child", "--",
         pathlib.Path(__file__).with_name("init.sh"), name, state, sticks, paths.SOURCE, stage],
        preexec_fn=join, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )
    try:
        ready = False
        while container.poll() is None:
            watched = [ended, notify] + ([owner] if owner >= 0 else [])
            readable = select.select(watched, [], [])[0]
            if owner in readable and not os.read(owner, 1):
                break
            if ended in readable and signal.SIGTERM in os.read(ended, 512):
                break
            if notify in readable:
                message, control, _, _ = notify.recvmsg(4096, 1024)
                if not ready and b"READY=1" in message.split(b"\n"):
                    pid = struct.unpack("3i", control[0][2])[0]
                    (state / "pid").write_text(f"{pid}\n")
                    ready = True
                    os.write(report, b"ready\n")
    finally:
        abort_disks(name)
        if container.poll() is None:
            container.kill()
        container.wait()
        log.close()
        if not ready:
            os.write(report, (state / "log").read_bytes()[-20000:])
        with Exclusive():
            live = others_live(name)
            sweep(name)
            if not live:
                restore_dev()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
