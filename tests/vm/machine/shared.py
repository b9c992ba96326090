# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one process of a test session makes, and the others use."""

import fcntl
import json
import pathlib


class Shared:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name, make):
        """What make(), called by whoever comes first, returned: JSON. It may leave files in the folder."""
        made = self.folder / f"{name}.made"
        with open(self.folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                new = made.with_suffix(".new")
                new.write_text(json.dumps(make()))
                new.rename(made)
        return json.loads(made.read_text())
