# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees of files: made, remembered, compared."""

import errno
import hashlib
import os
import random
import stat

# What usbcrypt never touches, and what is not the user's.
NOT_OURS = {b".usbcrypt", b"lost+found", b"System Volume Information"}
SUFFIX = b".ucr"


def content(seed, size):
    """Bytes that are found again: no two 512-byte blocks of any two seeds are alike."""
    return random.Random(f"{seed}:{size}").randbytes(size)


class Entry:
    """One file as it must come back."""

    def __init__(self, path):
        status = os.lstat(path)
        self.kind = stat.S_IFMT(status.st_mode)
        self.mode = stat.S_IMODE(status.st_mode)
        self.owner = (status.st_uid, status.st_gid)
        self.links = status.st_nlink
        self.size = self.mtime = self.digest = self.target = None
        self.xattrs = {}
        if stat.S_ISREG(status.st_mode):
            self.size, self.mtime = status.st_size, status.st_mtime_ns
            with open(path, "rb") as file:
                self.digest = hashlib.file_digest(file, "blake2b").hexdigest()
            try:
                self.xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)
                               if name.startswith("user.")}
            except OSError:
                pass
        elif stat.S_ISLNK(status.st_mode):
            self.target = os.readlink(os.fsencode(path))

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return repr({key: value for key, value in vars(self).items() if value not in (None, {})})


def walk(root):
    """Every path below root, relative, as bytes; folders included, what is not ours left out."""
    root = os.fsencode(root)
    for folder, folders, files in os.walk(root):
        if folder == root:
            folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), root)


def snapshot(root, without=()):
    root = os.fsencode(root)
    return {path: Entry(os.path.join(root, path)) for path in walk(root) if path not in without}


def torn(root):
    """Names that are there and lead to nothing: all that is asked of them is an I/O error."""
    found = set()
    for path in walk(root):
        try:
            os.lstat(os.path.join(os.fsencode(root), path))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            found.add(path)
    return found


def differences(before, after):
    """What differs, for an assert's message; empty when nothing does."""
    lost = sorted(before.keys() - after.keys())
    new = sorted(after.keys() - before.keys())
    changed = [(path, before[path], after[path]) for path in sorted(before.keys() & after.keys())
               if before[path] != after[path]]
    return [f"lost {path}" for path in lost] + [f"new {path}" for path in new] + \
        [f"changed {path}: {old} -> {young}" for path, old, young in changed]


def assert_same(before, after):
    found = differences(before, after)
    assert not found, f"{len(found)} of {len(before)} differ:\n" + "\n".join(found[:8])


def assert_whole(root, before):
    """Each file is there in just one form, and nothing else is; those in plain are what they were."""
    after = snapshot(root)
    assert sorted(path.removesuffix(SUFFIX) for path in after) == sorted(before)
    for path, entry in before.items():
        assert path not in after or after[path] == entry


def regular(root):
    """The regular files below root, as {relative path: size}."""
    root = os.fsencode(root)
    found = {}
    for path in walk(root):
        status = os.lstat(os.path.join(root, path))
        if stat.S_ISREG(status.st_mode):
            found[path] = status.st_size
    return found


def plain(root):
    return {path for path in regular(root) if not path.endswith(SUFFIX)}


def encrypted(root):
    return {path for path in regular(root) if path.endswith(SUFFIX)}


def write(root, path, data, mtime=None, mode=None):
    full = os.path.join(os.fsencode(root), os.fsencode(path))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    if mode is not None:
        os.chmod(full, mode)
    # Old enough for the engine: a file that was changed a moment ago is deferred.
    seconds = 1_600_000_000 if mtime is None else mtime
    os.utime(full, ns=(int(seconds * 10**9), int(seconds * 10**9)))
    return full


def give(root, uid):
    """Makes everything below root a user's, where the filesystem has owners."""
    root = os.fsencode(root)
    for path in walk(root):
        try:
            os.chown(os.path.join(root, path), uid, uid, follow_symlinks=False)
        except OSError:
            return


SIZES = [0, 1, 511, 512, 513, 4096, 65535, 65536, 65537, 131072, 200000, 1 << 20]


def make(root, uid=3001, sizes=SIZES):
    """A small tree of the usual kind, every size at a boundary; returns {relative path: bytes}."""
    files = {}
    for number, size in enumerate(sizes):
        folder = ["", "holiday/", "holiday/beach/", ".hidden/", "Trash-1000/files/"][number % 5]
        name = f"{folder}file-{size}" + [".jpg", ".txt", ""][number % 3]
        files[name] = content(name, size)
        write(root, name, files[name], mtime=1_500_000_000 + 100 * number)
    give(root, uid)
    return files
