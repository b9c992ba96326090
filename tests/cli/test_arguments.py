# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line: what is refused, with which words, before anything is done."""

import json

import pytest
from conftest import golden, usbctl

REFUSED = [
    [],
    ["--"],
    ["frobnicate"],
    ["--frobnicate"],
    ["-x", "list"],
    ["-qh2", "list"],
    ["list", "--force"],
    ["list", "STICK"],
    ["list", "--json=yes"],
    ["status", "A", "B"],
    ["help", "frobnicate"],
    ["unlock", "--passphrase-fd"],
    ["unlock", "--passphrase-fd", "x"],
    ["unlock", "--passphrase-fd", "-1"],
    ["unlock", "--passphrase-fd", "99999999999999999999"],
    ["unlock", "--passphrase-fd=3", "--passphrase-file=x"],
    ["unlock", "--passphrase-file", ""],
    ["unlock", "--passphrase", "secret"],
    ["unlock", "--timeout", "soon"],
    ["unlock", "--timeout", "0"],
    ["unlock", "--timeout", "5x"],
    ["unlock", "--timeout", "-5"],
    ["unlock", "--timeout", "367d"],
    ["unlock", "--timeout", "18446744073709551617s"],
    ["enroll", "--suite", "null"],
    ["lock", "--all", "STICK"],
    ["encrypt", "--to", "DIR"],
    ["decrypt", "--no-scrub"],
    ["decrypt", "--to", "DIR", "--unverified-medium"],
    ["verify", "--dry-run"],
    ["recover", "--resume", "--rollback"],
    ["recover", "--settle", "--resume"],
    ["header-backup"],
    ["header-backup", "A", "B", "C"],
    ["monitor", "STICK"],
    ["agent", "STICK"],
]


def test_wrong_usage_is_told_as_recorded():
    text = ""
    for arguments in REFUSED:
        refused = usbctl(*arguments)
        assert (refused.code, refused.out) == (2, ""), arguments
        assert refused.err.count("\n") == 1, arguments
        text += f"$ usbctl {' '.join(repr(word) if not word or ' ' in word else word for word in arguments)}\n"
        text += refused.err
    golden("usage.txt", text)


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_wrong_usage_is_one_document_with_json(arguments):
    refused = usbctl(*[word for word in arguments if word != "--"], "--json")
    document = json.loads(refused.out)
    assert refused.code == document["exit_code"] == 2
    assert (document["type"], document["result"]) == ("result", "Usage")
    assert document["message"] in refused.err


ACCEPTED = [
    ["list"],
    ["-q", "list"],
    ["list", "--", ],
    ["--json", "list"],
    ["status", "--", "--odd-label"],
    ["unlock", "--timeout", "90s"],
    ["unlock", "--timeout=15min"],
    ["unlock", "--timeout", "366d", "--passphrase-file", "-"],
    ["unlock", "-", "--passphrase-fd", "0"],
    ["enroll", "--suite", "chacha20-poly1305"],
    ["encrypt", "STICK", "a", "b", "--skip-unfit", "--no-scrub", "--dry-run", "--unverified-medium"],
    ["decrypt", "--to", "DIR", "STICK"],
    ["recover", "--rollback", "--dry-run"],
    ["header-backup", "FILE"],
    ["lock", "--all", "--force"],
]


@pytest.mark.parametrize("arguments", ACCEPTED, ids=" ".join)
def test_right_usage_gets_as_far_as_the_bus(arguments):
    reached = usbctl(*arguments)
    assert reached.code == 8
    assert "system bus" in reached.err


def test_no_option_takes_the_passphrase_itself():
    described = json.loads(usbctl("help", "--json").out)
    assert {row["name"]: row["value"] for row in described["options"] if "passphrase" in row["name"]} == {
        "passphrase-fd": "N",
        "passphrase-file": "FILE",
    }
