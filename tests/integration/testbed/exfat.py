# SPDX-License-Identifier: LGPL-2.1-or-later
"""An exFAT volume's allocation bitmap, below whoever has it mounted or not."""

import struct

from testbed.stick import PARTITION_START

NOT_CLEAN = 2


class Bitmap:
    """Of an unplugged stick's image. mkfs.exfat makes it the first cluster's."""

    def __init__(self, stick):
        self.path = stick.image
        with open(self.path, "rb") as file:
            file.seek(PARTITION_START)
            boot = file.read(512)
        self.heap = PARTITION_START + (struct.unpack_from("<I", boot, 88)[0] << boot[108])
        self.root = struct.unpack_from("<I", boot, 96)[0]
        self.fat = PARTITION_START + (struct.unpack_from("<I", boot, 80)[0] << boot[108])
        self.cluster_size = 1 << boot[108] + boot[109]

    def chain(self, first, count=None, contiguous=False):
        """The numbers of its clusters, as many as there are without `count`."""
        with open(self.path, "rb") as file:
            cluster = first
            while 2 <= cluster < 0xfffffff0 and count != 0:
                yield cluster
                file.seek(self.fat + 4 * cluster)
                cluster = cluster + 1 if contiguous else struct.unpack("<I", file.read(4))[0]
                count = count and count - 1

    def entries(self):
        """Those of the root folder."""
        with open(self.path, "rb") as file:
            for cluster in self.chain(self.root):
                file.seek(self.heap + (cluster - 2) * self.cluster_size)
                data = file.read(self.cluster_size)
                yield from (data[at:at + 32] for at in range(0, len(data), 32))

    def last_cluster(self, name):
        """That of a file or folder in the root, by its name of at most 15 characters."""
        stream = None
        for entry in self.entries():
            if entry[0] == 0xc0:
                stream = entry
            if entry[0] == 0xc1 and entry[2:].decode("utf-16-le").rstrip("\0") == name:
                first, size = struct.unpack_from("<IQ", stream, 20)
                return list(self.chain(first, -(-size // self.cluster_size), stream[1] & 2))[-1]
        raise FileNotFoundError(name)

    def set(self, cluster, used, clean=False):
        """Says of a cluster that it is in use, or free; and of the volume how it was unmounted."""
        with open(self.path, "r+b") as file:
            at = self.heap + (cluster - 2) // 8
            file.seek(at)
            byte = file.read(1)[0]
            bit = 1 << (cluster - 2) % 8
            assert bool(byte & bit) != used
            file.seek(at)
            file.write(bytes([byte | bit if used else byte & ~bit]))
            file.seek(PARTITION_START + 106)
            file.write(struct.pack("<H", 0 if clean else NOT_CLEAN))
