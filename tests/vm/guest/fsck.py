# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the filesystems' own checkers say, and mend."""

import subprocess

COMMANDS = {"vfat": ["fsck.vfat", "-n", "-v"], "exfat": ["fsck.exfat", "-n"], "ext4": ["e2fsck", "-n", "-f"],
            "ntfs": ["ntfsfix", "-n"]}
REPAIRS = {"vfat": ["fsck.vfat", "-a", "-w"], "exfat": ["fsck.exfat", "-y"], "ext4": ["e2fsck", "-y", "-f"]}
SHARED = ["share clusters", "already allocated for the other file"]  # fsck.fat, fsck.exfat


def repair(filesystem, path):
    subprocess.run([*REPAIRS[filesystem], str(path)], capture_output=True)


def check(filesystem, path):
    """Changes nothing. Returns (exit status, what it said)."""
    done = subprocess.run([*COMMANDS[filesystem], str(path)], capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def is_damaged(filesystem, status, said):
    """Whether there is more than what any power cut leaves. The dirty bit, and clusters that nobody owns, are what it leaves
    of FAT; files that share clusters are not. A journal's filesystem has no such excuse."""
    return any(words in said for words in SHARED) if filesystem in ("vfat", "exfat") else status != 0
