# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are."""

import os
import pathlib
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[3]


def build():
    """What `make` built: $O."""
    return (SOURCE / os.environ.get("O", "build")).resolve()


def image():
    return build() / "vm"


def scratch():
    """A new folder for images and sockets: in memory, where there is some."""
    memory = pathlib.Path("/dev/shm")
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    return pathlib.Path(tempfile.mkdtemp(prefix="usbcrypt-vm-", dir=parent))
