# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transactions through the real worker, inside its sandbox: keys over the socket, files on a real filesystem."""

import fcntl
import hashlib
import os
import stat
import struct
import time

import pytest

from conftest import PASSPHRASE
from worker import KEYS_RECORD, NOBODY, PROGRESS_RECORD, Worker, run

SUBKEYS = {"METADATA_MAC": 1, "JOURNAL_MAC": 2, "FILE_ROOT": 3, "SCRUB_ROOT": 4}
READING = ("METADATA_MAC", "FILE_ROOT")


def keys_record(unlocked, names=tuple(SUBKEYS), epoch=None):
    subkeys, present = bytearray(160), 0
    for name in names:
        number = SUBKEYS[name]
        subkeys[32 * number : 32 * number + 32] = hashlib.blake2b(
            b"", digest_size=32, key=unlocked["key"], salt=struct.pack("<QQ", number, 0), person=b"usbcrypt"
        ).digest()  # crypto_kdf of libsodium
        present |= 1 << number
    drive = unlocked["drive"]
    return KEYS_RECORD.pack(present, epoch or drive["epoch"], drive["suite"], drive["id"], bytes(subkeys))


class Volume:
    """An enrolled drive and its key, as the daemon has them."""

    def __init__(self, drive):
        self.drive = drive
        self.root = drive.mount_point
        self.unlocked = run(drive, "UNLOCK", PASSPHRASE)
        assert self.unlocked["outcome"] == "DONE"

    def begin(self, kind, flags=(), keys=tuple(SUBKEYS), target=None, uid=NOBODY, **fields):
        w = Worker(target=target)
        w.start(self.drive, kind, flags, uid=uid, **fields)
        w.expect("READY")
        w.send("KEYS", keys_record(self.unlocked, keys))
        return w

    def run(self, kind, flags=(), **fields):
        with self.begin(kind, flags, **fields) as w:
            return w.result()

    def survey(self):
        return run(self.drive, "SURVEY")


@pytest.fixture
def volume(enrolled):
    return Volume(enrolled)


def fill(root, files, uid=NOBODY):
    """Writes {name: bytes} and gives them mtimes of long ago."""
    for name, content in files.items():
        path = root / name
        for parent in reversed(path.relative_to(root).parents[:-1]):
            if not (root / parent).exists():
                (root / parent).mkdir()
                os.chown(root / parent, uid, uid)
        path.write_bytes(content)
        os.chown(path, uid, uid)
        os.utime(path, ns=(10**18, 10**18 + len(content)))


