# SPDX-License-Identifier: LGPL-2.1-or-later
"""What usbcrypt-worker is once it says READY, as the kernel tells it, and what it refuses to be started as. What the
sandbox forbids is tried one by one in tests/unit/test-sandbox.c, by a process that goes the same way."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from conftest import PASSPHRASE
from worker import BINARY, FLAG, HEADER, JOB, JOB_RECORD, KEYS_RECORD, NOBODY, RECORD, Worker, run

CAPABILITIES_OF_ROOT = sum(1 << c for c in (0, 1, 3, 4, 28))  # CHOWN DAC_OVERRIDE FOWNER FSETID LEASE


class Waiting(Worker):
    """A worker that waits for its passphrase: sandbox closed, drive open."""

    def __init__(self, drive, kind="UNLOCK", **fields):
        self.read, self.write = os.pipe()
        super().__init__(passphrase=self.read)
        self.start(drive, kind, ["HAS_PASSPHRASE"], **fields)
        self.expect("READY")

    def proc(self, name):
        with open("/proc/%d/%s" % (self.pid, name), encoding="utf-8", errors="replace") as f:
            return f.read()

    def status_field(self, name):
        return next(l for l in self.proc("status").splitlines() if l.startswith(name + ":")).split("\t", 1)[1]

    def close(self):
        super().close()
        os.close(self.read)
        os.close(self.write)


def test_it_is_the_caller_and_nobody_else(enrolled):
    with Waiting(enrolled, uid=NOBODY, gid=100, groups=[100, 3000, 20]) as w:
        assert w.status_field("Uid").split() == [str(NOBODY)] * 4
        assert w.status_field("Gid").split() == ["100"] * 4
        assert sorted(w.status_field("Groups").split()) == ["100", "20", "3000"]
        for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(w.status_field(field), 16) == 0, field
        assert w.status_field("NoNewPrivs") == "1"
        assert w.status_field("Seccomp") == "2"


def test_for_root_it_keeps_five_capabilities(enrolled):
    with Waiting(enrolled, uid=0) as w:
        for field in ("CapPrm", "CapEff", "CapBnd"):
            assert int(w.status_field(field), 16) == CAPABILITIES_OF_ROOT, field
        for field in ("CapInh", "CapAmb"):
            assert int(w.status_field(field), 16) == 0, field
        assert w.status_field("Seccomp") == "2"


def test_it_holds_no_descriptor_but_its_own(enrolled):
    keep = os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(keep, True)
    with Waiting(enrolled) as w:
        held = {int(fd): os.readlink("/proc/%d/fd/%s" % (w.pid, fd)) for fd in os.listdir("/proc/%d/fd" % w.pid)}
        assert "/etc/shadow" not in held.values()
        assert set(held) & {3, 4} == {3, 4}
        beyond = {path for fd, path in held.items() if fd > 4}
        assert all(path.startswith(str(enrolled.mount_point)) for path in beyond), held
    os.close(keep)


def test_its_limits(enrolled):
    with Waiting(enrolled) as w:
        limits = {l[:26].strip(): l[26:].split()[:2] for l in w.proc("limits").splitlines()}
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max open files"][0] == limits["Max open files"][1]
        assert limits["Max locked memory"][0] == limits["Max locked memory"][1]


def test_its_environment_and_arguments_are_empty(enrolled):
    with Waiting(enrolled) as w:
        assert w.proc("environ").strip("\0") in ("", "")
        assert w.proc("cmdline") == str(BINARY) + "\0"


def locked_kilobytes(w, mapping):
    smaps = w.proc("smaps")
    return int(re.search(r"%s\n(?:.*\n)*?Locked: +(\d+) kB" % re.escape(mapping), smaps).group(1))


@pytest.mark.skipif("address" in os.environ.get("SANITIZE", ""), reason="AddressSanitizer makes mlock() do nothing")
def test_what_the_passphrase_policy_works_in_is_locked(drive):
    """I8: libpwquality and cracklib copy the passphrase to the heap and to the stack."""
    with Waiting(drive, "ENROLL") as w:
        assert locked_kilobytes(w, "[heap]") >= 512
        assert locked_kilobytes(w, "[stack]") >= 128


OUTSIDER = """
    import ctypes, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    pid = int(sys.argv[1])
    libc.setgroups(0, None)
    os.setresgid(%d, %d, %d)
    os.setresuid(%d, %d, %d)
    found = []
    for name in ("mem", "maps", "environ", "auxv", "syscall", "stack", "fd/3", "root", "cwd"):
        try:
            os.close(os.open("/proc/%%d/%%s" %% (pid, name), os.O_RDONLY))
            with open("/proc/%%d/%%s" %% (pid, name), "rb") as f:
                f.read(1)
            found.append(name)
        except OSError:
            pass
    if libc.ptrace(0x4206, pid, 0, 0) == 0:
        found.append("ptrace")
    try:
        pidfd = os.pidfd_open(pid)
        if libc.syscall(438, pidfd, 3, 0) >= 0:
            found.append("pidfd_getfd")
    except OSError:
        pass
    print(" ".join(found))
