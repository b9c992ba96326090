# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running usbctl where no daemon is: what it prints, what it exits with, what it does in odd surroundings."""

import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
USBCTL = pathlib.Path(os.environ.get("USBCTL") or TOP / os.environ.get("O", "build") / "usbctl")
DEADLINE = 30  # seconds: nothing here waits for anything, a hang is a failure

# Where no bus is; a test that wants one overrides it.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/usbcrypt-bus",
}


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()


def usbctl(*arguments, env=None, **options):
    environment = dict(ENVIRONMENT, **(env or {}))
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        [str(USBCTL), *arguments], env=environment, capture_output=True, timeout=DEADLINE, check=False, **options)
    return Result(done)


def golden(name, text):
    """The text must be what tests/cli/golden/NAME holds; UPDATE_GOLDEN=1 writes it there instead."""
    path = HERE / "golden" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.fixture(scope="session", autouse=True)
def built():
    if not USBCTL.exists():
        pytest.fail(f"{USBCTL} is not built")


@pytest.fixture
def empty_bus(tmp_path):
    """A message bus of our own, on which nobody is and nothing can be started. Yields its address."""
    config = tmp_path / "bus.conf"
    config.write_text(f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path={tmp_path}/socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
""")
    # It prints its address when it is ready.
    bus = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"], stdout=subprocess.PIPE)
    address = bus.stdout.readline().decode().strip()
    assert address
    yield address
    bus.kill()
    bus.wait()
