# SPDX-License-Identifier: LGPL-2.1-or-later
"""The node helper, and workers that ask it: steps 2 and 4 of a barrier."""

import errno
import fcntl
import os
import re
import socket
import struct
import subprocess

import pytest

from conftest import PASSPHRASE
from worker import HEADER, NODE_DONE, NODE_REQUEST, RECORD, Worker, passphrase_pipe, run

HELPER = 4242  # the system user
LOOP_CHANGE_FD = 0x4C06


class NodeHelper(Worker):
    def __init__(self, drive, ready=True, **fields):
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line.settimeout(30)
        super().__init__(node=theirs.fileno())
        theirs.close()
        self.start(drive, "NODE", ["HAS_NODE"], **{"uid": HELPER, **fields})
        if ready:
            self.expect("READY")

    def ask(self, kind, token, question=0):
        self.line.send(HEADER.pack(RECORD[kind], NODE_REQUEST.size) + NODE_REQUEST.pack(token, question, 0))
        packet = self.line.recv(4096)
        assert HEADER.unpack_from(packet) == (RECORD["NODE_DONE"], NODE_DONE.size)
        answered, result, _ = NODE_DONE.unpack_from(packet, HEADER.size)
        assert answered == token
        return result

    def close(self):
        super().close()
        self.line.close()


def flushes(drive):
    """Flush requests that this loop device has completed (its stat file, field 16)."""
    with open("/sys/block/%s/stat" % os.path.basename(drive.loop), encoding="ascii") as f:
        return int(f.read().split()[15])


def test_sync_flushes_the_device(drive):
    with NodeHelper(drive) as helper:
        # A flush with nothing written since may be left out by the kernel.
        (drive.mount_point / "file").write_bytes(b"x" * 4096)
        subprocess.run(["sync", "-f", drive.mount_point], check=True)
        before = flushes(drive)
        assert helper.ask("NODE_SYNC", 1) == 0
        assert flushes(drive) > before


def test_it_is_the_system_user_without_rights(drive):
    with NodeHelper(drive) as helper:
        with open("/proc/%d/status" % helper.pid, encoding="ascii") as f:
            status = f.read()
        assert re.search(r"^Uid:\t%d\t%d\t%d\t%d$" % ((HELPER,) * 4), status, re.M)
        assert re.search(r"^CapPrm:\t0+$", status, re.M)
        assert re.search(r"^Seccomp:\t2$", status, re.M)
        held = {os.readlink("/proc/%d/fd/%s" % (helper.pid, fd)) for fd in os.listdir("/proc/%d/fd" % helper.pid)}
        assert drive.loop in held
        flags = [
            open("/proc/%d/fdinfo/%s" % (helper.pid, fd), encoding="ascii").read()
            for fd in os.listdir("/proc/%d/fd" % helper.pid)
            if os.readlink("/proc/%d/fd/%s" % (helper.pid, fd)) == drive.loop
        ]
        assert all(int(re.search(r"flags:\t(\d+)", f).group(1), 8) & os.O_ACCMODE == os.O_RDONLY for f in flags)


def test_drop_and_alive(drive):
    with NodeHelper(drive) as helper:
        assert helper.ask("NODE_ALIVE", 7) == 1
        assert helper.ask("NODE_DROP", 8) == 0


def test_a_filesystem_without_a_bitmap_is_not_looked_at(drive):
    if_unclean, always, go_on = 0, 1, 2
    with NodeHelper(drive) as helper:
        assert helper.ask("NODE_CHECK", 1, if_unclean) == 0
        assert helper.ask("NODE_CHECK", 2, always) == 0
        assert helper.ask("NODE_CHECK", 3, go_on) == -errno.EBADMSG  # nothing was begun
        assert helper.ask("NODE_CHECK", 4, go_on + 1) == -errno.EBADMSG


