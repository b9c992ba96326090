# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second implementation of usbcrypt's format, version 1, written from daemon/engine/FORMAT.md alone.

It shares no code with the daemon and is neither fast nor careful with memory: it is there to prove that the page
is complete, and to make and check the vectors. Everything is the Python standard library, except Argon2id, which
is libsodium's.
"""

import array
import ctypes
import hashlib
import hmac
import json
import re
import struct
import unicodedata


# --- primitives ----------------------------------------------------------------------------------------------

def blake2b(size, data, key=b""):
    return hashlib.blake2b(data, digest_size=size, key=key).digest()


def kdf(key, number, context):
    assert len(key) == 32 and len(context) == 8
    return hashlib.blake2b(
        b"", digest_size=32, key=key, salt=struct.pack("<QQ", number, 0), person=context + bytes(8)
    ).digest()


CHACHA_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def chacha_rounds(state, mask):
    """Twenty rounds over sixteen words, each of which may hold many 32-bit lanes in 64-bit steps."""

    def quarter(a, b, c, d):
        state[a] = (state[a] + state[b]) & mask
        t = (state[d] ^ state[a]) << 16
        state[d] = (t | t >> 32) & mask
        state[c] = (state[c] + state[d]) & mask
        t = (state[b] ^ state[c]) << 12
        state[b] = (t | t >> 32) & mask
        state[a] = (state[a] + state[b]) & mask
        t = (state[d] ^ state[a]) << 8
        state[d] = (t | t >> 32) & mask
        state[c] = (state[c] + state[d]) & mask
        t = (state[b] ^ state[c]) << 7
        state[b] = (t | t >> 32) & mask

    for _ in range(10):
        quarter(0, 4, 8, 12)
        quarter(1, 5, 9, 13)
        quarter(2, 6, 10, 14)
        quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15)
        quarter(1, 6, 11, 12)
        quarter(2, 7, 8, 13)
        quarter(3, 4, 9, 14)


def chacha20_stream(key, nonce, counter, size):
    blocks = (size + 63) // 64
    if blocks == 0:
        return b""
    ones = int.from_bytes(struct.pack("<Q", 1) * blocks, "little")
    mask = 0xFFFFFFFF * ones
    words = list(CHACHA_CONSTANTS) + list(struct.unpack("<8I", key)) + [0] + list(struct.unpack("<3I", nonce))
    start = [w * ones for w in words]
    start[12] = int.from_bytes(struct.pack(f"<{blocks}Q", *range(counter, counter + blocks)), "little")
    state = list(start)
    chacha_rounds(state, mask)
    out = array.array("I", bytes(64 * blocks))
    for i in range(16):
        lanes = ((state[i] + start[i]) & mask).to_bytes(8 * blocks, "little")
        out[i::16] = array.array("I", struct.unpack("<" + "I4x" * blocks, lanes))
    return out.tobytes()[:size]


def hchacha20(key, nonce):
    state = list(CHACHA_CONSTANTS) + list(struct.unpack("<8I", key)) + list(struct.unpack("<4I", nonce))
    chacha_rounds(state, 0xFFFFFFFF)
    return struct.pack("<8I", *state[:4], *state[12:])


def xor(a, b):
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(key[16:], "little")
    p = (1 << 130) - 5
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i : i + 16] + b"\x01", "little")) * r % p
    return ((acc + s) & ((1 << 128) - 1)).to_bytes(16, "little")


def pad16(data):
    return data + bytes(-len(data) % 16)


class Refused(Exception):
    """What was read is not to be believed: `verdict` is what FORMAT.md calls it, `step` where it was seen."""

    def __init__(self, verdict, step, why):
        super().__init__(f"{verdict} at {step}: {why}")
        self.verdict, self.step = verdict, step


class ChaCha20Poly1305:
    nonce_size = 12

    def __init__(self, key):
        self.key = key

    def keys(self, nonce):
        return self.key, nonce

    def tag(self, key, nonce, ciphertext, associated):
        data = pad16(associated) + pad16(ciphertext) + struct.pack("<QQ", len(associated), len(ciphertext))
        return poly1305(chacha20_stream(key, nonce, 0, 32), data)

    def seal(self, nonce, plain, associated=b""):
        key, nonce = self.keys(nonce)
        ciphertext = xor(plain, chacha20_stream(key, nonce, 1, len(plain)))
        return ciphertext + self.tag(key, nonce, ciphertext, associated)

    def open(self, nonce, sealed, associated=b""):
        key, nonce = self.keys(nonce)
        ciphertext, tag = sealed[:-16], sealed[-16:]
        if len(sealed) < 16 or not hmac.compare_digest(tag, self.tag(key, nonce, ciphertext, associated)):
            return None
        return xor(ciphertext, chacha20_stream(key, nonce, 1, len(ciphertext)))


class XChaCha20Poly1305(ChaCha20Poly1305):
    nonce_size = 24

    def keys(self, nonce):
        return hchacha20(self.key, nonce[:16]), bytes(4) + nonce[16:]


def aes_tables():
    power, logarithm, x = [0] * 256, [0] * 256, 1
    for i in range(255):
        power[i], logarithm[x] = x, i
        x ^= (x << 1) ^ (0x11B if x & 0x80 else 0)
        x &= 0xFF
    sbox = []
    for i in range(256):
        b = power[(255 - logarithm[i]) % 255] if i else 0
        s = b
        for shift in range(1, 5):
            s ^= (b << shift | b >> (8 - shift)) & 0xFF
        sbox.append(s ^ 0x63)
    t0 = []
    for s in sbox:
        two = (s << 1) ^ (0x11B if s & 0x80 else 0)
        t0.append(two << 24 | s << 16 | s << 8 | (two ^ s))
    rotate = lambda w, n: (w >> n | w << (32 - n)) & 0xFFFFFFFF  # noqa: E731
    return sbox, t0, [rotate(w, 8) for w in t0], [rotate(w, 16) for w in t0], [rotate(w, 24) for w in t0]


SBOX, T0, T1, T2, T3 = aes_tables()


class AES256GCM:
    nonce_size = 12

    def __init__(self, key):
        words = list(struct.unpack(">8I", key))
        rcon = 1
        for i in range(8, 60):
            t = words[i - 1]
            if i % 8 == 0:
                t = (t << 8 | t >> 24) & 0xFFFFFFFF
            if i % 4 == 0:
                t = SBOX[t >> 24] << 24 | SBOX[t >> 16 & 255] << 16 | SBOX[t >> 8 & 255] << 8 | SBOX[t & 255]
            if i % 8 == 0:
                t ^= rcon << 24
                rcon <<= 1
            words.append(words[i - 8] ^ t)
        self.schedule = words
        self.make_table(int.from_bytes(self.block(bytes(16)), "big"))

    def make_table(self, h):
        """h times each byte value, at each of sixteen places, in GCM's reflected field."""
        multiples = [0] * 256
        place = 128
        while place:
            multiples[place] = h
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
            place >>= 1
        self.table = []
        for _ in range(16):
            for i in range(1, 256):
                low = i & -i
                if i != low:
                    multiples[i] = multiples[low] ^ multiples[i ^ low]
            self.table.append(multiples)
            shifted = [0] * 256
            for i in range(8):
                v = multiples[1 << i]
                for _ in range(8):
                    v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
                shifted[1 << i] = v
            multiples = shifted

    def block(self, data):
        k = self.schedule
        a, b, c, d = struct.unpack(">4I", data)
        a, b, c, d = a ^ k[0], b ^ k[1], c ^ k[2], d ^ k[3]
        for i in range(4, 56, 4):
            a, b, c, d = (
                T0[a >> 24] ^ T1[b >> 16 & 255] ^ T2[c >> 8 & 255] ^ T3[d & 255] ^ k[i],
                T0[b >> 24] ^ T1[c >> 16 & 255] ^ T2[d >> 8 & 255] ^ T3[a & 255] ^ k[i + 1],
                T0[c >> 24] ^ T1[d >> 16 & 255] ^ T2[a >> 8 & 255] ^ T3[b & 255] ^ k[i + 2],
                T0[d >> 24] ^ T1[a >> 16 & 255] ^ T2[b >> 8 & 255] ^ T3[c & 255] ^ k[i + 3],
            )
        out = []
        for i, (p, q, r, s) in enumerate(((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c))):
            w = SBOX[p >> 24] << 24 | SBOX[q >> 16 & 255] << 16 | SBOX[r >> 8 & 255] << 8 | SBOX[s & 255]
            out.append(w ^ k[56 + i])
        return struct.pack(">4I", *out)

    def ghash(self, data):
        acc = 0
        for i in range(0, len(data), 16):
            acc ^= int.from_bytes(data[i : i + 16], "big")
            product = 0
            for table, byte in zip(self.table, acc.to_bytes(16, "big")):
                product ^= table[byte]
            acc = product
        return acc.to_bytes(16, "big")

    def counter(self, nonce, data):
        stream = b"".join(
            self.block(nonce + struct.pack(">I", 2 + i)) for i in range((len(data) + 15) // 16)
        )
        return xor(data, stream[: len(data)])

    def tag(self, nonce, ciphertext, associated):
        lengths = struct.pack(">QQ", 8 * len(associated), 8 * len(ciphertext))
        hashed = self.ghash(pad16(associated) + pad16(ciphertext) + lengths)
        return xor(hashed, self.block(nonce + struct.pack(">I", 1)))

    def seal(self, nonce, plain, associated=b""):
        ciphertext = self.counter(nonce, plain)
        return ciphertext + self.tag(nonce, ciphertext, associated)

    def open(self, nonce, sealed, associated=b""):
        ciphertext, tag = sealed[:-16], sealed[-16:]
        if len(sealed) < 16 or not hmac.compare_digest(tag, self.tag(nonce, ciphertext, associated)):
            return None
        return self.counter(nonce, ciphertext)


SUITES = {1: XChaCha20Poly1305, 2: ChaCha20Poly1305, 3: AES256GCM}
SUITE_NAMES = {"xchacha20-poly1305": 1, "chacha20-poly1305": 2, "aes-256-gcm": 3}


def argon2id(passphrase, salt, memory, passes):
    sodium = ctypes.CDLL("libsodium.so.23")
    assert sodium.sodium_init() >= 0
    out = ctypes.create_string_buffer(32)
    done = sodium.crypto_pwhash_argon2id(
        out, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)), salt,
        ctypes.c_ulonglong(passes), ctypes.c_size_t(memory), ctypes.c_int(2),
    )
    assert done == 0
    return out.raw


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
    return stored if name == blake2b(16, stored).hex().encode() + b"~" else name


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


# --- known answers, so that a wrong primitive is found here and not in a vector -----------------------------

def self_test():
    h = bytes.fromhex
    key = bytes(range(0x80, 0xA0))
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen "
        b"would be it."
    )
    aad = h("50515253c0c1c2c3c4c5c6c7")
    sealed = ChaCha20Poly1305(key).seal(h("070000004041424344454647"), text, aad)  # RFC 8439, 2.8.2
    assert sealed[-16:] == h("1ae10b594f09e26a7e902ecbd0600691")
    sealed = XChaCha20Poly1305(key).seal(bytes(range(0x40, 0x58)), text, aad)  # draft-irtf-cfrg-xchacha-03, A.3
    assert sealed[-16:] == h("c0875924c1c7987947deafd8780acf49")
    gcm = AES256GCM(h("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))  # GCM's test case 16
    sealed = gcm.seal(
        h("cafebabefacedbaddecaf888"),
        h("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
          "b16aedf5aa0de657ba637b39"),
        h("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    assert sealed[-16:] == h("76fc6ece0f4e1768cddf8853bb2d551b")


self_test()
