#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the vectors of format version 1, with reference.py.

    generate.py            write files/, drives/ and drive-v1.tar.gz beside this script
    generate.py --check    compare what is there with what would be written, and let reference.py judge each

A vector is a text header of `name: value` lines, an empty line, and the bytes. Frozen means frozen: a later
version of the format adds vectors, it never changes one.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import struct
import sys
import tarfile

import reference as ref

HERE = pathlib.Path(__file__).parent
CHUNK = ref.CHUNK


def draw(label, size):
    return hashlib.shake_128(b"usbcrypt vector " + label.encode()).digest(size)


DRIVE_KEY = draw("drive key", 32)
DRIVE_ID = draw("drive id", 16)
EPOCH = 1
RUN = draw("run", 16)
vectors = {}


def add(path, body, **header):
    assert path not in vectors, path
    lines = "".join(f"{k.replace('_', '-')}: {v}\n" for k, v in header.items())
    vectors[path] = lines.encode() + b"\n" + body


# --- encrypted files -----------------------------------------------------------------------------------------

def add_file(name, comment, data, expect, step="", **extra):
    header = {"kind": "file", "comment": comment, "expect": expect}
    if step:
        header["step"] = step
    header.update(drive_key=DRIVE_KEY.hex(), drive_id=DRIVE_ID.hex(), epoch=EPOCH)
    header.update(extra)
    add(f"files/{name}.vec", data, **header)


def attributes_for(plain, **changes):
    values = dict(
        path=b"holiday/beach.jpg", size=len(plain), mtime=(1700000000, 123456700), mode=0o640, owner=(1000, 1000),
        fat=0x20, run=RUN,
    )
    values.update(changes)
    return ref.encode_attributes(**values)


def make(label, plain, suite=1, attributes=None, key=DRIVE_KEY, drive=DRIVE_ID, epoch=EPOCH, **override):
    """Head and chunks of a file that is good unless something is overridden."""
    if attributes is None:
        attributes = attributes_for(plain)
    head, keys = ref.build_head(
        key, drive, epoch, suite, draw(label + " file id", 16), draw(label + " salt", 32), attributes, **override
    )
    used = suite if suite in ref.SUITES else 1
    return head, ref.seal_chunks(keys, used, plain), keys


def join(head, chunks):
    return head + b"".join(chunks)


def good(name, comment, plain, suite=1, attributes=None, expect="success"):
    if attributes is None:
        attributes = attributes_for(plain)
    head, chunks, _ = make(name, plain, suite, attributes)
    add_file(
        name, comment, join(head, chunks), expect, attributes=attributes.hex(), payload_size=len(plain),
        payload_blake2b=ref.blake2b(32, plain).hex(),
    )


def flip(data, offset, mask=0x01):
    return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]


def good_files():
    for suite_name, suite in ref.SUITE_NAMES.items():
        for size in (0, 1, 65535, 65536, 65537, 2 * CHUNK + 1000):
            name = f"good-{suite_name}-{size}"
            good(name, f"{size} bytes with {suite_name}", draw(name, size), suite)
    few = ref.encode_attributes(b"a", 3)
    good("good-few-attributes", "path and size are all there has to be", b"abc", attributes=few)
    everything = attributes_for(
        b"abc", path=b"odd \xff\xfe name/\xe2\x80\xae\n", mtime=(-1, 999999999), mode=0o7777,
        owner=(0xFFFFFFFF, 0), fat=0xFF,
        xattrs=[(b"user.empty", b""), (b"user.comment", bytes(range(256))), (b"user." + 250 * b"x", b"y")],
    )
    good("good-all-attributes", "every attribute, odd values, three xattrs", b"abc", attributes=everything)
    unknown = attributes_for(b"abc") + ref.field(0x0100, b"from the future")
    good("good-unknown-attribute", "an unknown attribute without the critical bit", b"abc", attributes=unknown)
    critical = attributes_for(b"abc").replace(b"\x03\x00\x0c\x00", b"\x03\x80\x0c\x00")
    good("good-known-critical", "a critical bit on a known attribute changes nothing", b"abc", attributes=critical)
    longest = ref.encode_attributes(b"/".join([b"d" * 255] * 16), 3)
    good("good-longest-path", "4095 bytes of path", b"abc", attributes=longest)
    good(
        "good-most-xattrs", "256 xattrs", b"abc",
        attributes=attributes_for(b"abc", xattrs=[(b"user.%03d" % i, b"") for i in range(256)]),
    )
    good(
        "good-largest-xattr", "49152 bytes of xattr, name included", b"abc",
        attributes=attributes_for(b"abc", xattrs=[(b"user.a", bytes(49152 - 6))]),
    )


