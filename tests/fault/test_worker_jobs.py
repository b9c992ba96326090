# SPDX-License-Identifier: LGPL-2.1-or-later
"""The short jobs of usbcrypt-worker on a real drive: what they say, and that what they refuse changes nothing (I3, I7)."""

import os
import socket
import time

import pytest

from conftest import PASSPHRASE
from worker import NOBODY, Worker, passphrase_pipe, run


def unlock(drive, passphrase=PASSPHRASE, **fields):
    return run(drive, "UNLOCK", passphrase, **fields)


# Probe


def test_probe_of_a_fresh_drive_says_whose_it_is(drive):
    result = run(drive, "PROBE", uid=1234)
    assert result["outcome"] == "DONE"
    assert result["drive"]["enrolled"] == 0
    assert result["drive"]["owner"] == NOBODY
    assert result["drive"]["read_only"] == 0
    assert 0 < result["drive"]["free"] < result["drive"]["size"] <= 32 << 20


def test_probe_reads_what_only_the_owner_may_read(enrolled):
    os.chmod(enrolled.mount_point, 0o700)
    os.chmod(enrolled.mount_point / ".usbcrypt", 0o700)
    result = run(enrolled, "PROBE", uid=1234)
    assert result["outcome"] == "DONE"
    assert result["drive"]["enrolled"] == 1
    assert result["drive"]["suite"] == 1
    assert result["drive"]["id"] == unlock(enrolled)["drive"]["id"] != bytes(16)


def test_probe_never_runs_as_root(drive):
    assert run(drive, "PROBE", uid=0)["outcome"] == "INVALID_ARGUMENT"
    assert run(drive, "PROBE", uid=1234, gid=0)["outcome"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "huge", "garbage", "empty", "deep", "device"])
@pytest.mark.parametrize("job", ["PROBE", "UNLOCK"])
def test_hostile_drive_json_is_tampered(drive, kind, job):
    for side in "ab":
        (drive.mount_point / ".usbcrypt" / side).mkdir(parents=True)
        path = drive.mount_point / ".usbcrypt" / side / "drive.json"
        if kind == "symlink":
            path.symlink_to("/etc/passwd")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "huge":
            with open(path, "wb") as f:
                f.truncate(4 << 30)
        elif kind == "device":
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        else:
            path.write_bytes({"garbage": os.urandom(16384), "empty": b"", "deep": b"[" * 16384}[kind])
    for root, folders, files in os.walk(drive.mount_point):
        for name in folders + files:
            os.chown(os.path.join(root, name), NOBODY, NOBODY, follow_symlinks=False)
    before = drive.bytes()
    if job == "PROBE":
        result = run(drive, "PROBE", uid=1234)
        assert result["drive"]["owner"] == NOBODY
    else:
        result = unlock(drive)
    assert result["outcome"] == "TAMPERED"
    assert "key" not in result
    assert drive.bytes() == before


@pytest.mark.parametrize("job", ["PROBE", "UNLOCK"])
def test_usbcrypt_itself_is_a_symlink(drive, job):
    (drive.mount_point / ".usbcrypt").symlink_to("/etc")
    result = run(drive, "PROBE", uid=1234) if job == "PROBE" else unlock(drive)
    assert result["outcome"] == "TAMPERED"


# Which mount


def test_another_mount_is_refused(drive):
    assert unlock(drive, mount_id=drive.mount_id + 1)["outcome"] == "NOT_MOUNTED"
    assert run(drive, "PROBE", uid=1234, mount_id=drive.mount_id + 1)["outcome"] == "NOT_MOUNTED"


def test_another_device_is_refused(enrolled):
    assert unlock(enrolled, minor=enrolled.minor + 1)["outcome"] == "DRIVE_GONE"
    assert unlock(enrolled, minor=enrolled.minor + 1, anonymous=1)["outcome"] == "DONE"


def test_a_mount_point_that_is_gone_is_refused(drive):
    assert unlock(drive, mount_point=b"/nonexistent")["outcome"] == "NOT_MOUNTED"


