# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frozen files are what their script makes, and a reader written from FORMAT.md alone judges each as its header says."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def check(directory):
    return subprocess.run([sys.executable, "-B", HERE / "generate.py", "--check", "--directory", directory],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_they_are_what_the_script_makes_and_the_reference_reader_agrees():
    done = check(HERE)
    assert done.returncode == 0, done.stdout


def test_one_that_changed_is_noticed(tmp_path):
    for folder in ("files", "drives"):
        (tmp_path / folder).mkdir()
        for vector in (HERE / folder).iterdir():
            (tmp_path / folder / vector.name).write_bytes(vector.read_bytes())
    for name in ("drive-v1.tar.gz", "drive-v1.txt"):
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    assert check(tmp_path).returncode == 0
    changed = next((tmp_path / "files").iterdir())
    changed.write_bytes(changed.read_bytes() + b"\0")
    done = check(tmp_path)
    assert done.returncode != 0 and changed.name in done.stdout