def bad_headers():
    plain = b"a plaintext of thirty-two bytes."
    head, chunks, _ = make("header", plain)
    whole = join(head, chunks)

    flips = {  # offset, mask, what a reader says
        "magic-first": (0, 0x80, "tampered"), "magic-last": (7, 1, "tampered"), "version": (8, 0x02, "unsupported"),
        "version-high": (9, 1, "unsupported"), "suite": (10, 0x03, "tampered"),
        "suite-unknown": (10, 0x40, "unsupported"), "requires": (12, 1, "unsupported"),
        "requires-high": (15, 0x80, "unsupported"), "header-length": (16, 1, "tampered"),
        "attributes-length": (20, 1, "tampered"), "attributes-length-high": (23, 0x80, "tampered"),
        "chunk-size": (26, 2, "tampered"), "epoch": (28, 2, "foreign"), "epoch-high": (31, 0x80, "foreign"),
        "drive-id": (32, 1, "foreign"), "file-id": (48, 1, "tampered"), "salt": (64, 1, "tampered"),
        "commitment": (96, 1, "tampered"), "commitment-last": (127, 0x80, "tampered"), "mac": (128, 1, "tampered"),
        "mac-last": (159, 0x80, "tampered"), "attributes": (160, 1, "tampered"),
        "attributes-tag": (len(head) - 1, 0x80, "tampered"),
    }
    for what, (offset, mask, expect) in flips.items():
        add_file(f"bad-flip-{what}", f"byte {offset} flipped", flip(whole, offset, mask), expect, "head")

    resealed = {  # header fields with a commitment and a MAC that fit them
        "version-2": (dict(version=2), "unsupported"), "version-0": (dict(version=0), "unsupported"),
        "suite-0": (dict(suite=0), "unsupported"), "suite-4": (dict(suite=4), "unsupported"),
        "requires-bit": (dict(requires=0x80000000), "unsupported"),
        "header-length-0": (dict(header_length=0), "tampered"),
        "header-length-max": (dict(header_length=0xFFFFFFFF), "tampered"),
        "attributes-length-0": (dict(attributes_length=0), "tampered"),
        "attributes-length-15": (dict(attributes_length=15), "tampered"),
        "attributes-length-max": (dict(attributes_length=0xFFFFFFFF), "tampered"),
        "attributes-length-65553": (dict(attributes_length=65553), "tampered"),
        "chunk-size-0": (dict(chunk_size=0), "tampered"),
        "chunk-size-max": (dict(chunk_size=0xFFFFFFFF), "tampered"),
    }
    for what, (override, expect) in resealed.items():
        suite = override.pop("suite", 1)
        head2, chunks2, _ = make("resealed " + what, plain, suite, **override)
        add_file(f"bad-header-{what}", "authentic, but out of range", join(head2, chunks2), expect, "head")

    other, other_id = draw("other drive key", 32), draw("other drive id", 16)
    data = join(*make("other drive", plain, key=other, drive=other_id)[:2])
    add_file("bad-other-drive", "a good file of another drive", data, "foreign", "head")
    data = join(*make("other epoch", plain, epoch=2)[:2])
    add_file("bad-other-epoch", "a good file of epoch 2", data, "foreign", "head")
    data = join(*make("other key", plain, key=other)[:2])
    add_file("bad-other-key", "this drive's id, another drive's key", data, "tampered", "head")
    # Everything behind the one fault fits it, so that nothing else can be what refuses them.
    for what in ("commitment", "mac"):
        attributes = attributes_for(plain)
        head2, chunks2, keys = make("bad " + what, plain, attributes=attributes)
        forged = head2[:96] + bytes(32) if what == "commitment" else head2[:128]
        forged += ref.blake2b(32, forged, keys.mac) if what == "commitment" else bytes(32)
        forged += ref.XChaCha20Poly1305(keys.attributes).seal(bytes(24), attributes, forged)
        add_file(f"bad-{what}", f"only the {what} is bad", join(forged, chunks2), "tampered", "head")
    head3 = make("another head", plain)[0]
    add_file("bad-attributes-moved", "another file's sealed attributes", head[:160] + head3[160:] + chunks[0],
             "tampered", "head")