@pytest.mark.parametrize("options", ["nosuid", "nodev", "suid,dev"])
def test_an_unsafe_mount_is_refused(drive, options):
    drive.unmount()
    drive.mount(options)
    assert unlock(drive)["outcome"] == "UNSAFE_MOUNT"
    assert run(drive, "PROBE", uid=1234)["outcome"] == "UNSAFE_MOUNT"


def test_a_drive_that_the_caller_may_not_read(enrolled):
    os.chmod(enrolled.mount_point, 0o700)
    assert unlock(enrolled, uid=1234)["outcome"] == "NOT_AUTHORIZED"
    assert unlock(enrolled)["outcome"] == "DONE"


# Enroll


def test_enroll_then_unlock_gives_the_same_key(drive):
    made = run(drive, "ENROLL", PASSPHRASE + b"\n")
    assert made["records"][-3:] == ["DRIVE", "KEY", "RESULT"]
    assert made["outcome"] == "DONE"
    opened = unlock(drive)
    assert opened["outcome"] == "DONE"
    assert opened["key"] == made["key"] and len(made["key"]) == 32 and made["key"] != bytes(32)
    assert opened["drive"]["id"] == made["drive"]["id"]


def test_enroll_twice_is_refused(enrolled):
    before = enrolled.bytes()
    result = run(enrolled, "ENROLL", PASSPHRASE)
    assert result["outcome"] == "ALREADY_ENROLLED"
    assert "key" not in result
    assert enrolled.bytes() == before


@pytest.mark.parametrize(
    "weak, why",
    [
        (b"short 1", "shorter than 12"),
        (b"no digits in this one", "digit"),
        (b"777777777777777777777", None),
        (b"accommodations1", "dictionary word"),
        (b"abcdefghijklmnop1", None),
    ],
)
def test_a_weak_passphrase_is_refused_and_says_why(drive, weak, why):
    before = drive.bytes()
    result = run(drive, "ENROLL", weak)
    assert result["outcome"] == "WEAK_PASSPHRASE"
    assert result["message"] and weak.decode() not in result["message"]
    assert why is None or why in result["message"]
    assert drive.bytes() == before


def test_the_policy_is_the_daemons(drive):
    assert run(drive, "ENROLL", PASSPHRASE, passphrase_min_length=60)["outcome"] == "WEAK_PASSPHRASE"
    assert run(drive, "ENROLL", PASSPHRASE, passphrase_min_classes=4)["outcome"] == "WEAK_PASSPHRASE"


