# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drives appear and leave; usbctl names them in every way a person would."""

import os

import pytest

from testbed.bus import NOT_KNOWN
from testbed.drive import DONE, FAILED, NO_SUCH_DRIVE, UNREACHABLE, USAGE, Drive, usbctl


def listed(machine, **options):
    return {d["device"]: d for d in usbctl(machine, "list", **options).document["drives"]}


@pytest.mark.parametrize("whole_disk", [False, True], ids=["partition", "whole disk"])
def test_a_stick_appears_with_its_device_and_leaves_with_it(machine, bus, make_stick, whole_disk):
    stick = make_stick(whole_disk=whole_disk)
    drive = Drive(stick, bus)
    stick.plug()
    properties = drive.wait("it appears", lambda p: p["FilesystemType"] == "ext4")
    assert properties["Label"] == stick.label
    assert properties["MountPoints"] == [] and properties["Locked"] and not properties["Enrolled"]
    path = properties["path"]
    stick.unplug()
    bus.wait("it leaves", lambda: path not in bus.objects())


def test_a_mounted_stick_says_where_it_is_mounted_and_whose_it_is(drive):
    properties = drive.properties
    assert [bytes(p).decode() for p in properties["MountPoints"]] == [drive.stick.mount_point]
    assert properties["Owner"] == 3001
    assert 0 < properties["Free"] <= properties["Size"]


def test_an_unmounted_stick_says_so(drive):
    drive.stick.unmount()
    drive.wait("it is not mounted", lambda p: p["MountPoints"] == [])


def test_a_disk_that_is_not_on_usb_is_none_of_ours(machine, bus, drive):
    image = machine.root / "tmp/internal.img"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    machine.run(["mkfs.ext4", "-q", "/tmp/internal.img"])
    loop = machine.run(["losetup", "-f", "--show", "/tmp/internal.img"]).stdout.strip()
    try:
        machine.settle()
        assert "ID_FS_TYPE=ext4" in machine.run(["udevadm", "info", loop]).stdout
        assert list(listed(machine)) == [drive.stick.device]
    finally:
        machine.run(["losetup", "-d", loop])


def test_list_shows_every_drive_with_its_state(machine, make_drive):
    first, second = make_drive(), make_drive("exfat")
    first.enroll()
    drives = listed(machine)
    assert drives[first.stick.device]["enrolled"] and not drives[first.stick.device]["locked"]
    assert drives[second.stick.device]["filesystem"] == "exfat" and not drives[second.stick.device]["enrolled"]
    text = machine.run(["usbctl", "list"], user="alice").stdout
    assert first.stick.label in text and "unlocked until" in text and "not enrolled" in text


def test_list_is_for_everybody(machine, drive):
    for user in ("alice", "bob", "carol"):
        assert drive.stick.device in listed(machine, user=user)


def test_a_drive_is_named_in_every_way(machine, make_drive):
    drive, other = make_drive(), make_drive()
    drive.enroll()
    (drive.files / "folder").mkdir()
    os.chown(drive.files / "folder", 3001, 3001)
    known = drive.properties
    for name in (drive.stick.device, drive.stick.mount_point, drive.stick.mount_point + "/folder",
                 known["Label"], known["FilesystemUuid"], known["Id"]):
        shown = usbctl(machine, "status", name).document["drives"]
        assert [d["device"] for d in shown] == [drive.stick.device], name


def test_the_only_drive_need_not_be_named(machine, drive):
    usbctl(machine, "enroll", passphrase="correct 7 horse battery")
    assert drive.properties["Enrolled"]


def test_of_two_drives_one_has_to_be_named(machine, make_drive):
    make_drive(), make_drive()
    result = usbctl(machine, "unlock", passphrase="whatever it is", expect=None)
    assert result.code in (USAGE, NO_SUCH_DRIVE)