def test_exfat_is_looked_at_until_it_is_done(drive, tmp_path):
    """A volume of 8 GiB, as mkfs.exfat makes it, damaged between one question and the next."""
    drive.unmount()
    subprocess.run(["losetup", "-d", drive.loop], check=True)
    with open(drive.image, "wb") as file:
        file.truncate(8 << 30)
    subprocess.run(["mkfs.exfat", drive.image], check=True, capture_output=True)
    drive.loop = subprocess.run(["losetup", "-f", "--show", drive.image], check=True, capture_output=True,
                                text=True).stdout.strip()
    drive.look_up()
    with open(drive.loop, "r+b", buffering=0) as disk:
        boot = disk.read(512)
        root = struct.unpack_from("<I", boot, 96)[0]
        heap, (sector, cluster) = struct.unpack_from("<I", boot, 88)[0], boot[108:110]
        bit, sectors = root - 2, 1 << sector

        def set_byte(offset, change):
            at = offset - offset % sectors
            disk.seek(at)
            block = bytearray(disk.read(sectors))
            block[offset - at] = change(block[offset - at])
            disk.seek(at)
            disk.write(block)

        def look(helper, question):
            found = helper.ask("NODE_CHECK", 1, question)
            while found == -errno.EINPROGRESS:
                found = helper.ask("NODE_CHECK", 2, 2)
            return found

        bitmap = heap << sector  # mkfs.exfat puts it into the first cluster
        with NodeHelper(drive) as helper:
            assert look(helper, 1) == 0
            set_byte(bitmap + bit // 8, lambda byte: byte & ~(1 << bit % 8))
            assert look(helper, 0) == 0  # it says that it is clean
            assert look(helper, 1) == 2
            set_byte(106, lambda byte: byte | 2)
            assert look(helper, 0) == 2
            assert "a folder's cluster counts as free" in helper.log()
            set_byte(bitmap + bit // 8, lambda byte: byte | 1 << bit % 8)
            assert look(helper, 0) == 0


def test_another_medium_in_the_same_device_is_not_alive(drive):
    """What a stick looks like that was pulled out and plugged in again elsewhere: the same node, another disk."""
    other = drive.directory / "other"
    other.write_bytes(drive.image.read_bytes())
    drive.unmount()
    subprocess.run(["losetup", "-d", drive.loop], check=True)
    attach = ["losetup", "-r", "-f", "--show", drive.image]
    drive.loop = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    drive.look_up()
    with NodeHelper(drive) as helper:
        assert helper.ask("NODE_ALIVE", 1) == 1
        with open(drive.loop, "rb") as loop, open(other, "rb") as medium:
            fcntl.ioctl(loop, LOOP_CHANGE_FD, medium.fileno())
        assert helper.ask("NODE_ALIVE", 2) == 0
    with NodeHelper(drive, ready=False) as helper:
        assert helper.result()["outcome"] == "DRIVE_GONE"


@pytest.mark.parametrize(
    "fields",
    [
        {"node": b"/dev/null"},
        {"node": b"/dev/loop-control"},
        {"node": b"/nonexistent"},
        {"node": b"/dev/nonexistent"},
        {"minor": 250},
        {"major": 8},
        {"disk_sequence": 1 << 40},
        {"uid": 0},
    ],
)
def test_what_is_not_the_node_is_refused(drive, fields):
    with NodeHelper(drive, ready=False, **fields) as helper:
        result = helper.result()
        assert result["outcome"] in ("DRIVE_GONE", "INVALID_ARGUMENT")
        assert "READY" not in result["records"]


def test_it_ends_when_its_line_closes(drive):
    with NodeHelper(drive) as helper:
        helper.line.close()
        assert helper.result()["outcome"] == "DONE"
        assert helper.status == 0


def test_it_ends_with_the_daemon(drive):
    with NodeHelper(drive) as helper:
        helper.socket.close()
        helper.wait()


def test_nonsense_on_its_line_ends_it(drive):
    with NodeHelper(drive) as helper:
        helper.line.send(HEADER.pack(RECORD["KEYS"], 0))
        assert helper.result()["outcome"] == "FAILED"


# Workers that have a helper: here the test is the helper.


class Line:
    """The other end of a worker's line: answers by a function from question and its count to a result."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(60)

    def serve(self, answer):
        """Until the worker hangs up; returns what was asked."""
        asked = []
        while True:
            try:
                packet = self.ours.recv(4096)
            except ConnectionResetError:
                return asked
            if not packet:
                return asked
            kind = HEADER.unpack_from(packet)[0]
            token, _, _ = NODE_REQUEST.unpack_from(packet, HEADER.size)
            name = next(n for n, number in RECORD.items() if number == kind)
            asked.append(name)
            for reply in answer(name, token):
                self.ours.send(HEADER.pack(RECORD["NODE_DONE"], NODE_DONE.size) + NODE_DONE.pack(*reply, 0))


def enroll_with(drive, answer):
    line, read = Line(), passphrase_pipe(PASSPHRASE)
    with Worker(passphrase=read, node=line.theirs.fileno()) as w:
        line.theirs.close()
        os.close(read)
        w.start(drive, "ENROLL", ["HAS_PASSPHRASE", "HAS_NODE"])
        asked = line.serve(answer)
        return asked, w.result()


def test_a_workers_barriers_go_through_the_helper(drive):
    asked, result = enroll_with(drive, lambda question, token: [(token, 1 if question == "NODE_ALIVE" else 0)])
    assert result["outcome"] == "DONE"
    assert asked.count("NODE_SYNC") >= 2  # one for each copy of drive.json


def test_a_failed_sync_fails_the_enrollment_and_takes_it_back(drive):
    def answer(question, token):
        return [(token, 1 if question == "NODE_ALIVE" else -5)]

    _, result = enroll_with(drive, answer)
    assert result["outcome"] in ("FAILED", "MEDIUM_FAILED")
    assert "key" not in result
    assert not (drive.mount_point / ".usbcrypt").exists()


def test_an_answer_to_an_older_question_is_not_believed(drive):
    """A worker before this one was killed while it waited: its answer (0, all is durable) comes first."""

    def answer(question, token):
        alive = question == "NODE_ALIVE"
        return [(token - 1, 0), (12345, 0), (token, 1 if alive else -5)]

    _, result = enroll_with(drive, answer)
    assert result["outcome"] in ("FAILED", "MEDIUM_FAILED")


def test_a_disk_that_is_gone_is_named_so(enrolled):
    line, read = Line(), passphrase_pipe(PASSPHRASE)
    with Worker(passphrase=read, node=line.theirs.fileno()) as w:
        line.theirs.close()
        os.close(read)
        subprocess.run(["rm", "-r", enrolled.mount_point / ".usbcrypt"], check=True)
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE", "HAS_NODE"])
        line.serve(lambda question, token: [(token, 0)])
        assert w.result()["outcome"] == "DRIVE_GONE"


def test_a_helper_that_died_is_no_success(drive):
    line, read = Line(), passphrase_pipe(PASSPHRASE)
    with Worker(passphrase=read, node=line.theirs.fileno()) as w:
        line.theirs.close()
        line.ours.close()
        os.close(read)
        w.start(drive, "ENROLL", ["HAS_PASSPHRASE", "HAS_NODE"])
        assert w.result()["outcome"] in ("FAILED", "DRIVE_GONE", "MEDIUM_FAILED")


def test_with_the_real_helper(drive):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Worker(node=theirs.fileno()) as helper:
        theirs.close()
        helper.start(drive, "NODE", ["HAS_NODE"], uid=HELPER)
        helper.expect("READY")
        for _ in range(2):  # the line outlives a worker
            read = passphrase_pipe(PASSPHRASE)
            with Worker(passphrase=read, node=ours.fileno()) as w:
                os.close(read)
                enrolled = (drive.mount_point / ".usbcrypt").exists()
                w.start(drive, "UNLOCK" if enrolled else "ENROLL", ["HAS_PASSPHRASE", "HAS_NODE"])
                assert w.result()["outcome"] == "DONE"
        ours.close()
        assert helper.result()["outcome"] == "DONE"


def test_records_are_what_the_header_says():
    assert NODE_DONE.size == 16 and NODE_REQUEST.size == 16
    assert struct.calcsize("@II") == HEADER.size
    assert run  # what the other files use
