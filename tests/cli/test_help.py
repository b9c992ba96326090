# SPDX-License-Identifier: LGPL-2.1-or-later
"""Help, the manual and the completion follow the one table of verbs and options."""

import json
import re
import subprocess

import pytest
from conftest import TOP, golden, usbctl

MANUAL = TOP / "client" / "usbctl.1"
COMPLETION = TOP / "client" / "usbctl.bash-completion"


def table():
    return json.loads(usbctl("help", "--json").out)


VERBS = [
    "list", "status", "enroll", "unenroll", "unlock", "lock", "encrypt", "decrypt", "verify", "recover",
    "header-backup", "monitor", "agent", "help"
]


def test_the_table_has_every_verb_of_the_design():
    assert [verb["name"] for verb in table()["verbs"]] == VERBS


def test_help_is_as_recorded():
    shown = usbctl("help")
    assert (shown.code, shown.err) == (0, "")
    golden("help.txt", shown.out)
    assert usbctl("--help").out == shown.out
    assert usbctl("-h").out == shown.out
    assert usbctl("help", "help").out == shown.out


@pytest.mark.parametrize("verb", VERBS[:-1])
def test_help_of_a_verb_is_as_recorded(verb):
    shown = usbctl("help", verb)
    assert (shown.code, shown.err) == (0, "")
    golden(f"help-{verb}.txt", shown.out)
    assert usbctl(verb, "--help").out == shown.out
    assert usbctl("--help", verb, "whatever").out == shown.out


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_eighty_columns(verb):
    assert max(map(len, usbctl("help", verb).out.splitlines())) < 80


def test_version():
    shown = usbctl("--version")
    assert shown.code == 0 and re.fullmatch(r"usbctl \d+\.\d+\.\d+\n", shown.out)
    assert json.loads(usbctl("--version", "--json").out)["version"] in shown.out


def complete(*words):
    """What bash offers for the last of these words."""
    script = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _usbctl
[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' "${COMPREPLY[@]}\""""
    done = subprocess.run(
        ["bash", "-u", "-c", script, "bash", str(COMPLETION), "usbctl", *words],
        capture_output=True,
        timeout=30,
        check=False,
        cwd="/proc/self/fdinfo/..",
        env={"PATH": "/usr/bin:/bin"})
    assert done.stderr == b""
    return sorted(done.stdout.decode().split())


def test_completion_offers_the_verbs():
    assert complete("") == sorted(VERBS)
    assert complete("en") == ["encrypt", "enroll"]
    assert complete("--json", "uni") == []
    assert complete("help", "h") == ["header-backup", "help"]


@pytest.mark.parametrize("verb", VERBS)
def test_completion_offers_a_verbs_options(verb):
    described = table()
    own = next(row["options"] for row in described["verbs"] if row["name"] == verb)
    common = [row["name"] for row in described["options"] if row["common"]]
    assert complete(verb, "--") == sorted("--" + name for name in own + common)


def test_completion_of_values():
    assert complete("enroll", "--suite", "x") == ["xchacha20-poly1305"]
    assert "/etc" in complete("decrypt", "--to", "/et")
    assert complete("unlock", "--passphrase-fd", "") == []


def manual():
    return MANUAL.read_text().replace("\\-", "-")


@pytest.mark.parametrize("verb", VERBS)
def test_the_manual_has_every_verb_with_its_words(verb):
    row = next(row for row in table()["verbs"] if row["name"] == verb)
    head = re.search(rf"^\.SS (.*)\n\.B usbctl {re.escape(verb)}\b(.*)$", manual(), re.M)
    assert head, f"no section on {verb}"
    plain = re.sub(r"\\f[BIRP]|\\ |\"", lambda found: " " if found[0] == "\\ " else "", head[2])
    for word in row["arguments"].split():
        assert word in plain


def test_the_manual_has_every_option():
    text = manual()
    assert [row["name"] for row in table()["options"] if f"--{row['name']}" not in text] == []


def test_the_manual_has_every_exit_code():
    codes = re.findall(r"^  (\d)  (.*)$", usbctl("help").out, re.M)
    assert [code for code, _ in codes] == [str(i) for i in range(10)]
    for code, text in codes:
        assert re.search(rf"^\.B {code}\n.*{re.escape(text.split(':')[0].split(',')[0])}", manual(), re.M | re.I)


def test_the_manual_formats_without_complaint():
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(MANUAL)],
        capture_output=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""})
    assert (done.returncode, done.stderr.decode()) == (0, "")