@pytest.mark.parametrize("name", ["/dev/vda", "/nowhere", "NO SUCH LABEL", "", "ffffffffffffffffffffffffffffffff"])
def test_a_drive_that_is_not_there_is_exit_7(machine, drive, name):
    result = usbctl(machine, "unlock", name, passphrase="whatever it is", expect=None)
    assert result.code == NO_SUCH_DRIVE or (name == "" and result.code == USAGE)


def test_without_any_drive_it_is_exit_7(machine):
    assert usbctl(machine, "list").document["drives"] == []
    usbctl(machine, "encrypt", expect=NO_SUCH_DRIVE)


@pytest.mark.ends_the_daemon
def test_without_the_daemon_it_is_exit_8(machine):
    machine.run(["systemctl", "mask", "--runtime", "--now", "usbcryptd.service"])
    try:
        usbctl(machine, "list", expect=UNREACHABLE)
    finally:
        machine.run(["systemctl", "unmask", "--runtime", "usbcryptd.service"])
        machine.run(["systemctl", "start", "usbcryptd.service"])


@pytest.mark.ends_the_daemon
def test_the_bus_starts_the_daemon(machine, drive):
    machine.run(["systemctl", "stop", "usbcryptd.service"])
    assert drive.stick.device in listed(machine)


@pytest.mark.ends_the_daemon
def test_a_plugged_stick_starts_the_daemon(machine, make_stick):
    machine.run(["systemctl", "stop", "usbcryptd.service"])
    stick = make_stick()
    stick.plug()
    # The job that udev's SYSTEMD_WANTS queued.
    machine.run(["systemctl", "start", "usbcryptd.service"])
    assert stick.device in listed(machine)
    log = machine.run(["journalctl", "-o", "cat", "-u", "usbcryptd.service", "--no-pager"]).stdout
    assert stick.kernel_name in log


def test_a_hostile_label_is_only_ever_text(machine, bus, make_stick):
    label = '%n%s\x1b[31m"<b>'
    stick = make_stick(label=label)
    # A mount point of its own: this is about the label.
    drive = Drive(stick, bus)
    stick.plug()
    drive.wait("it appears", lambda p: p["FilesystemType"] == "ext4")
    out = machine.run(["usbctl", "list"], user="alice").stdout
    assert "\x1b" not in out
    assert "\x1b" not in machine.journal()
    assert "\x1b" not in drive.properties["Label"]


def test_two_drives_with_one_uuid_are_two_drives(machine, bus, make_stick):
    first, second = make_stick(), make_stick()
    second.image.write_bytes(first.image.read_bytes())
    for stick in (first, second):
        stick.plug()
    drives = [Drive(stick, bus).wait("it appears", lambda p: p["FilesystemUuid"]) for stick in (first, second)]
    assert drives[0]["path"] != drives[1]["path"]
    assert drives[0]["FilesystemUuid"] == drives[1]["FilesystemUuid"]
    result = usbctl(machine, "unlock", drives[0]["FilesystemUuid"], passphrase="whatever", expect=None)
    assert result.code in (USAGE, NO_SUCH_DRIVE), "an ambiguous name must not pick one of them"


def test_status_counts_and_advises(machine, enrolled):
    (enrolled.files / "file").write_text("hello")
    os.chown(enrolled.files / "file", 3001, 3001)
    document = enrolled.usbctl("status").document["drives"][0]
    assert document["files"]["plain-files"] == 1 and document["files"]["plain-bytes"] == 5
    assert document["files"]["encrypted-files"] == 0
    enrolled.lock()
    assert "usbctl unlock" in machine.run(["usbctl", "status"], user="alice").stdout


@pytest.mark.parametrize("filesystem", ["ext4", "exfat", "ntfs", "btrfs"])
def test_every_filesystem_is_recognised(make_drive, filesystem):
    properties = make_drive(filesystem).properties
    assert properties["FilesystemType"] == filesystem
    assert properties["Owner"] == 3001


def test_usage_errors_are_exit_2(machine, drive):
    for arguments in (["frobnicate"], ["list", "--no-such-option"], ["enroll", "--suite", "null"], ["encrypt", "--to", "/x"]):
        usbctl(machine, *arguments, expect=USAGE)
