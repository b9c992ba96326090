# SPDX-License-Identifier: LGPL-2.1-or-later
"""From plain files to encrypted ones and back to the same bytes, on every filesystem."""

import os
import socket

import pytest

from testbed import tree
from testbed.drive import DONE, PARTIAL, Drive

FILESYSTEMS = ["ext4", "exfat", "ntfs", "btrfs"]


def check_encrypted(files, root):
    """Every file has its encrypted form beside where it was, and none of them holds what it was."""
    assert tree.plain(root) == set()
    assert len(tree.encrypted(root)) == len(files)
    for name, data in files.items():
        sealed = (root / (name + ".ucr")).read_bytes()
        assert len(sealed) > len(data)
        assert len(data) < 16 or data[:16] not in sealed


@pytest.mark.parametrize("whole_disk", [False, True], ids=["partition", "whole disk"])
@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_a_tree_goes_there_and_back(make_drive, filesystem, whole_disk):
    drive = make_drive(filesystem, whole_disk=whole_disk)
    files = tree.make(drive.files)
    drive.replug()
    before = tree.snapshot(drive.files)

    drive.enroll()
    result = drive.encrypt()
    assert result.counts["encrypted"] == len(files) and result.failures == {}
    check_encrypted(files, drive.files)
    drive.replug()
    check_encrypted(files, drive.files)
    drive.unlock()
    assert drive.verify().counts["verified"] == len(files)
    result = drive.decrypt()
    assert result.counts["decrypted"] == len(files) and result.failures == {}
    drive.replug()
    tree.assert_same(before, tree.snapshot(drive.files))
    assert drive.properties["Pending"] == ""


def test_progress_is_one_object_a_line(enrolled):
    tree.make(enrolled.files)
    result = enrolled.encrypt()
    assert result.document["type"] == "result" and result.result == "Done"
    assert all(line["type"] == "progress" for line in result.progress)


def test_an_encrypted_tree_needs_no_encrypting(enrolled):
    files = tree.make(enrolled.files)
    enrolled.encrypt()
    before = tree.snapshot(enrolled.files)
    result = enrolled.encrypt()
    assert result.counts.get("encrypted", 0) == 0 and result.counts["already"] == len(files)
    tree.assert_same(before, tree.snapshot(enrolled.files))


def test_a_plain_tree_needs_no_decrypting(enrolled):
    tree.make(enrolled.files)
    before = tree.snapshot(enrolled.files)
    assert enrolled.decrypt().counts.get("decrypted", 0) == 0
    tree.assert_same(before, tree.snapshot(enrolled.files))


def test_an_empty_drive_is_nothing_to_do(enrolled):
    enrolled.encrypt()
    enrolled.decrypt()
    enrolled.verify()


def test_plain_and_encrypted_files_live_together(enrolled):
    tree.make(enrolled.files)
    before = tree.snapshot(enrolled.files)
    enrolled.encrypt("holiday")
    mixed = tree.plain(enrolled.files)
    assert mixed and tree.encrypted(enrolled.files)
    enrolled.encrypt()
    assert not tree.plain(enrolled.files)
    tree.write(enrolled.files, "new", b"written later")
    tree.give(enrolled.files, 3001)
    enrolled.decrypt()
    after = tree.snapshot(enrolled.files)
    assert tree.differences(before, after) == ["new b'new'"]


@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_paths_limit_a_run(enrolled, absolute):
    files = tree.make(enrolled.files)
    start = enrolled.stick.mount_point + "/" if absolute else ""
    single = next(name for name in files if "/" not in name)
    enrolled.encrypt(start + "holiday", start + single)
    expected = {os.fsencode(n) for n in files if not n.startswith("holiday/") and n != single}
    assert tree.plain(enrolled.files) == expected
    enrolled.decrypt(start + single + ".ucr")
    assert tree.plain(enrolled.files) == expected | {os.fsencode(single)}


def test_a_path_that_is_not_there_is_said(enrolled):
    tree.make(enrolled.files, sizes=[10])
    before = tree.snapshot(enrolled.files)
    result = enrolled.encrypt("no/such/file", expect=None)
    assert result.code != DONE
    tree.assert_same(before, tree.snapshot(enrolled.files))


@pytest.mark.parametrize("path", ["..", "../../etc/passwd", "a/../../b", "/etc"])
def test_a_path_never_leads_off_the_drive(machine, enrolled, path):
    passwd = (machine.root / "etc/passwd").read_bytes()
    assert enrolled.encrypt(path, expect=None).code != DONE
    assert (machine.root / "etc/passwd").read_bytes() == passwd


