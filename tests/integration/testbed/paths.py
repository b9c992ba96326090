# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are: the source tree, what was built, the state of running stacks, the sticks' images."""

import os
import pathlib
import shutil

SOURCE = pathlib.Path(__file__).resolve().parents[3]
STATE = pathlib.Path("/run/usbcrypt-testbed")


def build():
    """The build directory, as `make O=` has it."""
    return (SOURCE / os.environ.get("O", "build")).resolve()


def sticks():
    """The folder of all stacks' images: memory where there is enough of it, else disk."""
    if "USBCRYPT_STICKS" in os.environ:
        return pathlib.Path(os.environ["USBCRYPT_STICKS"])
    shm = pathlib.Path("/dev/shm")
    if shm.is_mount() and shutil.disk_usage(shm).free > 2 << 30:
        return shm / "usbcrypt-testbed" / "sticks"
    return pathlib.Path("/var/tmp/usbcrypt-testbed/sticks")
