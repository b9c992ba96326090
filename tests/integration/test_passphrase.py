# SPDX-License-Identifier: LGPL-2.1-or-later
"""Enrolling, unlocking, leaving: what a passphrase does, and what a wrong one does not."""

import os
import re

import pytest

from testbed import tree
from testbed.drive import (DONE, FAILED, PASSPHRASE, WRONG_PASSPHRASE, Drive, usbctl)


def test_enrolling_makes_the_drive_ready_and_touches_no_file(drive):
    files = tree.make(drive.files)
    before = tree.snapshot(drive.files)
    result = drive.enroll()
    assert result.document["drive"]["enrolled"] and not result.document["drive"]["locked"]
    tree.assert_same(before, tree.snapshot(drive.files))
    names = {str(p.relative_to(drive.files)) for p in (drive.files / ".usbcrypt").rglob("*") if p.is_file()}
    assert {".usbcrypt/a/drive.json", ".usbcrypt/b/drive.json", ".usbcrypt/README.txt"} <= names
    assert files


@pytest.mark.parametrize("weak", ["short1!", "aaaaaaaaaaaaaaaa", "abcdefghijklmnop"])
def test_a_weak_passphrase_is_refused_and_changes_nothing(drive, weak):
    result = drive.enroll(passphrase=weak, expect=FAILED)
    assert result.result == "WeakPassphrase"
    assert not (drive.files / ".usbcrypt").exists()
    properties = drive.properties
    assert not properties["Enrolled"] and properties["Locked"]