def bad_attributes():
    plain = b"abc"
    usual = attributes_for(plain)
    path, size = ref.field(0x8001, b"holiday/beach.jpg"), ref.field(0x8002, struct.pack("<Q", len(plain)))

    def with_path(p):
        return ref.field(0x8001, p) + size

    def xattr(name, value=b""):
        return ref.field(8, bytes([len(name)]) + name + value)

    cases = {
        "none": (b"", "nothing at all"), "no-path": (size, "no path"), "no-size": (path, "no size"),
        "path-twice": (path + path + size, "path stands twice"),
        "order": (size + path, "size before path"), "type-0": (ref.field(0, b"") + usual, "type 0"),
        "cut-header": (usual + b"\x08\x00\x01", "three bytes are left"),
        "overrun": (usual + struct.pack("<HH", 8, 20) + b"\x06user.a", "a length beyond the end"),
        "path-empty": (with_path(b""), "an empty path"), "path-absolute": (with_path(b"/etc/passwd"), "absolute"),
        "path-up": (with_path(b"../../etc/passwd"), "leads out of the drive"),
        "path-up-inside": (with_path(b"a/../b"), "a .. inside"), "path-dot": (with_path(b"a/./b"), "a . inside"),
        "path-dot-only": (with_path(b"."), "only ."), "path-double-slash": (with_path(b"a//b"), "an empty component"),
        "path-trailing-slash": (with_path(b"a/"), "a slash at the end"),
        "path-nul": (with_path(b"a\0b"), "a NUL"), "path-long": (with_path(b"a" * 4097), "4097 bytes"),
        "path-metadata": (with_path(b".usbcrypt/a/drive.json"), "our own folder"),
        "path-metadata-case": (with_path(b".UsbCrypt/x"), "our own folder, as FAT sees it"),
        "size-huge": (path + ref.field(0x8002, struct.pack("<Q", 1 << 63)), "2^63 bytes"),
        "size-short": (path + ref.field(0x8002, b"\3\0\0\0"), "a size of four bytes"),
        "mtime-nsec": (path + size + ref.field(3, struct.pack("<qI", 0, 10**9)), "10^9 nanoseconds"),
        "mtime-long": (path + size + ref.field(3, bytes(13)), "an mtime of 13 bytes"),
        "mode": (path + size + ref.field(4, struct.pack("<H", 0o10000)), "a thirteenth mode bit"),
        "owner-short": (path + size + ref.field(5, bytes(7)), "an owner of 7 bytes"),
        "fat-long": (path + size + ref.field(6, bytes(4)), "FAT attributes of 4 bytes"),
        "run-short": (path + size + ref.field(7, bytes(15)), "a run of 15 bytes"),
        "xattr-empty": (usual + ref.field(8, b""), "an xattr of no bytes"),
        "xattr-overrun": (usual + ref.field(8, b"\x20user.a"), "a name beyond its field"),
        "xattr-security": (usual + xattr(b"security.capability", b"x"), "an xattr that gives rights"),
        "xattr-no-name": (usual + xattr(b"user."), "nothing after user."),
        "xattr-nul": (usual + xattr(b"user.a\0b"), "a NUL in a name"),
        "xattr-order": (usual + xattr(b"user.b") + xattr(b"user.a"), "names not ascending"),
        "xattr-twice": (usual + xattr(b"user.a") + xattr(b"user.a"), "a name twice"),
        "xattr-many": (usual + b"".join(xattr(b"user.%03d" % i) for i in range(257)), "257 xattrs"),
        "xattr-large": (usual + xattr(b"user.a", bytes(49152 - 5)), "49153 bytes of xattrs"),
    }
    for what, (attributes, comment) in cases.items():
        data = join(*make("attributes " + what, plain, attributes=attributes)[:2])
        add_file(f"bad-attributes-{what}", comment, data, "tampered", "head")
    data = join(*make("attributes critical", plain, attributes=usual + ref.field(0x8100, b"x"))[:2])
    add_file("bad-attributes-critical", "an unknown critical attribute", data, "unsupported", "head")
    data = join(*make("attributes too long", plain, attributes=usual + ref.field(0x100, bytes(65500)))[:2])
    add_file("bad-attributes-too-long", "more than 65536 bytes, authentic", data, "tampered", "head")