def odd_names(filesystem):
    names = [
        b".dotfile", b"with space", b"-rf", b"\xd8\xb5\xd9\x88\xd8\xb1\xd8\xa9 \xd8\xa7\xd9\x84\xd8\xa8\xd8\xad\xd8\xb1",
        "\u1e9b\u0323 e\u0301".encode(), "\U0001f3d6\ufe0f beach".encode(), b"x" * 255, b"y" * 251, b"z" * 252,
        b"deep/" * 40 + b"file", b".Trash-3001/files/gone", b".thumbnails/t.png", b"file.ucr.bak", b"UPPER/lower",
    ]
    if filesystem in ("ext4", "btrfs"):
        names += [b"\xd8\xb5\n\xd9\x88\xd8\xb1\xd8\xa9", b"\xff\xfe\x80 not utf-8", b"tab\there", b"star*?<>|\"\\:",
                  b"trailing dot.", b"trailing space ", b"\x1b[31mred", "\u202eevil".encode()]
    return names


@pytest.mark.parametrize("filesystem", FILESYSTEMS)
def test_odd_names_go_there_and_back(make_drive, filesystem):
    drive = make_drive(filesystem)
    for number, name in enumerate(odd_names(filesystem)):
        tree.write(drive.files, name, tree.content(number, 1000 + number))
    tree.give(drive.files, 3001)
    drive.replug()
    before = tree.snapshot(drive.files)
    drive.enroll()
    result = drive.encrypt()
    assert result.counts["encrypted"] == len(odd_names(filesystem))
    left = tree.plain(drive.files)
    assert not left, left
    drive.replug()
    drive.unlock()
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


def test_links_and_special_files_are_left_alone_and_counted(machine, enrolled):
    root = enrolled.files
    tree.write(root, "file", b"ordinary")
    tree.write(root, "one name", b"two names")
    os.link(root / "one name", root / "another name")
    os.symlink("file", root / "link")
    os.symlink("/etc/passwd", root / "link out")
    os.symlink("nowhere", root / "dangling")
    os.symlink(".", root / "loop")
    os.mkfifo(root / "fifo")
    machine.shell(f"cd {enrolled.stick.mount_point}; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'")
    machine.run(["mknod", f"{enrolled.stick.mount_point}/null", "c", "1", "3"])
    machine.shell(f"""cd {enrolled.stick.mount_point}; mkdir foreign; mount -t tmpfs -o nosuid,nodev tmpfs foreign
                  echo elsewhere >foreign/file""")
    try:
        tree.give(root, 3001)
        before = tree.snapshot(root)
        # Links, devices and sockets hold nothing; files with several names stay plain, so each is named.
        result = enrolled.encrypt(expect=PARTIAL)
        assert result.failures == {"one name": "hard-link", "another name": "hard-link"}
        assert {k: result.counts.get(k) for k in ("encrypted", "symlinks", "hard-links", "special", "foreign-mounts")} == \
            {"encrypted": 1, "symlinks": 4, "hard-links": 2, "special": 3, "foreign-mounts": 1}
        after = tree.snapshot(root)
        assert tree.differences(before, after) == ["lost b'file'", "new b'file.ucr'"]
        enrolled.decrypt()
        tree.assert_same(before, tree.snapshot(root))
    finally:
        machine.shell(f"umount {enrolled.stick.mount_point}/foreign")


def test_what_is_not_the_users_is_not_touched(enrolled):
    root = enrolled.files
    tree.write(root, "System Volume Information/IndexerVolumeGuid", b"windows")
    tree.write(root, "folder/System Volume Information", b"an ordinary file further down")
    tree.write(root, "folder/lost+found/file", b"an ordinary folder further down")
    tree.give(root, 3001)
    os.chown(root / "System Volume Information", 3001, 3001)
    (root / "lost+found/#1234").write_bytes(b"found")
    os.chmod(root / "lost+found", 0o777)
    result = enrolled.encrypt()
    assert result.counts["encrypted"] == 2
    assert (root / "System Volume Information/IndexerVolumeGuid").read_bytes() == b"windows"
    assert (root / "lost+found/#1234").read_bytes() == b"found"
    assert {p.name for p in (root / ".usbcrypt").iterdir()} == {"a", "b", "README.txt"}


def test_times_modes_and_xattrs_come_back(enrolled):
    root = enrolled.files
    for number, mode in enumerate([0o644, 0o600, 0o444, 0o400, 0o755, 0o666]):
        path = tree.write(root, f"mode {mode:o}", tree.content(number, 3000), mtime=1_234_567_890.123456789 + number)
        os.setxattr(path, "user.comment", b"note \0 %d" % number)
        os.setxattr(path, "user.empty", b"")
        os.chmod(path, mode)
    tree.write(root, "before 1970", b"old", mtime=-86400 * 365)
    tree.write(root, "far ahead", b"new", mtime=4_102_444_800)
    tree.give(root, 3001)
    before = tree.snapshot(root)
    enrolled.encrypt()
    assert not tree.plain(root)
    enrolled.decrypt()
    tree.assert_same(before, tree.snapshot(root))


def test_as_root_owners_come_back_too(make_drive):
    drive = make_drive(owner="root")
    for number, uid in enumerate((0, 3001, 3002, 12345)):
        path = tree.write(drive.files, f"owned by {uid}", tree.content(number, 500), mode=0o640)
        os.chown(path, uid, uid)
    before = tree.snapshot(drive.files)
    drive.enroll(user="root")
    drive.encrypt(user="root")
    assert not tree.plain(drive.files)
    drive.decrypt(user="root")
    tree.assert_same(before, tree.snapshot(drive.files))