def tree(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if relative.startswith((".usbcrypt/", "lost+found")):
                continue
            with open(path, "rb") as f:
                s = os.fstat(f.fileno())
                found[relative] = (f.read(), s.st_mtime_ns, s.st_mode, s.st_uid, s.st_gid)
    return found


FILES = {
    "letter.txt": b"dear reader",
    ".hidden": b"x" * 65536,
    "empty": b"",
    "holiday/beach.jpg": os.urandom(200000),
    "holiday/2023/b\xc3\xa4ume.jpg": os.urandom(65537),
}


def test_there_and_back(volume):
    fill(volume.root, FILES)
    before = tree(volume.root)
    result = volume.run("ENCRYPT")
    assert result["outcome"] == "DONE", result
    assert result["counts"]["ENCRYPTED"] == len(FILES)
    encrypted = tree(volume.root)
    assert all(name.endswith(".ucr") for name in encrypted) and len(encrypted) == len(FILES)
    assert result["records"][-1] == "RESULT" and result["records"].count("PROGRESS") >= 1

    assert volume.run("VERIFY", keys=READING)["counts"]["VERIFIED"] == len(FILES)
    survey = volume.survey()
    assert survey["outcome"] == "DONE"
    assert survey["counts"]["ENCRYPTED_FILES"] == len(FILES) and survey["counts"]["PLAIN_FILES"] == 0

    assert volume.run("ENCRYPT")["counts"]["ALREADY"] == len(FILES)
    assert volume.run("DECRYPT")["outcome"] == "DONE"
    assert tree(volume.root) == before


def test_of_root_too_with_owners_and_modes(volume):
    fill(volume.root, {"theirs": b"1" * 100, "ours": b"2" * 100}, uid=4321)
    os.chown(volume.root / "ours", 0, 50)
    os.chmod(volume.root / "ours", 0o2750)
    os.chmod(volume.root / "theirs", 0o400)
    before = tree(volume.root)
    assert volume.run("ENCRYPT", uid=0)["outcome"] == "DONE"
    assert tree(volume.root).keys() == {"ours.ucr", "theirs.ucr"}
    result = volume.run("DECRYPT", uid=0)
    assert result["outcome"] == "DONE", result
    assert tree(volume.root) == before
    assert stat.S_IMODE(before["ours"][2]) == 0o2750


def test_a_file_that_is_in_use_is_left_alone_also_for_root(volume):
    fill(volume.root, {"used": b"x" * 1000, "free": b"y" * 1000}, uid=4321)
    with open(volume.root / "used", "rb"):
        result = volume.run("ENCRYPT", uid=0)
    assert result["outcome"] == "PARTIAL"
    assert [f[:2] for f in result["failures"]] == [(b"used", "IN_USE")]
    assert (volume.root / "used").read_bytes() == b"x" * 1000
    assert (volume.root / "free.ucr").exists() and not (volume.root / "free").exists()


def test_paths_limit_a_run(volume):
    fill(volume.root, FILES)
    assert volume.run("ENCRYPT", paths=[b"holiday/2023"])["counts"]["ENCRYPTED"] == 1
    assert (volume.root / "letter.txt").exists()


@pytest.mark.parametrize("path", [b"../../etc/passwd", b"holiday/../../x", b"."])
def test_paths_do_not_lead_out(volume, path):
    fill(volume.root, {"holiday/a": b"1"})
    with volume.begin("ENCRYPT", paths=[path]) as w:
        w.result()
    assert os.path.exists("/etc/passwd") and not os.path.exists("/etc/passwd.ucr")


def test_an_absolute_path_is_no_job(enrolled):
    assert run(enrolled, "ENCRYPT", paths=[b"/etc/passwd"])["outcome"] == "INVALID_ARGUMENT"


def test_decrypt_to_elsewhere_leaves_the_drive_untouched(volume, tmp_path_factory):
    fill(volume.root, FILES)
    plain = tree(volume.root)
    volume.run("ENCRYPT")
    before = volume.drive.bytes()
    target = tmp_path_factory.mktemp("target")
    os.chown(target, NOBODY, NOBODY)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    result = volume.run("DECRYPT", ["HAS_TARGET"], keys=READING, target=fd)
    os.close(fd)
    assert result["outcome"] == "DONE", result
    assert {n: f[:2] for n, f in tree(target).items()} == {n: f[:2] for n, f in plain.items()}
    assert volume.drive.bytes() == before


def test_decrypt_to_elsewhere_works_read_only(volume, tmp_path_factory):
    fill(volume.root, FILES)
    volume.run("ENCRYPT")
    volume.drive.remount("ro")
    target = tmp_path_factory.mktemp("target")
    os.chown(target, NOBODY, NOBODY)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    assert volume.run("DECRYPT", ["HAS_TARGET"], keys=READING, target=fd)["outcome"] == "DONE"
    os.close(fd)
    assert (target / "letter.txt").read_bytes() == FILES["letter.txt"]


def test_a_target_that_is_none(volume, tmp_path):
    folder = volume.root / "folder"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    (tmp_path / "file").write_bytes(b"")
    private = tmp_path / "private"
    private.mkdir(0o700)
    read, write = os.pipe()
    os.close(write)
    for path, outcome in (
        (tmp_path / "file", "INVALID_ARGUMENT"),
        (folder, "INVALID_ARGUMENT"),
        (private, "NOT_AUTHORIZED"),
        (None, "INVALID_ARGUMENT"),
    ):
        fd = os.open(path, os.O_RDONLY) if path else read
        with Worker(target=fd) as w:
            w.start(volume.drive, "DECRYPT", ["HAS_TARGET"])
            assert w.result()["outcome"] == outcome
        os.close(fd)


def test_unenroll_with_encrypted_files_is_refused(volume):
    fill(volume.root, {"a": b"1"})
    volume.run("ENCRYPT")
    before = volume.drive.bytes()
    assert run(volume.drive, "UNENROLL", PASSPHRASE)["outcome"] == "FILES_ENCRYPTED"
    assert volume.drive.bytes() == before


def test_unenroll_finds_encrypted_files_under_other_names(volume):
    fill(volume.root, {"folder/a": b"1", "plain": b"2"})
    volume.run("ENCRYPT", paths=[b"folder"])
    os.rename(volume.root / "folder/a.ucr", volume.root / "folder/a, encrypted")
    before = volume.drive.bytes()
    result = run(volume.drive, "UNENROLL", PASSPHRASE)
    assert result["outcome"] == "FILES_ENCRYPTED" and "folder/a, encrypted" in result["message"], result
    assert volume.drive.bytes() == before


def test_unenroll_when_something_cannot_be_looked_at_is_refused(volume):
    fill(volume.root, {"private/a": b"1"}, uid=4321)
    os.chmod(volume.root / "private", 0o700)
    result = run(volume.drive, "UNENROLL", PASSPHRASE)
    assert result["outcome"] == "UNFIT_FILES", result
    assert (volume.root / ".usbcrypt").exists()


def test_keys_of_another_epoch_are_tampering(volume):
    with Worker() as w:
        w.start(volume.drive, "VERIFY")
        w.expect("READY")
        w.send("KEYS", keys_record(volume.unlocked, epoch=2))
        assert w.result()["outcome"] == "TAMPERED"


def test_a_dry_run_changes_no_byte(volume):
    fill(volume.root, FILES)
    before = volume.drive.bytes()
    assert volume.run("ENCRYPT", ["DRY_RUN"])["outcome"] == "DONE"
    assert volume.drive.bytes() == before


def test_cancel_leaves_every_file_whole(volume):
    fill(volume.root, {"f%04d" % i: os.urandom(3000) for i in range(3000)})
    plain = {n: f[0] for n, f in tree(volume.root).items()}
    with volume.begin("ENCRYPT") as w:
        w.expect("PROGRESS")
        w.send("CANCEL")
        result = w.result()
    assert result["outcome"] == "CANCELLED", result
    assert result["pending"] == 0
    mixed = tree(volume.root)
    assert {n.removesuffix(".ucr") for n in mixed} == set(plain) and len(mixed) == len(plain)
    assert volume.run("DECRYPT")["outcome"] == "DONE"
    assert {n: f[0] for n, f in tree(volume.root).items()} == plain


def test_a_worker_killed_in_the_middle_is_recovered(volume):
    fill(volume.root, {"f%04d" % i: os.urandom(3000) for i in range(3000)})
    plain = {n: f[0] for n, f in tree(volume.root).items()}
    with volume.begin("ENCRYPT") as w:
        while True:
            progress = PROGRESS_RECORD.unpack(w.expect("PROGRESS"))
            if progress[2] > 0:
                break
        os.kill(w.pid, 9)
        w.wait()
    again = run(volume.drive, "UNLOCK", PASSPHRASE)
    assert again["drive"]["pending"] == 2  # TRANSACTION_ENCRYPT
    assert run(volume.drive, "PROBE", uid=1234)["drive"]["pending"] == 2
    assert run(volume.drive, "UNENROLL", PASSPHRASE)["outcome"] == "INTERRUPTED"
    assert volume.run("ENCRYPT")["outcome"] == "INTERRUPTED"
    result = volume.run("RECOVER")
    assert result["outcome"] == "DONE", result
    assert set(tree(volume.root)) == {n + ".ucr" for n in plain}
    assert volume.run("DECRYPT")["outcome"] == "DONE"
    assert {n: f[0] for n, f in tree(volume.root).items()} == plain


def test_a_daemon_that_dies_stops_the_run_cleanly(volume):
    fill(volume.root, {"f%04d" % i: os.urandom(3000) for i in range(3000)})
    with volume.begin("ENCRYPT") as w:
        w.expect("PROGRESS")
        w.socket.close()
        w.wait()
    assert run(volume.drive, "PROBE", uid=1234)["drive"]["pending"] == 0


def test_progress_comes_ten_times_a_second_at_most(volume):
    fill(volume.root, {"f%04d" % i: os.urandom(100) for i in range(2000)})
    seen, began = [], time.monotonic()
    with volume.begin("ENCRYPT") as w:
        while True:
            name, payload = w.receive()
            if name == "RESULT":
                break
            if name == "PROGRESS":
                seen.append(PROGRESS_RECORD.unpack(payload))
    phases = len({p[0] for p in seen})
    assert len(seen) <= (time.monotonic() - began) * 10 + phases + 2
    assert seen[-1][2] == seen[-1][1] == 2000


def test_symlinks_and_special_files_lead_nowhere(volume):
    outside = volume.drive.directory / "outside"
    outside.write_bytes(b"untouched")
    os.chown(outside, NOBODY, NOBODY)
    (volume.root / "link").symlink_to(outside)
    (volume.root / "folder").symlink_to("/etc")
    os.mkfifo(volume.root / "fifo")
    os.mknod(volume.root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    fill(volume.root, {"a": b"1"})
    result = volume.run("ENCRYPT")
    assert result["counts"]["ENCRYPTED"] == 1
    assert result["counts"]["SYMLINKS"] == 2 and result["counts"]["SPECIAL"] == 2
    assert outside.read_bytes() == b"untouched"


def test_a_lease_is_no_way_to_kill_it(volume):
    """Opening a file that the worker holds a lease on sends it SIGIO, whose default is death."""
    fill(volume.root, {"f%03d" % i: os.urandom(1000) for i in range(500)})
    with volume.begin("ENCRYPT") as w:
        os.kill(w.pid, 29)  # SIGIO
        assert w.result()["outcome"] in ("DONE", "PARTIAL")
    assert fcntl.F_GETLEASE
