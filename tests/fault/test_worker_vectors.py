# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every vector through the real worker: what the library says of it in a unit test, it must say inside its sandbox."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from test_worker_transactions import READING, Volume
from worker import NOBODY, run

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors"
MAGIC = b"\x8aUCR\r\n\x1a\n"
OUTCOMES = {
    "success": "DONE",
    "wrong-passphrase": "WRONG_PASSPHRASE",
    "tampered": "TAMPERED",
    "unsupported": "UNSUPPORTED",
}


class Vector:
    def __init__(self, path):
        header, self.body = path.read_bytes().split(b"\n\n", 1)
        self.name = path.stem
        self.fields = dict(line.split(": ", 1) for line in header.decode().splitlines())

    def __getitem__(self, field):
        return self.fields[field]


def vectors(folder):
    found = [Vector(path) for path in sorted((VECTORS / folder).glob("*.vec"))]
    assert found
    return found


def own(path):
    os.chown(path, NOBODY, NOBODY)


def put_metadata(root, data):
    """Makes the drive one whose drive.json is this, in both copies."""
    for folder in (".usbcrypt", ".usbcrypt/a", ".usbcrypt/b"):
        (root / folder).mkdir(exist_ok=True)
        own(root / folder)
    for copy in "ab":
        path = root / ".usbcrypt" / copy / "drive.json"
        path.write_bytes(data)
        own(path)


@pytest.fixture
def vector_volume(drive):
    """An empty drive that has the vectors' drive key."""
    good = Vector(VECTORS / "drives" / "good-chacha20-poly1305.vec")
    put_metadata(drive.mount_point, good.body)
    volume = Volume.__new__(Volume)
    volume.drive, volume.root = drive, drive.mount_point
    volume.unlocked = run(drive, "UNLOCK", bytes.fromhex(good["passphrase"]))
    assert volume.unlocked["outcome"] == "DONE"
    assert volume.unlocked["key"].hex() == good["drive-key"]
    return volume


def test_every_file_vector_is_judged_as_it_should_be(vector_volume, tmp_path):
    files = vectors("files")
    for vector in files:
        assert vector["drive-id"] == vector_volume.unlocked["drive"]["id"].hex()
        path = vector_volume.root / f"{vector.name}.ucr"
        path.write_bytes(vector.body)
        own(path)
    target = pathlib.Path("/tmp") / f"usbcrypt-vectors-{os.getpid()}"
    target.mkdir()
    own(target)
    try:
        verified = vector_volume.run("VERIFY", keys=READING)
        folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            exported = vector_volume.run("DECRYPT", ("HAS_TARGET",), keys=READING, target=folder)
        finally:
            os.close(folder)
        for result in (verified, exported):
            assert result["outcome"] == "PARTIAL"
            reasons = {os.fsdecode(path): reason for path, reason, *_ in result["failures"]}
            for vector in files:
                # What does not begin with the magic is nobody's encrypted file.
                expected = vector["expect"].upper() if vector.body.startswith(MAGIC) else None
                reason = reasons.get(f"{vector.name}.ucr")
                if reason == "ATTRIBUTES":  # this machine's filesystem cannot hold them all: a remark, no refusal
                    reason = None
                assert reason == (None if expected == "SUCCESS" else expected), vector.name
        good = [vector for vector in files if vector["expect"] == "success"]
        assert verified["counts"]["VERIFIED"] == exported["counts"]["DECRYPTED"] == len(good)
        assert sorted(os.listdir(target)) == sorted(vector.name for vector in good)
        for vector in good:
            payload = (target / vector.name).read_bytes()
            assert len(payload) == int(vector["payload-size"])
            assert hashlib.blake2b(payload, digest_size=32).hexdigest() == vector["payload-blake2b"], vector.name
    finally:
        shutil.rmtree(target)


def test_every_drive_vector_is_judged_as_it_should_be(drive):
    for vector in vectors("drives"):
        if "passphrase" not in vector.fields or vector["expect"] not in OUTCOMES:
            continue
        put_metadata(drive.mount_point, vector.body)
        result = run(drive, "UNLOCK", bytes.fromhex(vector["passphrase"]))
        assert result["outcome"] == OUTCOMES[vector["expect"]], vector.name
        if vector["expect"] == "success":
            assert result["key"].hex() == vector["drive-key"], vector.name


def test_the_frozen_drive_of_version_1_opens(drive, tmp_path):
    manifest = [line.split(" ") for line in (VECTORS / "drive-v1.txt").read_text().splitlines()]
    passphrase = " ".join(next(line for line in manifest if line[0] == "passphrase")[1:]).encode()
    with tarfile.open(VECTORS / "drive-v1.tar.gz") as archive:
        archive.extractall(drive.mount_point)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", drive.mount_point], check=True)
    volume = Volume.__new__(Volume)
    volume.drive, volume.root = drive, drive.mount_point
    volume.unlocked = run(drive, "UNLOCK", passphrase)
    assert volume.unlocked["outcome"] == "DONE"
    files = [line[1:] for line in manifest if line[0] == "file"]
    assert volume.run("VERIFY", keys=READING)["counts"]["VERIFIED"] >= len(files)
    assert volume.run("DECRYPT")["outcome"] in ("DONE", "PARTIAL")
    for _, plain, size, digest in files:
        content = (pathlib.Path(os.fsdecode(os.fsencode(drive.mount_point) + b"/" + bytes.fromhex(plain)))).read_bytes()
        assert len(content) == int(size)
        assert hashlib.blake2b(content, digest_size=32).hexdigest() == digest
