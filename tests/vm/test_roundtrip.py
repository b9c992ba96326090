# SPDX-License-Identifier: LGPL-2.1-or-later
"""Encrypted here, decrypted there: the stick carries all it takes."""

import pytest

from conftest import KINDS

DEFAULT = ["vfat+udisks", "exfat+udisks", "ext4", "ntfs+udisks"]


@pytest.mark.parametrize("kind", [*DEFAULT, *(pytest.param(kind, marks=pytest.mark.long)
                                              for kind in KINDS if kind not in DEFAULT)])
def test_a_tree_encrypted_on_one_machine_is_decrypted_on_another(make_vm, make_drive, kind):
    first = make_vm()
    drive = make_drive(kind).plug(first)
    drive.call("make_tree")
    drive.unmount()
    drive.mount()
    before = drive.snapshot()
    files = {path for path, entry in before.items() if entry[1] is not None}
    drive.enroll()
    result = drive.encrypt()
    assert result.counts["encrypted"] == len(files) and not result.failures, result
    encrypted = drive.names()
    assert {name for name in encrypted if name.endswith(".ucr")} == {path + ".ucr" for path in files}
    assert not set(encrypted) & files
    drive.unplug()
    first.kill()
    assert drive.stick.fsck(drive.stick.image.parent)[0] == 0

    second = make_vm()
    drive.plug(second)
    drive.unlock()
    assert drive.verify().counts["verified"] == len(files)
    result = drive.decrypt()
    assert result.counts["decrypted"] == len(files) and not result.failures, result
    drive.unmount()
    drive.mount()
    assert drive.snapshot() == before
    assert drive.properties["Pending"] == ""
    drive.unplug()
    assert drive.stick.fsck(drive.stick.image.parent)[0] == 0
