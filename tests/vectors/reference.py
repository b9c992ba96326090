# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second implementation of usbcrypt's format, version 1, written from daemon/engine/FORMAT.md alone.

It shares no code with the daemon and is neither fast nor careful with memory: it is there to prove that the page
is complete, and to make and check the vectors. Its algorithms are those of primitives.py.
"""

import hmac
import json
import re
import struct
import unicodedata

from primitives import argon2id, blake2b, kdf, SUITE_NAMES, SUITES, XChaCha20Poly1305


class Refused(Exception):
    """What was read is not to be believed: `verdict` is what FORMAT.md calls it, `step` where it was seen."""

    def __init__(self, verdict, step, why):
        super().__init__(f"{verdict} at {step}: {why}")
        self.verdict, self.step = verdict, step


# --- passphrases and names -----------------------------------------------------------------------------------

def normalize_passphrase(passphrase):
    if passphrase.endswith(b"\n"):
        passphrase = passphrase[:-1]
    if not 1 <= len(passphrase) <= 1024:
        return None
    try:
        return unicodedata.normalize("NFC", passphrase.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return passphrase


def cipher_name(name, limit=255):
    if len(name) + 4 <= limit:
        return name + b".ucr"
    return blake2b(16, name).hex().encode() + b"~.ucr"


def plain_name(found, stored_path):
    name = found[:-4]
    stored = stored_path.rsplit(b"/", 1)[-1]
    return stored if name.lower() == blake2b(16, stored).hex().encode() + b"~" else name


# --- the encrypted file --------------------------------------------------------------------------------------

MAGIC = bytes.fromhex("8a5543520d0a1a0a")
CHUNK = 65536
HEADER = struct.Struct("<8sHHIIIII16s16s32s")  # up to and with the salt; commitment and MAC follow


def file_root(drive_key):
    return kdf(drive_key, 3, b"usbcrypt")


class FileKeys:
    def __init__(self, root, header):
        secret = blake2b(32, b"usbcrypt file secret" + header[8:12] + header[28:32] + header[32:96], root)
        self.chunks = kdf(secret, 1, b"ucr-file")
        self.attributes = kdf(secret, 2, b"ucr-file")
        self.mac = kdf(secret, 3, b"ucr-file")
        self.commitment = kdf(secret, 4, b"ucr-file")


def field(kind, value):
    return struct.pack("<HH", kind, len(value)) + value


def encode_attributes(path, size, mtime=None, mode=None, owner=None, fat=None, run=None, xattrs=()):
    out = field(0x8001, path) + field(0x8002, struct.pack("<Q", size))
    if mtime is not None:
        out += field(3, struct.pack("<qI", *mtime))
    if mode is not None:
        out += field(4, struct.pack("<H", mode))
    if owner is not None:
        out += field(5, struct.pack("<II", *owner))
    if fat is not None:
        out += field(6, bytes([fat]))
    if run is not None:
        out += field(7, run)
    for name, value in sorted(xattrs):
        out += field(8, bytes([len(name)]) + name + value)
    return out


def path_is_valid(path):
    parts = path.split(b"/")
    return (
        1 <= len(path) <= 4096 and b"\0" not in path and not any(p in (b"", b".", b"..") for p in parts)
        and parts[0].lower() != b".usbcrypt"
    )


def decode_attributes(data):
    def bad(why):
        raise Refused("tampered", "head", why)

    attributes, previous, xattr_bytes, i = {"xattrs": []}, 0, 0, 0
    lengths = {2: 8, 3: 12, 4: 2, 5: 8, 6: 1, 7: 16}
    while i < len(data):
        if len(data) - i < 4:
            bad("a field's header is cut")
        kind, length = struct.unpack_from("<HH", data, i)
        number, value = kind & 0x7FFF, data[i + 4 : i + 4 + length]
        i += 4 + length
        if len(value) != length:
            bad("a field is cut")
        if number < previous or (number == previous and number != 8):
            bad("fields are not ascending")
        previous = number
        if number in lengths and length != lengths[number]:
            bad("a value's length")
        if number == 1:
            if not path_is_valid(value):
                bad("path")
            attributes["path"] = value
        elif number == 2:
            attributes["size"] = struct.unpack("<Q", value)[0]
            if attributes["size"] >= 1 << 63:
                bad("size")
        elif number == 3:
            attributes["mtime"] = struct.unpack("<qI", value)
            if attributes["mtime"][1] >= 10**9:
                bad("nanoseconds")
        elif number == 4:
            attributes["mode"] = struct.unpack("<H", value)[0]
            if attributes["mode"] > 0o7777:
                bad("mode")
        elif number == 5:
            attributes["owner"] = struct.unpack("<II", value)
        elif number == 6:
            attributes["fat"] = value[0]
        elif number == 7:
            attributes["run"] = value
        elif number == 8:
            if length < 1 or length < 1 + value[0]:
                bad("extended attribute")
            name, content = value[1 : 1 + value[0]], value[1 + value[0] :]
            xattr_bytes += len(name) + len(content)
            if not name.startswith(b"user.") or len(name) == 5 or b"\0" in name or xattr_bytes > 49152:
                bad("extended attribute")
            if attributes["xattrs"] and attributes["xattrs"][-1][0] >= name:
                bad("extended attributes are not ascending")
            attributes["xattrs"].append((name, content))
            if len(attributes["xattrs"]) > 256:
                bad("too many extended attributes")
        elif kind & 0x8000:
            raise Refused("unsupported", "head", "a critical attribute is not known")
    if "path" not in attributes or "size" not in attributes:
        bad("path or size is missing")
    return attributes


def chunk_nonce(suite, index, last):
    return (struct.pack(">QB", index, last)).rjust(SUITES[suite].nonce_size, b"\0")


def build_head(drive_key, drive_id, epoch, suite, file_id, salt, attributes, **override):
    """`override` sets header fields to what they should not be, before commitment and MAC are made."""
    o = override.get
    header = HEADER.pack(
        o("magic", MAGIC), o("version", 1), o("suite", suite), o("requires", 0), o("header_length", 160),
        o("attributes_length", len(attributes) + 16), o("chunk_size", CHUNK), epoch, drive_id, file_id, salt,
    )
    keys = FileKeys(file_root(drive_key), header)
    header += keys.commitment
    header += blake2b(32, header, keys.mac)
    return header + XChaCha20Poly1305(keys.attributes).seal(bytes(24), attributes, header), keys


def seal_chunks(keys, suite, plain):
    cipher = SUITES[suite](keys.chunks)
    pieces = [plain[i : i + CHUNK] for i in range(0, len(plain), CHUNK)] or [b""]
    return [
        cipher.seal(chunk_nonce(suite, i, i == len(pieces) - 1), piece) for i, piece in enumerate(pieces)
    ]


def read_file(drive_key, drive_id, epoch, data):
    """The attributes and the plaintext of an encrypted file; raises Refused."""

    def bad(step, why):
        raise Refused("tampered", step, why)

    if len(data) < 160 or data[:8] != MAGIC:
        bad("head", "no header")
    _, version, suite, requires, header_length, attributes_length, chunk, e, drive, _, _ = HEADER.unpack(data[:96])
    if version != 1:
        raise Refused("unsupported", "head", "version")
    if header_length != 160 or not 16 <= attributes_length <= 65552 or chunk != CHUNK:
        bad("head", "a length is out of range")
    if suite not in SUITES or requires:
        raise Refused("unsupported", "head", "suite or requires")
    if drive != drive_id or e != epoch:
        raise Refused("foreign", "head", "drive id or epoch")
    header, head_size = data[:160], 160 + attributes_length
    if len(data) < head_size:
        bad("head", "the attributes are cut")
    keys = FileKeys(file_root(drive_key), header)
    if not hmac.compare_digest(header[96:128], keys.commitment):
        bad("head", "commitment")
    if not hmac.compare_digest(header[128:], blake2b(32, header[:128], keys.mac)):
        bad("head", "header MAC")
    attributes = XChaCha20Poly1305(keys.attributes).open(bytes(24), data[160:head_size], header)
    if attributes is None:
        bad("head", "attributes")
    attributes = decode_attributes(attributes)

    body = len(data) - head_size
    count = -(-body // (CHUNK + 16))
    rest = body - (count - 1) * (CHUNK + 16)
    if count == 0 or rest < 16 or (rest == 16 and count > 1) or body - 16 * count != attributes["size"]:
        bad("size", "the file's length")
    cipher, plain = SUITES[suite](keys.chunks), []
    for i in range(count):
        start = head_size + i * (CHUNK + 16)
        piece = cipher.open(chunk_nonce(suite, i, i == count - 1), data[start : start + CHUNK + 16])
        if piece is None:
            bad("chunk", f"chunk {i}")
        plain.append(piece)
    return attributes, b"".join(plain)


# --- drive.json ----------------------------------------------------------------------------------------------

METADATA_SIZE = 16384


def slot_associated(drive_id, slot):
    return (
        b"usbcrypt slot" + struct.pack("<I", 1) + drive_id
        + struct.pack("<IIIQI", slot["id"], 1, slot["epoch"], int(slot["kdf"]["memory"]), slot["kdf"]["passes"])
    )


def wrap_slot(drive_id, number, epoch, salt, memory, passes, passphrase, drive_key):
    slot = {
        "id": number, "type": "passphrase", "epoch": epoch, "salt": salt.hex(),
        "kdf": {"algorithm": "argon2id", "memory": str(memory), "passes": passes},
    }
    k = argon2id(normalize_passphrase(passphrase), salt, memory, passes)
    sealed = XChaCha20Poly1305(kdf(k, 1, b"ucr-slot")).seal(bytes(24), drive_key, slot_associated(drive_id, slot))
    slot["commitment"] = kdf(k, 2, b"ucr-slot").hex()
    slot["wrapped"] = sealed.hex()
    return slot


def print_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def metadata_mac(drive_key, line):
    return blake2b(32, b"usbcrypt drive.json" + line, kdf(drive_key, 1, b"usbcrypt"))


def format_metadata(drive_key, line):
    if not isinstance(line, bytes):
        line = print_json(line)
    text = line + b"\n" + metadata_mac(drive_key, line).hex().encode() + b"\n"
    return text if len(text) == METADATA_SIZE else text.ljust(METADATA_SIZE - 1) + b"\n"


def parse_line(line):
    def bad(why):
        raise Refused("tampered", "parse", why)

    def pairs(items):
        if len({k for k, _ in items}) != len(items):
            bad("a key stands twice")
        return dict(items)

    def no_float(text):
        return bad("a number that is not an integer")

    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        bad("not UTF-8")
    if any(ord(c) < 0x20 or c in "\x7f\\" for c in text):
        bad("a control character or an escape")
    depth = deepest = 0
    for outside in text.split('"')[::2]:
        for c in outside:
            depth += (c in "{[") - (c in "}]")
            deepest = max(deepest, depth)
    if deepest > 8:
        bad("nested too deeply")
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_float=no_float, parse_constant=no_float)
    except ValueError:
        bad("no JSON")
    if not isinstance(value, dict) or print_json(value) != line:
        bad("not in the one form")

    def check_numbers(v):
        if isinstance(v, dict):
            v = list(v.values())
        if isinstance(v, list):
            for x in v:
                check_numbers(x)
        elif isinstance(v, int) and not isinstance(v, bool) and not 0 <= v < 10**15:
            bad("a number out of range")

    check_numbers(value)
    return value


def parse_metadata(data):
    def need(condition, why):
        if not condition:
            raise Refused("tampered", "parse", why)

    def number(o, key, low, high):
        v = o.get(key)
        need(isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, key)
        return v

    def decimal(o, key, low, high):
        v = o.get(key)
        need(isinstance(v, str) and re.fullmatch("0|[1-9][0-9]{0,19}", v) and low <= int(v) <= high, key)
        return int(v)

    def text(o, key):
        v = o.get(key)
        need(isinstance(v, str) and 1 <= len(v.encode()) <= 64, key)
        return v

    def hexadecimal(o, key, size):
        v = o.get(key)
        need(isinstance(v, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", v), key)
        return bytes.fromhex(v)

    def items(o, key, low, high):
        v = o.get(key)
        need(isinstance(v, list) and low <= len(v) <= high, key)
        return v

    need(len(data) == METADATA_SIZE and data[-1:] == b"\n", "the file's length")
    match = re.fullmatch(rb"([^\n]+)\n([0-9a-f]{64})\n(?: *\n)?", data)
    need(match, "lines")
    line, mac = match.group(1), match.group(2)
    top = parse_line(line)
    need(top.get("format") == "usbcrypt", "format")
    largest = (1 << 31) - 1
    if number(top, "version", 1, largest) != 1:
        raise Refused("unsupported", "parse", "version")
    for entry in items(top, "requires", 0, 16):
        need(isinstance(entry, str) and 1 <= len(entry.encode()) <= 64, "requires")
    if top["requires"]:
        raise Refused("unsupported", "parse", "requires")
    metadata = {
        "generation": decimal(top, "generation", 1, (1 << 64) - 2),
        "drive": hexadecimal(top, "drive", 16),
        "suite": SUITE_NAMES.get(text(top, "suite")),
        "epoch": number(top, "epoch", 1, largest),
        "slots": [], "line": line, "mac": bytes.fromhex(mac.decode()),
    }
    epochs = items(top, "epochs", 1, 16)
    need(all(isinstance(e, int) and not isinstance(e, bool) and 1 <= e <= largest for e in epochs), "epochs")
    need(epochs == sorted(set(epochs)) and metadata["epoch"] in epochs, "epochs")
    need(isinstance(top.get("policy"), dict), "policy")
    ids, cost = set(), 0
    for slot in items(top, "slots", 1, 8):
        need(isinstance(slot, dict), "slot")
        ids.add(number(slot, "id", 1, largest))
        if text(slot, "type") != "passphrase":
            continue
        parameters = slot.get("kdf")
        need(isinstance(parameters, dict) and parameters.get("algorithm") == "argon2id", "kdf")
        memory = decimal(parameters, "memory", 64 << 20, 1 << 30)
        need(memory % 1024 == 0, "memory")
        cost += memory * number(parameters, "passes", 2, 16)
        number(slot, "epoch", 1, largest)
        hexadecimal(slot, "salt", 16)
        hexadecimal(slot, "commitment", 32)
        hexadecimal(slot, "wrapped", 48)
        metadata["slots"].append(slot)
    need(len(ids) == len(top["slots"]), "slot ids")
    need(cost <= 1 << 34, "the cost of all slots")
    return metadata


def unlock(data, passphrase):
    """The drive key and what one copy of drive.json says; raises Refused."""
    metadata = parse_metadata(data)
    verdict = "unsupported"
    for slot in metadata["slots"]:
        if slot["epoch"] != metadata["epoch"]:
            continue
        k = argon2id(
            normalize_passphrase(passphrase), bytes.fromhex(slot["salt"]), int(slot["kdf"]["memory"]),
            slot["kdf"]["passes"],
        )
        if not hmac.compare_digest(kdf(k, 2, b"ucr-slot"), bytes.fromhex(slot["commitment"])):
            if verdict == "unsupported":
                verdict = "wrong-passphrase"
            continue
        drive_key = XChaCha20Poly1305(kdf(k, 1, b"ucr-slot")).open(
            bytes(24), bytes.fromhex(slot["wrapped"]), slot_associated(metadata["drive"], slot)
        )
        if drive_key is None or not hmac.compare_digest(metadata["mac"], metadata_mac(drive_key, metadata["line"])):
            verdict = "tampered"
            continue
        if metadata["suite"] is None:
            raise Refused("unsupported", "unlock", "suite")
        return drive_key, metadata
    raise Refused(verdict, "unlock", "no slot opens")