def bad_chunks():
    for suite_name, suite in ref.SUITE_NAMES.items():
        plain = draw("chunks " + suite_name, 40)
        head, chunks, keys = make("chunks " + suite_name, plain, suite)
        cipher, whole = ref.SUITES[suite](keys.chunks), join(head, chunks)
        add_file(f"bad-{suite_name}-flip", "first byte of the chunk", flip(whole, len(head)), "tampered", "chunk")
        add_file(f"bad-{suite_name}-flip-tag", "last byte of the tag", flip(whole, len(whole) - 1), "tampered",
                 "chunk")
        unflagged = cipher.seal(ref.chunk_nonce(suite, 0, False), plain)
        add_file(f"bad-{suite_name}-no-last", "no chunk is flagged as the last", head + unflagged, "tampered",
                 "chunk")
        counted = cipher.seal(ref.chunk_nonce(suite, 1, True), plain)
        add_file(f"bad-{suite_name}-counter", "the first chunk counts as the second", head + counted, "tampered",
                 "chunk")

    plain = draw("two chunks", 2 * CHUNK)
    head, chunks, keys = make("two chunks", plain)
    cipher = ref.XChaCha20Poly1305(keys.chunks)
    add_file("bad-chunks-swapped", "two chunks swapped", join(head, chunks[::-1]), "tampered", "chunk")
    add_file("bad-chunks-duplicated", "the first chunk twice, the last missing", head + 2 * chunks[0], "tampered",
             "chunk")
    other = make("two other chunks", plain)[1]
    add_file("bad-chunks-spliced", "the last chunk of another file", join(head, [chunks[0], other[1]]), "tampered",
             "chunk")
    add_file("bad-chunks-last-dropped", "cut after the first chunk", join(head, chunks[:1]), "tampered", "size")
    early = cipher.seal(ref.chunk_nonce(1, 0, True), plain[:CHUNK])
    add_file("bad-chunks-early-last", "the first of two is flagged as the last", join(head, [early, chunks[1]]),
             "tampered", "chunk")
    shrunk, _, keys2 = make("shrunk", plain, attributes=attributes_for(plain[:CHUNK]))
    first = ref.XChaCha20Poly1305(keys2.chunks).seal(ref.chunk_nonce(1, 0, False), plain[:CHUNK])
    add_file("bad-chunks-cut", "the size fits, but the one chunk is not flagged as the last", shrunk + first,
             "tampered", "chunk")
    one = draw("one chunk", CHUNK)
    head1, chunks1, keys1 = make("one chunk", one)
    cipher1 = ref.XChaCha20Poly1305(keys1.chunks)
    full = cipher1.seal(ref.chunk_nonce(1, 0, False), one)
    empty = cipher1.seal(ref.chunk_nonce(1, 1, True), b"")
    add_file("bad-chunks-empty-last", "an empty last chunk behind a full one", head1 + full + empty, "tampered",
             "size")

    small = b"a plaintext of thirty-two bytes."
    head, chunks, keys = make("small", small)
    whole = join(head, chunks)
    second = ref.XChaCha20Poly1305(keys.chunks).seal(ref.chunk_nonce(1, 1, True), small)
    add_file("bad-trailing-byte", "one byte too many", whole + b"\0", "tampered", "size")
    add_file("bad-trailing-rubbish", "a kilobyte too many", whole + draw("rubbish", 1024), "tampered", "size")
    add_file("bad-second-last", "a second last chunk", whole + second, "tampered", "size")
    bigger = make("bigger", small, attributes=attributes_for(small + b"."))
    add_file("bad-size-attribute", "the size attribute says one more", join(*bigger[:2]), "tampered", "size")
    cuts = {
        "empty": 0, "in-magic": 7, "after-magic": 8, "in-header": 159, "after-header": 160, "in-attributes": len(head) - 1,
    }
    for what, at in cuts.items():
        add_file(f"bad-cut-{what}", f"cut to {at} bytes", whole[:at], "tampered", "head")
    for what, at in {"after-head": len(head), "in-tag": len(head) + 15, "to-a-tag": len(head) + 16,
                     "last-byte": len(whole) - 1}.items():
        add_file(f"bad-cut-{what}", f"cut to {at} bytes", whole[:at], "tampered", "size")


# --- drive.json ----------------------------------------------------------------------------------------------

MEMORY, PASSES = 64 << 20, 2
PASSPHRASE = "correct horse battery staple".encode()


def slot(number=1, passphrase=PASSPHRASE, key=DRIVE_KEY, epoch=EPOCH, memory=MEMORY, passes=PASSES, drive=DRIVE_ID):
    return ref.wrap_slot(
        drive, number, epoch, draw(f"salt {number} {passphrase} {memory} {passes}", 16), memory, passes, passphrase, key
    )


def top(slots, **changes):
    value = {
        "format": "usbcrypt", "version": 1, "requires": [], "generation": "1", "drive": DRIVE_ID.hex(),
        "suite": "xchacha20-poly1305", "epoch": EPOCH, "epochs": [EPOCH], "policy": {}, "slots": slots,
    }
    value.update(changes)
    return value


