# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that runs for months: cycles of plug, unlock, run, lock, unplug leave nothing behind in it.
That no key stays in its keyring, which nobody else sees, is for tests/unit/test-key-store.c."""

import pytest

from testbed import paths, tree
from testbed.drive import INTERRUPTED, WRONG_PASSPHRASE, end, usbctl

DAEMON = "usbcryptd.service"
WARM_UP, CYCLES = 6, 30
# What an allocator may keep more or less of, in KiB.
SLACK = 512


def usage(machine):
    pid = machine.run(["systemctl", "show", "-P", "MainPID", DAEMON]).stdout.strip()
    fds = machine.run(["ls", f"/proc/{pid}/fd"]).stdout.split()
    status = machine.run(["cat", f"/proc/{pid}/status"]).stdout
    memory = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines()
              if line.startswith(("VmRSS", "VmData", "VmLck"))}
    children = machine.run(["pgrep", "-P", pid], check=False).stdout.split()
    return {"fds": len(fds), "children": len(children), **memory}


@pytest.fixture
def frees_at_once(machine):
    """AddressSanitizer keeps what was freed for a while, to see who still uses it. Here that would look like a leak."""
    if b"__asan_init" not in (paths.build() / "usbcryptd").read_bytes():
        yield
        return
    options = machine.run(["systemctl", "show", "-P", "Environment", DAEMON]).stdout.split()
    found = next(option for option in options if option.startswith("ASAN_OPTIONS="))
    folder = machine.root / f"run/systemd/system/{DAEMON}.d"
    folder.mkdir(parents=True)
    # Drop-ins count in the order of their names: after the sanitizer's own.
    drop_in = folder / "without-quarantine.conf"
    drop_in.write_text(
        f"[Service]\nEnvironment={found}:quarantine_size_mb=0:thread_local_quarantine_size_kb=0\n")
    restart = "systemctl daemon-reload; systemctl restart " + DAEMON
    machine.shell(restart)
    yield
    drop_in.unlink()
    folder.rmdir()
    machine.shell(restart)


def test_thirty_cycles_leave_no_descriptor_and_no_memory_behind(machine, frees_at_once, make_drive):
    drive = make_drive()
    tree.make(drive.files, sizes=[0, 1000, 70000])
    drive.enroll()
    seen = []
    for cycle in range(WARM_UP + CYCLES):
        if cycle % 10 == 1:
            drive.unlock(passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
        drive.unlock()
        drive.encrypt()
        drive.decrypt()
        if cycle % 2:
            drive.lock()
        drive.replug()
        usbctl(machine, "list", user="carol")
        seen.append(usage(machine))
    begin, last = seen[WARM_UP - 1], seen[-1]
    assert last["fds"] == begin["fds"], seen
    assert last["children"] == begin["children"], seen
    assert last["VmLck"] == begin["VmLck"], seen
    # What is kept of ended transactions is bounded: 16 for each user. After the warm-up it must not grow.
    assert last["VmRSS"] <= begin["VmRSS"] + SLACK, [s["VmRSS"] for s in seen]
    assert last["VmData"] <= begin["VmData"] + SLACK, [s["VmData"] for s in seen]


def test_drives_that_are_pulled_out_leave_nothing_behind(machine, make_drive):
    drive = make_drive(plug={"yankable": True})
    drive.enroll()
    drive.stick.yank()
    seen = []
    for _ in range(8):
        drive.plug(yankable=True)
        drive.unlock()
        path = drive.properties["path"]
        drive.stick.yank()
        drive.bus.wait("the drive is gone", lambda: path not in drive.bus.objects())
        seen.append(usage(machine))
    assert seen[-1]["fds"] == seen[1]["fds"], seen
    assert seen[-1]["children"] == seen[1]["children"] == 0, seen
