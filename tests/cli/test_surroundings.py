# SPDX-License-Identifier: LGPL-2.1-or-later
"""argc 0, closed standard streams, a hostile environment; and no daemon."""

import ctypes
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest
from conftest import DEADLINE, ENVIRONMENT, USBCTL, usbctl

VERBS = {
    "list": [],
    "status": [],
    "enroll": [],
    "unenroll": [],
    "unlock": [],
    "lock": [],
    "encrypt": ["STICK", "a"],
    "decrypt": [],
    "verify": [],
    "recover": ["--resume"],
    "header-backup": ["FILE"],
    "monitor": [],
    "agent": [],
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_bus_is_exit_8_with_advice(verb, tmp_path):
    for address in ["unix:path=/nonexistent", "rubbish", "unix:", "", "tcp:host=256.0.0.1,port=1", "\n"]:
        failed = usbctl(verb, *VERBS[verb], "--json", env={"DBUS_SYSTEM_BUS_ADDRESS": address}, cwd=tmp_path)
        document = json.loads(failed.out.splitlines()[-1])
        assert failed.code == document["exit_code"] == 8
        assert (document["verb"], document["result"]) == (verb, "Unreachable")
        assert "Is dbus running?" in failed.err or "Is it installed?" in failed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_no_daemon_on_the_bus_is_exit_8_with_advice(verb, empty_bus, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    failed = usbctl(verb, *VERBS[verb], env={"DBUS_SYSTEM_BUS_ADDRESS": empty_bus}, cwd=here)
    assert (failed.code, failed.out) == (8, "")
    assert failed.err == ("usbctl: usbcryptd is not running and cannot be started by the bus. Is it installed? "
                          "See 'systemctl status usbcryptd', and 'journalctl -u usbcryptd' for its log.\n")
    assert list(here.iterdir()) == []


def exec_without_arguments():
    """In a child: execve() with an empty argv, which Python's own functions refuse."""
    libc = ctypes.CDLL(None, use_errno=True)
    argv = (ctypes.c_char_p * 1)(None)
    envp = (ctypes.c_char_p * 1)(None)
    libc.execve(os.fsencode(USBCTL), argv, envp)
    os._exit(99)


def test_argc_0_is_wrong_usage():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        exec_without_arguments()
    os.close(writer)
    with os.fdopen(reader, "rb") as errors:
        text = errors.read().decode()
    _, status = os.waitpid(pid, 0)
    # Linux 5.18 and later put one empty argument in place of none.
    assert os.waitstatus_to_exitcode(status) == 2
    assert text.startswith("usbctl: ")


def run_with_closed(fds, *arguments):
    """Runs it by way of sh, which closes the descriptors."""
    closing = " ".join(f"{fd}>&-" if fd else "<&-" for fd in fds)
    return subprocess.run(["sh", "-c", f'exec "$0" "$@" {closing}', str(USBCTL), *arguments],
                          env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL,
                          capture_output=True,
                          timeout=DEADLINE,
                          check=False)


@pytest.mark.parametrize("fds", [[0], [2], [0, 2]], ids=str)
def test_closed_streams_do_not_matter_where_nothing_is_lost(fds):
    done = run_with_closed(fds, "help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"usbctl encrypts")


@pytest.mark.parametrize("fds", [[1], [0, 1], [1, 2], [0, 1, 2]], ids=str)
def test_a_result_that_cannot_be_written_is_a_failure(fds):
    done = run_with_closed(fds, "help")
    assert (done.returncode, done.stdout) == (1, b"")
    if 2 not in fds:
        assert done.stderr == b"usbctl: The result could not be written to standard output.\n"


def test_a_full_standard_output_is_a_failure():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(USBCTL), "help"], env=ENVIRONMENT, stdout=full, timeout=DEADLINE, check=False)
    assert done.returncode == 1


def test_a_reader_that_left_is_a_failure_not_a_signal():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([str(USBCTL), "help"], env=ENVIRONMENT, stdout=writer, timeout=DEADLINE, check=False)
    os.close(writer)
    assert done.returncode == 1


def test_quiet_needs_no_standard_output():
    assert run_with_closed([1], "help", "-q").returncode == 1  # help is all it is about
    assert run_with_closed([0, 1, 2], "list", "-q").returncode == 8


HOSTILE = {
    "LC_ALL": "rubbish/../../etc/passwd",
    "LANG": "\xff\xfe",
    "LANGUAGE": "%n%n%n",
    "COLUMNS": "1",
    "LINES": "-1",
    "TERM": "",
    "TZ": ":/etc/passwd",
    "HOME": "",
    "TMPDIR": "/nonexistent",
    "POSIXLY_CORRECT": "1",
    "MALLOC_CHECK_": "3",
    "DBUS_SESSION_BUS_ADDRESS": "rubbish",
    "SYSTEMD_LOG_LEVEL": "rubbish",
    "LONG": "x" * 100_000,
}


def test_a_hostile_environment_changes_nothing():
    assert usbctl("help", env=HOSTILE).out == usbctl("help").out
    failed = usbctl("list", env=HOSTILE)
    assert (failed.code, failed.err) == (8, usbctl("list").err)


def test_an_empty_environment_changes_nothing():
    done = subprocess.run([str(USBCTL), "help"], env={}, capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, usbctl("help").out)


LONG = "a" * 131_000  # an argument has at most 128 KiB


@pytest.mark.parametrize(
    "arguments",
    [[LONG], ["--" + LONG], ["-" + LONG], ["help", LONG], ["unlock", "--timeout", "9" * 131_000],
     ["unlock", "--passphrase-fd", "1" * 131_000], ["enroll", "--suite", LONG], ["list"] + ["x" * 1000] * 1000,
     ["\x1b[2J\u202e\\"], ["\udcff\udcfe"]],
    ids=["verb", "option", "letters", "help", "timeout", "fd", "suite", "million", "escapes", "bytes"])
def test_long_and_odd_arguments_are_refused_in_few_printable_words(arguments):
    refused = usbctl(*arguments)
    assert refused.code == 2
    assert len(refused.err) < 400
    assert refused.err[:-1].isprintable()


def test_a_million_characters_of_paths_get_as_far_as_the_bus():
    assert usbctl("encrypt", "STICK", *(["p" * 1000] * 1000)).code == 8


def in_terminal(columns, arguments, env):
    """Runs it on a terminal of that width. Returns the exit code and what the terminal was sent."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execve(USBCTL, [str(USBCTL), *arguments], env)
    shown, deadline = b"", time.monotonic() + DEADLINE
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, "it hangs"
        try:
            part = os.read(terminal, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


@pytest.mark.parametrize("columns", [0, 1, 2, 80, 65535])
@pytest.mark.parametrize("term", [None, "", "dumb", "xterm", "x" * 5000])
def test_terminals_of_any_width_and_kind(columns, term):
    env = dict(ENVIRONMENT, **({} if term is None else {"TERM": term}))
    code, shown = in_terminal(columns, ["help"], env)
    assert (code, shown.replace("\r\n", "\n")) == (0, usbctl("help").out)
    code, shown = in_terminal(columns, ["unlock"], env)
    assert code == 8 and "\x1b" not in shown


def test_json_is_one_document_a_line():
    for arguments in [["help"], ["--version"], ["list"], ["frobnicate"]]:
        lines = usbctl(*arguments, "--json").out.splitlines()
        assert len(lines) == 1
        document = json.loads(lines[0])
        assert list(document)[:2] == ["type", "verb"] and list(document)[-1] == "exit_code"


def test_errors_go_to_standard_error_alone():
    failed = usbctl("list")
    assert failed.out == "" and failed.err.startswith("usbctl: ")
    assert usbctl("list", "-q").err == failed.err