def add_drive(name, comment, data, expect, step="", passphrase=PASSPHRASE):
    header = {"kind": "drive", "comment": comment, "expect": expect}
    if step:
        header["step"] = step
    header["passphrase"] = passphrase.hex()
    if expect == "success":
        metadata = ref.parse_metadata(data)
        suite = [k for k, v in ref.SUITE_NAMES.items() if v == metadata["suite"]][0]
        header.update(drive_key=DRIVE_KEY.hex(), drive_id=DRIVE_ID.hex(), epoch=metadata["epoch"], suite=suite)
        header.update(generation=metadata["generation"])
    add(f"drives/{name}.vec", data, **header)


def drives():
    first = slot()
    plain = top([first])

    def sealed(value):
        return ref.format_metadata(DRIVE_KEY, value)

    def changed(number=0, kdf=None, **changes):
        s = json.loads(json.dumps(first))
        s.update(changes)
        s["kdf"].update(kdf or {})
        return s

    data = sealed(plain)
    add_drive("good", "one slot", data, "success")
    for suite in ref.SUITE_NAMES:
        if suite != "xchacha20-poly1305":
            add_drive(f"good-{suite}", "another suite", sealed(top([first], suite=suite)), "success")
    second = slot(7, "une clé très sûre".encode())
    add_drive("good-second-slot", "the second of two passphrases", sealed(top([first, second])), "success",
              passphrase="une clé très sûre".encode())
    add_drive("good-decomposed", "typed as NFD, with a newline", sealed(top([second])), "success",
              passphrase="une cle\u0301 tre\u0300s su\u0302re\n".encode())
    latin = "clé".encode("latin-1")
    add_drive("good-not-utf8", "a passphrase that is not UTF-8", sealed(top([slot(1, latin)])), "success",
              passphrase=latin)
    add_drive("good-nul", "a passphrase with a NUL in it", sealed(top([slot(1, b"a\0b")])), "success",
              passphrase=b"a\0b")
    add_drive("good-passes-3", "three passes: at the floor", sealed(top([slot(passes=3)])), "success")
    add_drive("good-memory-odd", "64 MiB and 1 KiB", sealed(top([slot(memory=MEMORY + 1024)])), "success")
    future = {"id": 2, "type": "fido2", "credential": "00", "kdf": [1, 2, 3], "epoch": "none"}
    add_drive("good-unknown-slot", "a slot of an unknown type is skipped", sealed(top([future, first])), "success")
    more = top([dict(first, note="kept")], label="Ferien \u263c", policy={"days": 999999999999999})
    add_drive("good-unknown-keys", "unknown keys, one not ASCII", sealed(more), "success")
    add_drive("good-generation-max", "the highest generation", sealed(top([first], generation=str(2**64 - 2))),
              "success")
    add_drive("good-order", "keys in another order", sealed(dict(reversed(plain.items()))), "success")
    old = slot(3, key=draw("old drive key", 32), epoch=1)
    now = slot(4, epoch=2)
    add_drive("good-epoch-2", "an old epoch's slot beside the current one",
              sealed(top([old, now], epoch=2, epochs=[1, 2])), "success")
    filler = json.dumps(plain, separators=(",", ":"))
    full = top([first], policy={"x": "y" * (16318 - len(filler) - len('"x":""'))})
    add_drive("good-full", "line 1 as long as it can be: no padding", sealed(full), "success")

    def bad(name, comment, data, expect="tampered", step="parse", **more):
        add_drive("bad-" + name, comment, data, expect, step, **more)

    add_drive("wrong-passphrase", "another passphrase", data, "wrong-passphrase", "unlock", b"incorrect horse")
    add_drive("wrong-case", "one letter in another case", data, "wrong-passphrase", "unlock",
              b"correct horse battery Staple")
    add_drive("wrong-two-slots", "neither of two", sealed(top([first, second])), "wrong-passphrase", "unlock", b"x")

    bad("flip-line", "one byte of line 1: the generation", data.replace(b'"generation":"1"', b'"generation":"2"'),
        step="unlock")
    line_size = data.index(b"\n")
    bad("flip-mac", "one digit of the MAC", flip(data, line_size + 1, 0x01), step="unlock")
    bad("commitment", "a commitment that fits no passphrase", sealed(top([changed(commitment="00" * 32)])),
        "wrong-passphrase", "unlock")
    wrapped = flip(bytes.fromhex(first["wrapped"]), 0).hex()
    bad("wrapped", "the wrapped key altered", sealed(top([changed(wrapped=wrapped)])), step="unlock")
    bad("slot-id", "a slot moved to another id", sealed(top([changed(id=2)])), step="unlock")
    bad("slot-epoch", "a slot moved to another epoch", sealed(top([changed(epoch=2)], epoch=2, epochs=[1, 2])),
        step="unlock")
    bad("slot-drive", "a slot of another drive", sealed(top([first], drive="00" * 16)), step="unlock")
    bad("slot-replaced", "somebody else's slot, with their drive key, under our MAC",
        sealed(top([slot(key=draw("theirs", 32))])), step="unlock")
    bad("suite-unknown", "an unknown suite, authentic", sealed(top([first], suite="null")), "unsupported", "unlock")
    bad("slots-unknown", "only slots of unknown types", sealed(top([future])), "unsupported", "unlock")
    bad("slot-other-epoch", "no slot of the current epoch", sealed(top([first], epoch=2, epochs=[1, 2])),
        "unsupported", "unlock")
    bad("version-2", "version 2", sealed(top([first], version=2)), "unsupported")
    bad("version-2-else", "version 2 and nothing else that is known",
        sealed({"format": "usbcrypt", "version": 2, "slots": "gone"}), "unsupported")
    bad("requires", "requires something", sealed(top([first], requires=["rotation"])), "unsupported")

    bad("size-empty", "an empty file", b"")
    bad("size-short", "one byte too few", data[:-1])
    bad("size-long", "one byte too many", data + b"\n")
    bad("size-small", "only the lines", data[: line_size + 66])
    bad("padding", "something else than spaces", flip(data, 16000, 0x20))
    bad("padding-end", "no newline at the end", data[:-1] + b" ")
    bad("mac-upper-case", "the MAC in capitals",
        data[: line_size + 1] + data[line_size + 1 : line_size + 65].upper() + data[line_size + 65 :])
    bad("mac-short", "the MAC one digit short", data[: line_size + 64] + b"\n" + data[line_size + 66 :] + b"\n")
    bad("zeros", "nothing but zeros", bytes(16384))
    bad("spaces", "one line of spaces", b" " * 16383 + b"\n")

    text = ref.print_json(plain)
    raw = {
        "not-an-object": (b"[]", "an array"), "null": (b"null", "null"), "empty-line": (b"", "nothing"),
        "cut": (text[:-1], "the last brace is missing"), "trailing": (text + b"}", "a brace too many"),
        "comment": (text + b" // ", "a comment"),
        "space": (text.replace(b":1,", b": 1,", 1), "white space"), "tab": (text.replace(b"{", b"{\t", 1), "a tab"),
        "escape": (text.replace(b"usbcrypt", b"usbcryp\\u0074", 1), "an escape"),
        "escape-nul": (text.replace(b'"policy":{}', b'"policy":{"a":"\\u0000"}'), "an escaped NUL"),
        "nul": (text.replace(b'"policy":{}', b'"policy":{"a":"\0"}'), "a NUL"),
        "not-utf8": (text.replace(b'"policy":{}', b'"policy":{"a":"\xff"}'), "not UTF-8"),
        "overlong": (text.replace(b'"policy":{}', b'"policy":{"a":"\xc0\xaf"}'), "an overlong slash"),
        "surrogate": (text.replace(b'"policy":{}', b'"policy":{"a":"\xed\xa0\x80"}'), "a surrogate"),
        "control": (text.replace(b'"policy":{}', b'"policy":{"a":"\x1b"}'), "a control character"),
        "key-twice": (text.replace(b'"epoch":1,', b'"epoch":1,"epoch":1,', 1), "a key twice"),
        "key-twice-nested": (text.replace(b'"policy":{}', b'"policy":{"a":1,"a":2}'), "a key twice, inside"),
        "deep": (text.replace(b'"policy":{}', b'"policy":{"a":' + 7 * b"[" + 7 * b"]" + b"}"), "nested 9 deep"),
        "very-deep": (text.replace(b'"policy":{}', b'"policy":{"a":' + 7000 * b"[" + 7000 * b"]" + b"}"),
                      "nested 7002 deep"),
        "number-zero": (text.replace(b'"epoch":1', b'"epoch":01'), "a leading zero"),
        "number-fraction": (text.replace(b'"epoch":1', b'"epoch":1.0'), "1.0"),
        "number-half": (text.replace(b'"policy":{}', b'"policy":{"a":0.5}'), "0.5"),
        "number-exponent": (text.replace(b'"epoch":1', b'"epoch":1e0'), "1e0"),
        "number-exponent-100": (text.replace(b'"policy":{}', b'"policy":{"a":1e2}'), "1e2, as long as 100"),
        "number-negative": (text.replace(b'"policy":{}', b'"policy":{"a":-1}'), "-1"),
        "number-minus-zero": (text.replace(b'"policy":{}', b'"policy":{"a":-0}'), "-0"),
        "number-large": (text.replace(b'"policy":{}', b'"policy":{"a":1000000000000000}'), "10^15"),
        "number-huge": (text.replace(b'"policy":{}', b'"policy":{"a":1e+22}'), "1e+22"),
    }
    for what, (line, comment) in raw.items():
        assert line != text
        bad("json-" + what, comment, ref.format_metadata(DRIVE_KEY, line))

    values = {
        "format": top([first], format="usbcrypt2"), "version-0": top([first], version=0),
        "version-string": top([first], version="1"), "requires-object": top([first], requires={}),
        "requires-number": top([first], requires=[1]), "requires-many": top([first], requires=["x"] * 17),
        "generation-0": top([first], generation="0"), "generation-number": top([first], generation=1),
        "generation-zero": top([first], generation="01"), "generation-large": top([first], generation=str(2**64 - 1)),
        "generation-larger": top([first], generation="1" + 20 * "0"), "generation-sign": top([first], generation="+1"),
        "drive-short": top([first], drive=DRIVE_ID.hex()[:-2]), "drive-upper": top([first], drive=DRIVE_ID.hex().upper()),
        "suite-number": top([first], suite=1), "suite-empty": top([first], suite=""),
        "epoch-0": top([first], epoch=0, epochs=[0]), "epoch-large": top([first], epoch=2**31, epochs=[2**31]),
        "epochs-empty": top([first], epochs=[]), "epochs-other": top([first], epochs=[2]),
        "epochs-twice": top([first], epochs=[1, 1]), "epochs-descending": top([first], epochs=[2, 1]),
        "policy-array": top([first], policy=[]), "slots-none": top([]), "slots-object": top({}),
        "slots-many": top([changed(id=i + 1) for i in range(9)]),
        "slot-number": top([1]), "slot-id-0": top([changed(id=0)]), "slot-id-twice": top([first, future | {"id": 1}]),
        "slot-type": top([changed(type=1)]), "slot-no-type": top([{"id": 1}]), "slot-epoch-0": top([changed(epoch=0)]),
        "salt-short": top([changed(salt="00" * 15)]), "salt-long": top([changed(salt="00" * 17)]),
        "salt-upper": top([changed(salt="AA" * 16)]), "commitment-short": top([changed(commitment="00" * 31)]),
        "wrapped-short": top([changed(wrapped="00" * 47)]), "kdf-none": top([changed() | {"kdf": None}]),
        "kdf-algorithm": top([changed(kdf={"algorithm": "argon2i"})]),
        "kdf-memory-small": top([changed(kdf={"memory": str((64 << 20) - 1024)})]),
        "kdf-memory-large": top([changed(kdf={"memory": str((1 << 30) + 1024)})]),
        "kdf-memory-tebibyte": top([changed(kdf={"memory": str(1 << 40)})]),
        "kdf-memory-step": top([changed(kdf={"memory": str((64 << 20) + 1)})]),
        "kdf-memory-number": top([changed(kdf={"memory": 64 << 20})]),
        "kdf-passes-1": top([changed(kdf={"passes": 1})]), "kdf-passes-17": top([changed(kdf={"passes": 17})]),
        "kdf-passes-huge": top([changed(kdf={"passes": 2**32})]),
        "kdf-cost": top([changed(id=i + 1, kdf={"memory": str(1 << 30), "passes": 5}) for i in range(4)]),
    }
    for key in plain:
        values["no-" + key] = {k: v for k, v in plain.items() if k != key}
    for what, value in values.items():
        bad(what, "out of range", sealed(value))


