# SPDX-License-Identifier: LGPL-2.1-or-later
"""I9: after an encrypt the finder of the stick reads no plaintext from it, by any tool."""

import pathlib
import shutil
import subprocess

import pytest

from testbed import tree
from testbed.stick import MIB

BLOCK = 512


def blocks_of(files):
    """Every 512-byte block of every source, and what is left at its end, if that is long enough to be found."""
    return {data[offset:offset + BLOCK]: name for name, data in files.items()
            for offset in range(0, len(data), BLOCK) if len(data) - offset >= 16}


def plaintext_in(image, files):
    """Which sources' blocks are in the image. Files begin at sector boundaries, and so do their blocks."""
    wanted = blocks_of(files)
    whole = {block: name for block, name in wanted.items() if len(block) == BLOCK}
    tails = {block: name for block, name in wanted.items() if len(block) < BLOCK}
    found = set()
    with open(image, "rb") as file:
        while data := file.read(4 * MIB):
            for offset in range(0, len(data), BLOCK):
                sector = data[offset:offset + BLOCK]
                if sector in whole:
                    found.add(whole[sector])
    content = pathlib.Path(image).read_bytes()
    found |= {name for tail, name in tails.items() if tail in content}
    return found


def jpeg(seed, size):
    """Looks like a photo to an undelete tool."""
    head = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
    return head + tree.content(seed, size).replace(b"\xff", b"\xfe") + bytes.fromhex("ffd9")


def text(seed, size):
    words = tree.content(seed, size).hex().encode()
    return b"Dear diary,\n" + b"\n".join(words[i:i + 60] for i in range(0, size, 60)) + b"\n"


def photorec(image, folder):
    """What Debian's undelete tool gets out of a partition: free space and all."""
    subprocess.run(
        ["photorec", "/log", "/d", folder / "found", "/cmd", image,
         "partition_none,options,paranoid,fileopt,everything,enable,wholespace,search"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "HOME": str(folder)})
    return [path for path in folder.glob("found.*/*") if path.suffix != ".xml"]


def recovered(image, folder, files):
    """The sources of which photorec brings anything back."""
    wanted = blocks_of(files)
    back = set()
    for path in photorec(image, folder):
        data = path.read_bytes()
        back |= {name for block, name in wanted.items() if block in data}
    return back


@pytest.fixture
def written(make_drive):
    """written(filesystem) -> (drive, files): photos and texts on the medium, the drive enrolled."""
    def make(filesystem):
        drive = make_drive(filesystem, size=32 * MIB)
        files = {}
        for number in range(12):
            files[f"photos/{number}.jpg"] = jpeg(number, 20000 + 3001 * number)
            files[f"diary/{number}.txt"] = text(number, 700 + 997 * number)
        files["small"] = tree.content("small", 100)
        files["empty"] = b""
        for name, data in files.items():
            tree.write(drive.files, name, data)
        tree.give(drive.files, 3001)
        drive.replug()
        drive.enroll()
        return drive, files
    return make


def partition(drive, folder):
    """The image without its partition table, as photorec and a finder see the filesystem."""
    copy = folder / "partition.img"
    with open(drive.stick.image, "rb") as source, open(copy, "wb") as target:
        source.seek(MIB)
        shutil.copyfileobj(source, target)
    return copy


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
def test_no_plaintext_is_left_on_the_medium(written, tmp_path, filesystem):
    drive, files = written(filesystem)
    drive.stick.stack.run(["sync", "-f", drive.stick.mount_point])
    before = partition(drive, tmp_path)
    assert plaintext_in(before, files) == {name for name in files if files[name]}, "the search must find them before"
    assert recovered(before, tmp_path, files), "photorec must find some before"
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()

    drive.encrypt()
    drive.stick.unmount()
    drive.stick.unplug()
    after = partition(drive, tmp_path)
    assert plaintext_in(after, files) == set()
    assert recovered(after, tmp_path, files) == set()
    drive.plug()


@pytest.mark.parametrize("filesystem", ["ntfs"])
def test_no_plaintext_is_left_on_ntfs(written, tmp_path, filesystem):
    """Its smallest files live in the file table itself, which only overwriting in place reaches."""
    drive, files = written(filesystem)
    drive.encrypt()
    drive.stick.unmount()
    drive.stick.unplug()
    assert plaintext_in(partition(drive, tmp_path), files) == set()
    drive.plug()


def test_no_scrub_leaves_it_which_is_the_users_choice(written, tmp_path):
    """Shows that the search above finds what an unscrubbed run leaves behind."""
    drive, files = written("ext4")
    drive.encrypt("--no-scrub")
    assert not tree.plain(drive.files)
    drive.stick.unmount()
    drive.stick.unplug()
    after = partition(drive, tmp_path)
    assert plaintext_in(after, files)
    assert recovered(after, tmp_path, files)
    drive.plug()


def test_no_key_or_passphrase_is_on_the_medium(written, tmp_path):
    from testbed.drive import PASSPHRASE
    drive, _ = written("ext4")
    drive.encrypt()
    drive.stick.unmount()
    drive.stick.unplug()
    assert PASSPHRASE.encode() not in drive.stick.image.read_bytes()
    drive.plug()


def test_the_readme_tells_the_finder_what_this_is(written):
    drive, _ = written("exfat")
    text = (drive.files / ".usbcrypt/README.txt").read_text()
    assert "usbcrypt" in text and "passphrase" in text and "usbctl" in text
