# SPDX-License-Identifier: LGPL-2.1-or-later
"""The house stands as drawn, and tests/check-layers would see it if it did not."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("O", ROOT / "build"))


def check(root=ROOT, build=None):
    command = [ROOT / "tests/check-layers", "--root", root] + (["--build", build] if build else [])
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    for folder in ("daemon", "client", "tests/unit"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_the_house_stands_as_drawn():
    done = check(build=BUILD)
    assert done.returncode == 0, done.stdout


def test_a_copy_of_it_does_too(copy):
    assert check(copy).returncode == 0


@pytest.mark.parametrize("path, line, complaint", [
    ("daemon/util/planted.c", '#include "engine/drive.h"', "util may not include engine/drive.h"),
    ("daemon/engine/planted.c", '#include "core/drive.h"', "engine may not include core/drive.h"),
    ("daemon/engine/planted.h", '#include "protocol/record.h"', "engine may not include protocol/record.h"),
    ("daemon/keys/planted.c", '#include "device/device.h"', "keys may not include device/device.h"),
    ("daemon/core/planted.c", '#include "bus/names.h"', "core may not include bus/names.h"),
    ("daemon/core/planted.c", "#include <systemd/sd-bus.h>", "core knows the bus"),
    ("daemon/worker/planted.c", '#include "keys/key-store.h"', "worker may not include keys/key-store.h"),
    ("daemon/worker/planted.c", "#include <systemd/sd-event.h>", "worker knows the event loop"),
    ("daemon/engine/planted.c", "# include <systemd/sd-journal.h>", "engine knows systemd"),
    ("daemon/core/planted.c", "#include <libudev.h>", "core knows udev"),
    ("daemon/util/planted.c", '#include "../bus/bus.h"', "an include that climbs"),
    ("client/planted.c", '#include "engine/suite.h"', "client may include util and bus/names.h"),
    ("client/planted.c", '#include "bus/bus.h"', "client may include util and bus/names.h"),
])
def test_a_planted_include_is_seen(copy, path, line, complaint):
    (copy / path).write_text(line + "\n")
    done = check(copy)
    assert done.returncode == 1
    assert f"{path}:1: {complaint}" in done.stdout


def test_a_file_that_is_too_long_is_seen(copy):
    (copy / "daemon/util/planted.c").write_text("\n" * 601)
    done = check(copy)
    assert done.returncode == 1 and "601 lines" in done.stdout


@pytest.mark.parametrize("symbol", ["sd_bus_open", "udev_new"])
def test_a_symbol_of_the_bus_in_the_engine_is_seen(tmp_path, copy, symbol):
    build = tmp_path / "build"
    build.mkdir()
    shutil.copy(BUILD / "usbcrypt-worker", build)
    (build / "planted.c").write_text(f"int {symbol}(void); int planted(void) {{ return {symbol}(); }}\n")
    subprocess.run(["cc", "-c", "planted.c"], cwd=build, check=True)
    subprocess.run(["ar", "rcs", "libengine.a", "planted.o"], cwd=build, check=True)
    done = check(copy, build)
    assert done.returncode == 1 and f"the engine knows {symbol}" in done.stdout