def test_no_right_is_gained_on_the_way_through(enrolled):
    """A setuid file comes back without more rights than its owner could have given it."""
    path = tree.write(enrolled.files, "setuid", b"#!/bin/sh\nid\n")
    os.chown(path, 3001, 3001)
    os.chmod(path, 0o4755)
    enrolled.encrypt()
    sealed = os.stat(enrolled.files / "setuid.ucr")
    assert not sealed.st_mode & 0o6000
    enrolled.decrypt()
    status = os.stat(path)
    assert status.st_uid == 3001


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_decrypt_to_elsewhere_leaves_the_drive_as_it_is(machine, make_drive, filesystem):
    drive = make_drive(filesystem)
    tree.make(drive.files)
    drive.replug()
    before = tree.snapshot(drive.files)
    drive.enroll()
    drive.encrypt()
    sealed = tree.snapshot(drive.files)
    drive.decrypt("--to", "/home/alice/out")
    copy = tree.snapshot(machine.root / "home/alice/out")
    machine.run(["rm", "-rf", "/home/alice/out"])
    tree.assert_same(sealed, tree.snapshot(drive.files))
    files = {path: (entry.digest, entry.mtime) for path, entry in before.items() if entry.digest}
    assert {path: (entry.digest, entry.mtime) for path, entry in copy.items() if entry.digest} == files


def test_decrypt_to_elsewhere_works_from_a_read_only_drive(machine, enrolled):
    files = tree.make(enrolled.files)
    enrolled.encrypt()
    enrolled.replug(mount={"read_only": True})
    enrolled.unlock()
    enrolled.decrypt("--to", "/home/alice/out")
    copied = tree.regular(machine.root / "home/alice/out")
    machine.run(["rm", "-rf", "/home/alice/out"])
    assert len(copied) == len(files)


def test_a_moved_file_is_restored_where_it_is_and_said(enrolled):
    tree.write(enrolled.files, "a/file", b"wandering")
    tree.give(enrolled.files, 3001)
    enrolled.encrypt()
    os.rename(enrolled.files / "a/file.ucr", enrolled.files / "elsewhere.ucr")
    result = enrolled.decrypt(expect=PARTIAL)
    assert result.counts["moved"] == 1
    assert "moved" in result.failures.values()
    assert (enrolled.files / "elsewhere").read_bytes() == b"wandering"


def test_a_damaged_file_is_named_and_left_as_it_is(enrolled):
    files = tree.make(enrolled.files)
    enrolled.encrypt()
    victim = max(tree.regular(enrolled.files).items(), key=lambda item: item[1])[0]
    path = os.path.join(os.fsencode(enrolled.files), victim)
    with open(path, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with open(path, "rb") as file:
        damaged = file.read()
    result = enrolled.verify(expect=PARTIAL)
    assert result.failures == {os.fsdecode(victim): "tampered"}
    result = enrolled.decrypt(expect=PARTIAL)
    assert result.failures == {os.fsdecode(victim): "tampered"}
    assert result.counts["decrypted"] == len(files) - 1
    with open(path, "rb") as file:
        assert file.read() == damaged
    assert not os.path.exists(path.removesuffix(b".ucr"))


def test_a_file_of_another_drive_is_foreign(make_drive):
    first, second = make_drive(), make_drive()
    for drive in (first, second):
        tree.make(drive.files, sizes=[5000])
        drive.enroll()
        drive.encrypt()
    alien = next(first.files.glob("*.ucr"))
    (second.files / "alien.ucr").write_bytes(alien.read_bytes())
    os.chown(second.files / "alien.ucr", 3001, 3001)
    result = second.decrypt(expect=PARTIAL)
    assert result.failures == {"alien.ucr": "foreign"}


def test_a_fake_encrypted_file_is_a_plain_one_or_said(enrolled):
    tree.write(enrolled.files, "fake.ucr", b"no header at all")
    tree.write(enrolled.files, "empty.ucr", b"")
    tree.give(enrolled.files, 3001)
    before = tree.snapshot(enrolled.files)
    enrolled.encrypt()
    enrolled.decrypt(expect=None)
    tree.assert_same(before, tree.snapshot(enrolled.files))


def test_several_drives_at_once(make_drive):
    from testbed.drive import end
    drives = [make_drive(), make_drive("exfat"), make_drive("ntfs")]
    before = []
    for drive in drives:
        tree.make(drive.files)
        drive.replug()
        before.append(tree.snapshot(drive.files))
        drive.enroll()
    for verb in ("encrypt", "decrypt"):
        running = [drive.begin(verb) for drive in drives]
        for process in running:
            end(process, expect=DONE)
    for drive, snapshot in zip(drives, before):
        tree.assert_same(snapshot, tree.snapshot(drive.files))