@pytest.mark.parametrize("filesystem", ["ext4", "exfat", "ntfs", "btrfs"])
def test_a_wrong_passphrase_changes_no_byte_and_exits_3(machine, make_drive, filesystem):
    drive = make_drive(filesystem)
    tree.make(drive.files)
    drive.enroll()
    drive.encrypt()
    drive.replug()

    def medium():
        machine.run(["sync", "-f", drive.stick.mount_point])
        return drive.stick.digest()

    # What opening it may change (times of access, a filesystem's own counters) is in the first hash already.
    drive.unlock(passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    before = medium()
    result = drive.unlock(passphrase="nor 8 that battery", expect=WRONG_PASSPHRASE)
    assert result.result == "WrongPassphrase"
    assert drive.properties["Locked"]
    assert medium() == before
    drive.unlock()
    assert medium() == before, "nor does the right one"
    tree.write(drive.files, "something", b"the check can fail")
    assert medium() != before


def test_a_wrong_passphrase_says_nothing_about_how_wrong(enrolled):
    enrolled.lock()
    answers = {re.sub(r"\d", "", enrolled.unlock(passphrase=wrong, expect=WRONG_PASSPHRASE).document["message"])
               for wrong in (PASSPHRASE + "x", PASSPHRASE[:-1], "something else entirely")}
    assert len(answers) == 1


def test_the_right_passphrase_unlocks_after_a_replug(enrolled):
    enrolled.replug()
    assert enrolled.properties["Locked"] and enrolled.properties["Enrolled"]
    enrolled.unlock()
    assert not enrolled.properties["Locked"]


def test_unlocking_an_unlocked_drive_checks_the_passphrase(enrolled):
    enrolled.unlock(passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    enrolled.unlock()


def test_a_passphrase_is_the_same_however_it_is_composed(drive):
    drive.enroll(passphrase="r\u00e9sum\u00e9 of 4 summers past")
    drive.lock()
    drive.unlock(passphrase="re\u0301sume\u0301 of 4 summers past")


def test_only_one_newline_is_stripped(enrolled):
    enrolled.lock()
    enrolled.unlock(passphrase=PASSPHRASE + "\n")
    enrolled.lock()
    enrolled.unlock(passphrase=PASSPHRASE + "\n\n", expect=WRONG_PASSPHRASE)


def test_an_empty_or_overlong_passphrase_opens_nothing(enrolled):
    enrolled.lock()
    for passphrase in ("", "\n", "x" * 1025):
        result = enrolled.unlock(passphrase=passphrase, expect=None)
        assert result.code != DONE
        assert enrolled.properties["Locked"]


def test_a_passphrase_comes_from_a_file_or_a_descriptor(machine, enrolled):
    enrolled.lock()
    machine.shell('umask 077; printf %s "$1" >/home/alice/secret', arguments=[PASSPHRASE], user="alice")
    machine.run(["usbctl", "unlock", "--passphrase-file", "/home/alice/secret"], user="alice")
    enrolled.lock()
    machine.shell("exec usbctl unlock --passphrase-fd 7 7</home/alice/secret", user="alice")
    assert not enrolled.properties["Locked"]


def test_on_a_terminal_it_is_asked_twice_without_echo(machine, drive):
    with machine.terminal(["usbctl", "enroll"], user="alice") as terminal:
        for _ in range(2):
            terminal.expect(rb": ?$")
            terminal.wait_echo_off()
            terminal.send(PASSPHRASE.encode() + b"\n")
        shown = terminal.expect(rb"is enrolled", timeout=60)
        assert terminal.finish() == DONE
        assert PASSPHRASE.encode() not in shown.string
    assert drive.properties["Enrolled"]


def test_a_typing_error_at_enrolling_is_noticed(machine, drive):
    with machine.terminal(["usbctl", "enroll"], user="alice") as terminal:
        for typed in (PASSPHRASE, PASSPHRASE + "?"):
            terminal.expect(rb": ?$")
            terminal.wait_echo_off()
            terminal.send(typed.encode() + b"\n")
        terminal.expect(rb"(?i)(differ|match|not the same)")
    assert not (drive.files / ".usbcrypt").exists()


def test_enrolling_twice_is_refused(enrolled):
    before = (enrolled.files / ".usbcrypt/a/drive.json").read_bytes()
    result = enrolled.enroll(expect=FAILED)
    assert result.result == "AlreadyEnrolled"
    assert (enrolled.files / ".usbcrypt/a/drive.json").read_bytes() == before


@pytest.mark.parametrize("suite", ["xchacha20-poly1305", "chacha20-poly1305", "aes-256-gcm"])
def test_every_suite_goes_there_and_back(drive, suite):
    tree.make(drive.files, sizes=[0, 1, 65536, 200000])
    before = tree.snapshot(drive.files)
    drive.enroll("--suite", suite)
    assert drive.properties["Suite"] == suite
    drive.encrypt()
    assert not tree.plain(drive.files)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


def test_unenrolling_takes_our_files_away(enrolled):
    enrolled.usbctl("unenroll", passphrase=PASSPHRASE)
    assert not (enrolled.files / ".usbcrypt").exists()
    assert not enrolled.properties["Enrolled"]


def test_unenrolling_needs_the_passphrase(enrolled):
    enrolled.usbctl("unenroll", passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    assert (enrolled.files / ".usbcrypt/a/drive.json").exists()


def test_unenrolling_is_refused_while_files_are_encrypted(enrolled):
    tree.make(enrolled.files, sizes=[100])
    enrolled.encrypt()
    result = enrolled.usbctl("unenroll", passphrase=PASSPHRASE, expect=FAILED)
    assert result.result == "FilesEncrypted"
    assert (enrolled.files / ".usbcrypt/a/drive.json").exists()
    enrolled.decrypt()
    enrolled.usbctl("unenroll", passphrase=PASSPHRASE)


def test_guessing_is_slowed_down(enrolled):
    enrolled.lock()
    for _ in range(5):
        enrolled.unlock(passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    result = enrolled.unlock(passphrase="not 7 this battery", expect=FAILED)
    assert result.result == "RateLimited"
    # Also the right one has to wait; and it says until when.
    assert enrolled.unlock(expect=FAILED).result == "RateLimited"
    assert enrolled.properties["RetryAt"] > 0
    # Nobody is asked for a passphrase that will not be looked at (there is no terminal here to ask on either).
    assert enrolled.unlock(passphrase=None, expect=FAILED).result == "RateLimited"
    # Each user's attempts count alone: RetryAt is the owner's.
    enrolled.unlock(user="root", passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    enrolled.unlock(user="root")
    assert not enrolled.properties["Locked"]


def test_a_header_backup_is_an_exact_copy(machine, enrolled):
    enrolled.usbctl("header-backup", "/home/alice/backup.json")
    backup = (machine.root / "home/alice/backup.json").read_bytes()
    assert backup in {(enrolled.files / f".usbcrypt/{copy}/drive.json").read_bytes() for copy in "ab"}
    result = enrolled.usbctl("header-backup", "/home/alice/backup.json", expect=None)
    assert result.code != DONE, "an existing file must not be overwritten"


def test_one_damaged_copy_of_the_key_is_no_harm(enrolled):
    for copy in "ab":
        enrolled.lock()
        path = enrolled.files / f".usbcrypt/{copy}/drive.json"
        good = path.read_bytes()
        path.write_bytes(b"\0" * len(good))
        enrolled.replug()
        enrolled.unlock()
        path = enrolled.files / f".usbcrypt/{copy}/drive.json"
        path.write_bytes(good)


def test_a_damaged_drive_json_is_tampered_and_keeps_no_key(enrolled):
    enrolled.lock()
    for copy in "ab":
        path = enrolled.files / f".usbcrypt/{copy}/drive.json"
        path.write_bytes(b"{" * path.stat().st_size)
    enrolled.replug()
    result = enrolled.unlock(expect=FAILED)
    assert result.result in ("Tampered", "NotEnrolled")
    assert enrolled.properties["Locked"]


def test_no_secret_is_logged_or_shown(machine, enrolled):
    enrolled.lock()
    enrolled.unlock(passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)
    enrolled.unlock()
    journal = machine.run(["journalctl", "--no-pager", "-o", "export"]).stdout
    assert "horse battery" not in journal and "this battery" not in journal