# --- a whole drive -------------------------------------------------------------------------------------------

def whole_drive():
    passphrase = "a frozen drive of version 1".encode()
    metadata = ref.format_metadata(DRIVE_KEY, top([slot(1, passphrase)]))
    long_name = b"a name too long for its suffix " + b"x" * 220 + b".txt"
    files = {
        b"hello.txt": b"hello, world\n", b"empty": b"", b"holiday/.hidden/\xc3\xbcber.bin": draw("frozen", 70000),
        b"odd \xff\n": b"a name that is not UTF-8", b"long/" + long_name: b"the real name is in the attributes",
    }
    tree, manifest = {}, [f"passphrase {passphrase.decode()}", f"drive-id {DRIVE_ID.hex()}", f"drive-key {DRIVE_KEY.hex()}"]
    for i, (path, plain) in enumerate(files.items()):
        suite = i % 2 + 1  # AES-256-GCM is not to be had everywhere
        attributes = attributes_for(plain, path=path, xattrs=[(b"user.origin", b"frozen")] if i == 0 else [])
        folder, _, name = path.rpartition(b"/")
        where = (folder + b"/" if folder else b"") + ref.cipher_name(name)
        tree[where] = join(*make(f"frozen {i}", plain, suite, attributes)[:2])
        manifest.append(f"file {where.hex()} {path.hex()} {len(plain)} {ref.blake2b(32, plain).hex()}")
    tree[b"moved.txt.ucr"] = tree[b"hello.txt.ucr"]
    manifest.append(f"moved {b'moved.txt.ucr'.hex()} {b'hello.txt'.hex()}")
    tree[b"plain.txt"] = b"not encrypted\n"
    tree[b".usbcrypt/a/drive.json"] = tree[b".usbcrypt/b/drive.json"] = metadata
    tree[b".usbcrypt/README.txt"] = b"frozen\n"

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        folders = {path.rpartition(b"/")[0] for path in tree} - {b""}
        folders |= {f.rpartition(b"/")[0] for f in folders} - {b""}
        for folder in sorted(folders):
            info = tarfile.TarInfo(folder.decode("utf-8", "surrogateescape"))
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for path in sorted(tree):
            info = tarfile.TarInfo(path.decode("utf-8", "surrogateescape"))
            info.size, info.mode = len(tree[path]), 0o644
            tar.addfile(info, io.BytesIO(tree[path]))
    vectors["drive-v1.tar.gz"] = gzip.compress(out.getvalue(), 9, mtime=0)
    vectors["drive-v1.txt"] = ("\n".join(manifest) + "\n").encode()