""" % ((NOBODY,) * 6)


def look_from_outside(pid):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OUTSIDER), str(pid)], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_another_process_of_the_user_cannot_look_into_it(enrolled):
    with Waiting(enrolled) as w:
        assert look_from_outside(w.pid) == ""


def test_and_into_an_ordinary_process_it_can(enrolled):
    """So that the test above can fail."""
    setpriv = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    victim = subprocess.Popen([*setpriv, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        victim.stdin.write(b"x")
        victim.stdin.flush()
        assert victim.stdout.read(1) == b"x"  # by now it is cat, and nobody
        assert "ptrace" in look_from_outside(victim.pid)
    finally:
        victim.kill()
        victim.wait()


def test_the_order_in_which_it_becomes_what_it_is(enrolled, tmp_path):
    """Out of the daemon's keyring before the drop, undumpable after it, the drive opened after that, and nothing
    executed between the drop and the end; READY comes last."""
    trace = tmp_path / "trace"
    read, write = os.pipe()
    os.close(write)
    strace = ["/usr/bin/strace", "-qq", "-o", str(trace), str(BINARY)]
    with Worker(passphrase=read, arguments=strace) as w:
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE"], refuse_traced=0)
        assert w.result()["outcome"] == "INVALID_ARGUMENT"  # an empty passphrase
    os.close(read)
    calls = trace.read_text(encoding="utf-8")
    steps = (
        r"execve\(",
        r"prctl\(PR_SET_DUMPABLE, SUID_DUMP_DISABLE\)",
        r"recvmsg\(3",
        r"keyctl\(KEYCTL_JOIN_SESSION_KEYRING, NULL\)",
        r"prctl\(PR_SET_NO_NEW_PRIVS, 1",
        r"setgroups\(",
        r"setresgid\(%d, %d, %d\)" % ((NOBODY,) * 3),
        r"setresuid\(%d, %d, %d\)" % ((NOBODY,) * 3),
        r"prctl\(PR_SET_DUMPABLE, SUID_DUMP_DISABLE\)",
        re.escape('"%s", O_RDONLY' % enrolled.mount_point),
        r"landlock_restrict_self\(.* = 0",
        r"seccomp\(SECCOMP_SET_MODE_FILTER",
        r"sendmsg\(3",
        r"read\(4, \"\"",
    )
    at = 0
    for step in steps:
        found = re.compile(step).search(calls, at)
        assert found, "%s does not come after what has to come before it:\n%s" % (step, calls)
        at = found.end()
    assert calls.count("execve(") == 1


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "GCONV_PATH"])
def test_a_loaded_environment_is_refused(enrolled, variable):
    with Worker(environment={variable: "/nonexistent"}) as w:
        assert w.wait() == 1
        assert "Cannot start" in w.log()


def test_it_starts_for_root_alone(enrolled):
    def drop():
        os.setresuid(NOBODY, NOBODY, NOBODY)

    with Worker(before_exec=drop) as w:
        assert w.wait() != 0


@pytest.mark.parametrize("refuse, outcome", [(1, "REFUSED_ENVIRONMENT"), (0, "WRONG_PASSPHRASE")])
def test_a_traced_worker_holds_no_keys(enrolled, refuse, outcome):
    libc = ctypes.CDLL(None, use_errno=True)
    read, write = os.pipe()
    os.write(write, b"wrong")
    os.close(write)
    with Worker(passphrase=read) as w:
        assert libc.ptrace(0x4206, w.pid, 0, 0) == 0  # PTRACE_SEIZE: the worker is before its job
        w.start(enrolled, "UNLOCK", ["HAS_PASSPHRASE"], refuse_traced=refuse)
        result = {"records": []}
        while True:
            record = w.receive()
            assert record
            if record[0] == "RESULT":
                break
            result["records"].append(record[0])
        assert ("READY" in result["records"]) == (refuse == 0)
        from worker import OUTCOMES  # pylint: disable=import-outside-toplevel

        assert OUTCOMES[int.from_bytes(record[1][:4], sys.byteorder)] == outcome
    os.close(read)


def test_closed_standard_streams_are_no_trap(enrolled):
    def close_them():
        for fd in (0, 1, 2):
            os.close(fd)

    with Worker(before_exec=close_them) as w:
        w.start(enrolled, "PROBE", uid=1234)
        assert w.result()["outcome"] == "DONE"


@pytest.mark.skipif("address" in os.environ.get("SANITIZE", ""), reason="AddressSanitizer makes mlock() do nothing")
def test_memory_that_cannot_be_locked_stops_it(enrolled):
    def no_locked_memory():
        # As a unit without CAP_SYS_RESOURCE and CAP_IPC_LOCK: nothing gets past the limit.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (14, 24):
            libc.prctl(24, capability, 0, 0, 0)

    before = enrolled.bytes()
    read, write = os.pipe()
    os.write(write, PASSPHRASE)
    os.close(write)
    with Worker(passphrase=read, before_exec=no_locked_memory) as w:
        assert w.wait() != 0
        assert w.receive() is None
    os.close(read)
    assert enrolled.bytes() == before


@pytest.mark.parametrize(
    "packets",
    [
        [b""],
        [b"x"],
        [HEADER.pack(RECORD["JOB"], 0)],
        [HEADER.pack(99, 0)],
        [HEADER.pack(RECORD["START"], 0)],
        [HEADER.pack(RECORD["KEYS"], KEYS_RECORD.size) + bytes(KEYS_RECORD.size)],
        [HEADER.pack(RECORD["JOB"], JOB_RECORD.size) + b"\xff" * JOB_RECORD.size],
        [os.urandom(8192)] * 4,
    ],
)
def test_nonsense_over_the_socket_ends_it(packets):
    with Worker() as w:
        for packet in packets:
            try:
                w.socket.send(packet)
            except (BrokenPipeError, ConnectionResetError):
                break
        w.socket.shutdown(__import__("socket").SHUT_WR)
        assert w.wait() in (0, 1)


def test_a_job_of_no_kind(drive):
    with Worker() as w:
        values = [0] * (5 + 256 + 3 + 2) + [b"", b"", b""] + [0] * 7
        w.send("JOB", JOB_RECORD.pack(*values))
        w.send("START")
        assert w.result()["outcome"] == "INVALID_ARGUMENT"


def test_keys_that_do_not_come(enrolled):
    for present, outcome in ((0, "INVALID_ARGUMENT"), (2, "INVALID_ARGUMENT")):
        with Worker() as w:
            w.start(enrolled, "VERIFY")
            w.expect("READY")
            w.send("KEYS", KEYS_RECORD.pack(present, 1, 1, bytes(16), bytes(160)))
            assert w.result()["outcome"] == outcome


def test_keys_of_another_drive_are_tampering(enrolled):
    before = enrolled.bytes()
    for job in ("VERIFY", "ENCRYPT", "DECRYPT", "RECOVER"):
        with Worker() as w:
            w.start(enrolled, job)
            w.expect("READY")
            w.send("KEYS", KEYS_RECORD.pack(0x1E, 1, 1, os.urandom(16), os.urandom(160)))
            assert w.result()["outcome"] == "TAMPERED"
    assert enrolled.bytes() == before


@pytest.mark.parametrize("job", ["ENCRYPT", "DECRYPT", "RECOVER"])
def test_a_read_only_mount_is_refused_before_keys_are_asked_for(enrolled, job):
    enrolled.remount("ro")
    result = run(enrolled, job)
    assert result["outcome"] == "READ_ONLY"
    assert "READY" not in result["records"]


def test_flags_of_the_header_are_those_that_are_tested():
    assert {"HAS_PASSPHRASE", "HAS_TARGET", "HAS_NODE"} < set(FLAG)
    assert len(JOB) == 11  # with KIND_MAX: a new kind of job wants tests of its own
    assert signal.SIGSYS == 31
