# SPDX-License-Identifier: LGPL-2.1-or-later
"""The published algorithms that the format uses, in slow Python from the standard library alone; except Argon2id, which is
libsodium's. RFC 8439, draft-irtf-cfrg-xchacha-03, NIST SP 800-38D, FIPS 197, RFC 7693."""

import array
import ctypes
import hashlib
import hmac
import struct


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


def self_test():
    """Known answers, so that a wrong primitive is found here and not in a vector."""
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