# --- writing and checking ------------------------------------------------------------------------------------

def split(data):
    header, _, body = data.partition(b"\n\n")
    return dict(line.split(": ", 1) for line in header.decode().splitlines()), body


def judge(path, data):
    """What the reference makes of a vector: an empty string when it is what the vector expects."""
    h, body = split(data)
    verdict, step = "success", ""
    try:
        if h["kind"] == "file":
            attributes, plain = ref.read_file(
                bytes.fromhex(h["drive-key"]), bytes.fromhex(h["drive-id"]), int(h["epoch"]), body
            )
            if h["expect"] != "success":
                return f"{path}: accepted"
            if len(plain) != int(h["payload-size"]) or ref.blake2b(32, plain).hex() != h["payload-blake2b"]:
                return f"{path}: another payload"
        else:
            key, metadata = ref.unlock(body, bytes.fromhex(h["passphrase"]))
            if h["expect"] == "success" and (
                key.hex() != h["drive-key"] or metadata["drive"].hex() != h["drive-id"]
                or str(metadata["epoch"]) != h["epoch"] or str(metadata["generation"]) != h["generation"]
            ):
                return f"{path}: another key"
    except ref.Refused as refused:
        verdict, step = refused.verdict, refused.step
    if (verdict, step) != (h["expect"], h.get("step", "")):
        return f"{path}: expected {h['expect']} {h.get('step', '')}, found {verdict} {step}"
    return ""


def content(path, data):
    # Different zlibs compress differently; what is compressed counts.
    return gzip.decompress(data) if path.endswith(".gz") else data


def check(root):
    problems = []
    for path, data in vectors.items():
        file = root / path
        if not file.is_file():
            problems.append(f"{path}: missing")
        elif content(path, file.read_bytes()) != content(path, data):
            problems.append(f"{path}: differs from what would be generated")
    there = {str(p.relative_to(root)) for folder in ("files", "drives") for p in (root / folder).iterdir()}
    problems += [f"{path}: not generated by this script" for path in sorted(there - set(vectors))]
    return problems


def main():
    parser = argparse.ArgumentParser(description="Makes or checks the vectors of the format.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--directory", type=pathlib.Path, default=HERE, help="where they are")
    arguments = parser.parse_args()

    good_files()
    bad_headers()
    bad_attributes()
    bad_chunks()
    drives()
    whole_drive()
    problems = [p for path, data in vectors.items() if path.endswith(".vec") for p in [judge(path, data)] if p]
    if arguments.check:
        problems += check(arguments.directory)
    elif not problems:
        for path, data in vectors.items():
            file = arguments.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    print("\n".join(problems + [f"{len(vectors)} vectors, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
