# SPDX-License-Identifier: LGPL-2.1-or-later
"""usbctl where it is read and typed at: terminals of any width, none at all, nobody who reads; and what a drive may make
it print."""

import re

import pytest

from testbed import tree
from testbed.drive import DONE, FAILED, INTERRUPTED, NOT_AUTHORIZED, PASSPHRASE, USAGE, usbctl

# Arabic, a line feed, a colour, a terminal's answer-back, right-to-left override, C1's CSI, and what is no UTF-8.
HOSTILE = ["\u0645\u0631\u062d\u0628\u0627\nusbctl: all is well".encode(), b"\x1b[31mred", b"\x05\x1bZ", "\u202egpj.exe".encode(),
           "\u009b31m".encode(), b"\xff\xfe", b"back\\slash"]
SHOWN = ["\u0645\u0631\u062d\u0628\u0627\\x0ausbctl: all is well", "\\x1b[31mred", "\\x05\\x1bZ", "\\xe2\\x80\\xaegpj.exe",
         "\\xc2\\x9b31m", "\\xff\\xfe", "back\\x5cslash"]


PART = r"[0-9,]+/154 files|[0-9.]+ [KM]iB/s|[0-9]+:[0-9]{2} left"
PROGRESS = re.compile(rf"(?:[A-Z][a-z]+ +)?[0-9]+%(?:  \[[#.]+\])?(?:  (?:{PART})(?:, (?:{PART}))*)?|[A-Z][a-z]+(?:  0 files)?|")


def on_terminal(machine, columns, *arguments):
    """Runs it as alice on a terminal of that width; returns its lines of progress and what it said in the end."""
    script = f'stty columns {columns}; exec "$@"'
    with machine.terminal(["sh", "-c", script, "sh", "usbctl", *arguments], user="alice") as terminal:
        assert terminal.finish() == DONE
    *lines, said = terminal.seen.decode().replace("\r\n", "\n").split("\x1b[K")
    return [line.removeprefix("\r") for line in lines], said


def test_progress_fits_any_terminal_in_whole_parts(machine, slow):
    drive, _ = slow()
    for verb, columns in (("encrypt", 100), ("decrypt", 31), ("encrypt", 16), ("decrypt", 12)):
        lines, said = on_terminal(machine, columns, verb, drive.stick.device)
        assert all(PROGRESS.fullmatch(line) and len(line) < columns for line in lines), (columns, lines)
        assert any("%" in line for line in lines), (columns, lines)
        assert said.startswith(f"{verb.capitalize()}ed 154 files"), said


@pytest.mark.parametrize("columns", [1, 11])
def test_a_terminal_too_narrow_for_progress_gets_none(machine, enrolled, columns):
    tree.make(enrolled.files)
    lines, said = on_terminal(machine, columns, "encrypt", enrolled.stick.device)
    assert lines == [] and said.startswith("Encrypted ")


@pytest.fixture
def hostile(enrolled):
    """A drive of alice's whose files have hostile names, and cannot be read by her."""
    for name in HOSTILE:
        tree.write(enrolled.files, name, b"secret", mode=0o600)
    return enrolled


def test_hostile_names_are_escaped_for_people(machine, hostile):
    with machine.terminal(["usbctl", "encrypt", hostile.stick.device, "--dry-run"], user="alice") as terminal:
        assert terminal.finish() == FAILED
        text = re.sub(r"\r[^\r\n]*\x1b\[K", "", terminal.seen.decode())
    lines = text.replace("\r\n", "\n").splitlines()
    assert {line.removeprefix("usbctl: ").split(": no permission")[0] for line in lines[:-1]} == set(SHOWN)
    assert all(character.isprintable() for line in lines for character in line), lines
    # And as words of the command line.
    for name, shown in zip(HOSTILE, SHOWN):
        done = machine.run([b"usbctl", b"status", name], user="alice", check=False)
        assert shown in done.stderr and done.stderr[:-1].isprintable(), done.stderr


def test_hostile_names_are_exact_for_programs(hostile):
    assert set(hostile.encrypt("--dry-run", expect=FAILED).failures) == {
        name if b"\xff" in name else name.decode() for name in HOSTILE}


def test_without_a_terminal_nobody_is_asked(machine, drive):
    refused = machine.run(["usbctl", "enroll"], user="alice", check=False, timeout=20)
    assert refused.returncode == USAGE and "--passphrase-file" in refused.stderr
    assert not (drive.files / ".usbcrypt").exists()


@pytest.mark.parametrize("terminal", [False, True], ids=["no terminal", "no pkttyagent"])
def test_without_a_polkit_agent_it_is_exit_4_and_says_so(machine, make_drive, terminal):
    drive = make_drive(owner="carol")
    machine.shell('umask 077; printf %s "$1" >secret', arguments=[PASSPHRASE], user="carol")
    command = ["env", "PATH=/nonexistent", "/usr/bin/usbctl", "enroll", "--passphrase-file", "secret"]
    if terminal:
        with machine.terminal(command, user="carol") as screen:
            assert screen.finish() == NOT_AUTHORIZED
            said = screen.seen.decode()
    else:
        refused = machine.run(command, user="carol", check=False, timeout=20)
        assert refused.returncode == NOT_AUTHORIZED
        said = refused.stderr
    assert "there is no polkit agent to ask for it" in said
    assert not (drive.files / ".usbcrypt").exists()


# What becomes of its output, and what it then exits with.
OUTPUTS = [(">&-", FAILED), (">/dev/full", FAILED), ("| true", FAILED), ("2>&-", DONE), ("2>/dev/full", DONE), (">&- 2>&- <&-", FAILED)]


@pytest.mark.parametrize("output, code", OUTPUTS, ids=[output for output, _ in OUTPUTS])
@pytest.mark.parametrize("json_option", ["", "--json"])
def test_a_run_goes_to_its_end_whoever_reads(machine, enrolled, output, code, json_option):
    tree.make(enrolled.files)
    script = f"set -o pipefail; usbctl encrypt {enrolled.stick.device} {json_option} {output}"
    done = machine.run(["bash", "-c", script], user="alice", check=False)
    assert done.returncode == code, done
    assert not tree.plain(enrolled.files)


def test_status_of_two_drives_tells_both(machine, make_drive, slow):
    """In either order: what is pending on one of them is not forgotten over the other."""
    drive, _ = slow()
    other = make_drive("exfat")
    running = drive.begin("encrypt")
    drive.wait_running(20)
    drive.stick.yank()
    running.communicate(timeout=60)
    places = set()
    # Loop devices are numbered in the order in which they are plugged in, but for others of this machine that come and go.
    for order in [(drive, other), (other, drive)] * 4:
        if len(places) == 2:
            break
        for each in order:
            if each.stick.loop:
                each.stick.unmount()
                each.stick.unplug()
        for each in order:
            each.plug()
        done = machine.run(["usbctl", "status"], user="alice", check=False)
        texts = done.stdout.split("\n\n")
        assert done.returncode == INTERRUPTED and len(texts) == 2
        pending, fresh = sorted(texts, key=lambda text: "exfat" in text)
        assert "locked, recovery pending" in pending and "unlock it, then 'usbctl recover'" in pending
        assert "not enrolled" in fresh and "'usbctl enroll'" in fresh
        document = usbctl(machine, "status", expect=INTERRUPTED).document
        assert document["result"] == "Interrupted"
        assert {d["device"]: d["pending"] for d in document["drives"]} == {
            drive.stick.device: "encrypt", other.stick.device: ""}
        places.add(texts.index(pending))
    assert places == {0, 1}
