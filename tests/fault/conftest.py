# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import subprocess
from pathlib import Path

import pytest

import worker

PASSPHRASE = b"correct horse 7 battery staple"


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def drive(tmp_path):
    """A fresh drive that belongs to nobody(65534), not enrolled."""
    fresh = worker.Drive(tmp_path)
    yield fresh
    fresh.close()


@pytest.fixture(scope="session")
def enrolled_image(tmp_path_factory):
    made = worker.Drive(tmp_path_factory.mktemp("enrolled"))
    try:
        result = worker.run(made, "ENROLL", PASSPHRASE)
        assert result["outcome"] == "DONE", result
        made.unmount()
        yield made.image
    finally:
        made.close()


@pytest.fixture
def enrolled(tmp_path, enrolled_image):
    """A drive that opens with PASSPHRASE."""
    copy = worker.Drive(tmp_path, image=enrolled_image)
    yield copy
    copy.close()


@pytest.fixture(scope="session")
def kill_at(tmp_path_factory):
    """The program of kill-at.c."""
    program = tmp_path_factory.mktemp("kill-at") / "kill-at"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-Wall", "-Werror", "-o", program,
                    Path(__file__).with_name("kill-at.c")], check=True)
    return program