def test_unknown_suite(drive):
    assert run(drive, "ENROLL", PASSPHRASE, suite=77)["outcome"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("job", ["ENROLL", "UNENROLL"])
def test_a_read_only_mount_is_refused_before_anything(drive, job):
    drive.remount("ro")
    result = run(drive, job, PASSPHRASE)
    assert result["outcome"] == "READ_ONLY"
    assert "READY" not in result["records"]


# Unlock


def test_a_wrong_passphrase_changes_no_byte(enrolled):
    unlock(enrolled)
    before = enrolled.bytes()
    for wrong in (PASSPHRASE + b" ", PASSPHRASE[:-1], PASSPHRASE.upper(), b"x"):
        result = unlock(enrolled, wrong)
        assert result["outcome"] == "WRONG_PASSPHRASE"
        assert result["records"] == ["READY", "RESULT"]
        assert result["message"] == ""
    assert enrolled.bytes() == before


def test_the_right_passphrase_changes_no_byte_either(enrolled):
    unlock(enrolled)
    before = enrolled.bytes()
    assert unlock(enrolled)["outcome"] == "DONE"
    assert enrolled.bytes() == before


def test_unlock_of_a_read_only_drive(enrolled):
    enrolled.remount("ro")
    result = unlock(enrolled)
    assert result["outcome"] == "DONE"
    assert result["drive"]["read_only"] == 1


def test_unlock_of_a_drive_that_is_not_enrolled(drive):
    assert unlock(drive)["outcome"] == "NOT_ENROLLED"


def test_unlock_mends_a_copy_that_is_lost(enrolled):
    lost = enrolled.mount_point / ".usbcrypt/b/drive.json"
    lost.unlink()
    assert unlock(enrolled, b"wrong")["outcome"] == "WRONG_PASSPHRASE"
    assert not lost.exists()
    key = unlock(enrolled)["key"]
    assert lost.exists()
    (enrolled.mount_point / ".usbcrypt/a/drive.json").unlink()
    assert unlock(enrolled)["key"] == key


# The passphrase's pipe


def test_a_passphrase_that_never_ends_times_out(enrolled):
    read, write = passphrase_pipe(PASSPHRASE, close=False)
    began = time.monotonic()
    result = unlock(enrolled, read)
    os.close(write)
    assert result["outcome"] == "TIMED_OUT"
    assert 4.5 < time.monotonic() - began < 8


def test_a_pipe_that_nobody_writes_to_times_out(enrolled):
    read, write = os.pipe()
    assert unlock(enrolled, read)["outcome"] == "TIMED_OUT"
    os.close(write)


@pytest.mark.parametrize("size", [1025, 1026, 65536])
def test_a_passphrase_that_is_too_long_is_refused(enrolled, size):
    result = unlock(enrolled, b"x" * size)
    assert result["outcome"] == "INVALID_ARGUMENT"


def test_the_longest_passphrase_is_no_error(enrolled):
    assert unlock(enrolled, b"x" * 1024)["outcome"] == "WRONG_PASSPHRASE"
    assert unlock(enrolled, b"x" * 1024 + b"\n")["outcome"] == "WRONG_PASSPHRASE"


@pytest.mark.parametrize("empty", [b"", b"\n"])
def test_an_empty_passphrase_is_refused(enrolled, empty):
    assert unlock(enrolled, empty)["outcome"] == "INVALID_ARGUMENT"


def test_what_is_no_pipe_is_refused(enrolled, tmp_path):
    file = tmp_path / "passphrase"
    file.write_bytes(PASSPHRASE)
    a, b = socket.socketpair()
    terminal, other = os.openpty()
    read, write = os.pipe()
    for fd in (
        os.open(file, os.O_RDONLY),
        os.open(tmp_path, os.O_RDONLY),
        os.open("/dev/zero", os.O_RDONLY),
        a.detach(),
        terminal,
        os.memfd_create("x"),
        write,
    ):
        assert unlock(enrolled, fd)["outcome"] == "INVALID_ARGUMENT"
    b.close()
    os.close(other)
    os.close(read)


def test_a_missing_descriptor_is_refused(enrolled):
    with Worker() as w:
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE"])
        assert w.result()["outcome"] == "INVALID_ARGUMENT"


def test_cancel_while_it_waits_for_the_passphrase(enrolled):
    read, write = os.pipe()
    with Worker(passphrase=read) as w:
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE"])
        w.expect("READY")
        w.send("CANCEL")
        assert w.result()["outcome"] == "CANCELLED"
    os.close(read)
    os.close(write)


def test_a_daemon_that_dies_takes_its_worker_along(enrolled):
    read, write = os.pipe()
    with Worker(passphrase=read) as w:
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE"])
        w.expect("READY")
        w.socket.close()
        began = time.monotonic()
        w.wait()
        assert time.monotonic() - began < 2
    os.close(read)
    os.close(write)


# Unenroll


def test_unenroll_takes_the_passphrase_and_leaves_nothing(enrolled):
    before = enrolled.bytes()
    assert run(enrolled, "UNENROLL", b"wrong")["outcome"] == "WRONG_PASSPHRASE"
    assert enrolled.bytes() == before
    assert run(enrolled, "UNENROLL", PASSPHRASE)["outcome"] == "DONE"
    assert not (enrolled.mount_point / ".usbcrypt").exists()
    assert unlock(enrolled)["outcome"] == "NOT_ENROLLED"


def test_a_worker_gets_out_of_the_way_of_its_own_flags(drive):
    """Flags that the kind of job does not know are refused, and so are jobs that make no sense."""
    assert run(drive, "SURVEY", PASSPHRASE)["outcome"] == "INVALID_ARGUMENT"
    assert run(drive, "SURVEY", paths=[b"/etc"])["outcome"] == "INVALID_ARGUMENT"
    assert run(drive, "UNLOCK")["outcome"] == "INVALID_ARGUMENT"
    assert run(drive, "ENCRYPT", flags=["HAS_TARGET"])["outcome"] == "INVALID_ARGUMENT"
