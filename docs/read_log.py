#!/usr/bin/env python3
"""Reads a log and prints its side blocks as JSON lines, as `mainstem inspect export` does.

    python3 docs/read_log.py DIR                 DIR holds the files LOG, MARK, 0000000001.seg, ...
    python3 docs/read_log.py DIR --headers       one line a main block
    python3 docs/read_log.py DIR --operations    one line for each change of the registry of side chains
    python3 docs/read_log.py DIR --trust         faster: the checksums of records are not looked at
    python3 docs/read_log.py --self-test         XXH3 against known values

Written from docs/format.md alone, with nothing but the standard library: it shows that the document is exact, and
may be a start for a reader in another language. It reads a log that nobody writes meanwhile, stops at the first
damage (exit code 1), and does not look behind the last record for signs that there were more.
"""

import argparse
import hashlib
import json
import os
import struct
import sys

# ---- XXH3-64 with a seed (xxHash 0.8), for every length ----

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def u32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def u64(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def swap(value, size):
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def avalanche(h):
    h = (h ^ h >> 37) * 0x165667919E3779F9 & M64
    return h ^ h >> 32


def avalanche_64(h):
    h = (h ^ h >> 33) * P64_2 & M64
    h = (h ^ h >> 29) * P64_3 & M64
    return h ^ h >> 32


def mix16(data, at, secret_at, seed):
    a = u64(data, at) ^ (u64(SECRET, secret_at) + seed & M64)
    b = u64(data, at + 8) ^ (u64(SECRET, secret_at + 8) - seed & M64)
    return fold(a, b)


def xxh3(data, seed=0):
    n = len(data)
    if n > 240:
        return xxh3_long(data, seed)
    if n > 128:
        h = n * P64_1
        h += sum(mix16(data, 16 * i, 16 * i, seed) for i in range(8))
        h = avalanche(h & M64)
        h += sum(mix16(data, 16 * i, 16 * (i - 8) + 3, seed) for i in range(8, n // 16))
        return avalanche(h + mix16(data, n - 16, 136 - 17, seed) & M64)
    if n > 16:
        h = n * P64_1
        for i in range((n - 1) // 32 + 1):
            h += mix16(data, 16 * i, 32 * i, seed) + mix16(data, n - 16 * (i + 1), 32 * i + 16, seed)
        return avalanche(h & M64)
    if n > 8:
        low = u64(data, 0) ^ ((u64(SECRET, 24) ^ u64(SECRET, 32)) + seed & M64)
        high = u64(data, n - 8) ^ ((u64(SECRET, 40) ^ u64(SECRET, 48)) - seed & M64)
        return avalanche(n + swap(low, 8) + high + fold(low, high) & M64)
    if n >= 4:
        seed ^= swap(seed & M32, 4) << 32
        h = u32(data, n - 4) + (u32(data, 0) << 32)
        h ^= (u64(SECRET, 8) ^ u64(SECRET, 16)) - seed & M64
        h ^= (h << 49 & M64 | h >> 15) ^ (h << 24 & M64 | h >> 40)
        h = h * 0x9FB21C651E98DF25 & M64
        h = (h ^ (h >> 35) + n) * 0x9FB21C651E98DF25 & M64
        return h ^ h >> 28
    if n > 0:
        h = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return avalanche_64(h ^ ((u32(SECRET, 0) ^ u32(SECRET, 4)) + seed & M64))
    return avalanche_64(seed ^ u64(SECRET, 56) ^ u64(SECRET, 64))


def xxh3_long(data, seed):
    words = struct.unpack("<24Q", SECRET)
    secret = struct.pack("<24Q", *((w + (-seed if i % 2 else seed)) & M64 for i, w in enumerate(words)))
    keys = [struct.unpack_from("<8Q", secret, 8 * i) for i in range(16)]
    scramble = struct.unpack_from("<8Q", secret, 128)
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]

    def stripe(at, key):
        for i, word in enumerate(struct.unpack_from("<8Q", data, at)):
            keyed = word ^ key[i]
            acc[i ^ 1] += word
            acc[i] += (keyed & M32) * (keyed >> 32)

    n = len(data)
    for index in range((n - 1) // 64):
        stripe(64 * index, keys[index % 16])
        if index % 16 == 15:
            for i in range(8):
                a = acc[i] & M64
                acc[i] = ((a ^ a >> 47) ^ scramble[i]) * P32_1 & M64
    stripe(n - 64, struct.unpack_from("<8Q", secret, 192 - 64 - 7))
    acc = [a & M64 for a in acc]
    h = n * P64_1
    for i in range(4):
        at = 11 + 16 * i
        h += fold(acc[2 * i] ^ u64(secret, at), acc[2 * i + 1] ^ u64(secret, at + 8))
    return avalanche(h & M64)


def self_test():
    """Values of xxHash's own self-test: a generated buffer, seeds 0 and PRIME64."""
    prime = 0x9E3779B185EBCA8D
    buffer, state = bytearray(), P32_1
    for _ in range(2400):
        buffer.append(state >> 56)
        state = state * prime & M64
    known = [
        (0, 0, 0x2D06800538D394C2), (0, prime, 0xA8A6B918B2F0364A),
        (1, 0, 0xC44BDFF4074EECDB), (1, prime, 0x032BE332DD766EF8),
        (6, 0, 0x27B56A84CD2D7325), (6, prime, 0x84589C116AB59AB9),
        (12, 0, 0xA713DAF0DFBB77E7), (12, prime, 0xE7303E1B2336DE0E),
        (24, 0, 0xA3FE70BF9D3510EB), (24, prime, 0x850E80FC35BDD690),
        (48, 0, 0x397DA259ECBA1F11), (48, prime, 0xADC2CBAA44ACC616),
        (80, 0, 0xBCDEFBBB2C47C90A), (80, prime, 0xC6DD0CB699532E73),
        (195, 0, 0xCD94217EE362EC3A), (195, prime, 0xBA68003D370CB3D9),
        (403, 0, 0xCDEB804D65C6DEA4), (403, prime, 0x6259F6ECFD6443FD),
        (512, 0, 0x617E49599013CB6B), (512, prime, 0x3CE457DE14C27708),
        (2048, 0, 0xDD59E2C3A5F038E0), (2048, prime, 0x66F81670669ABABC),
        (2099, 0, 0xC6B9D9B3FC9AC765), (2099, prime, 0x184F316843663974),
        (2240, 0, 0x6E73A90539CF2948), (2240, prime, 0x757BA8487D1B5247),
        (2367, 0, 0xCB37AEB9E5D361ED), (2367, prime, 0xD2DB3415B942B42A),
    ]
    for n, seed, value in known:
        found = xxh3(bytes(buffer[:n]), seed)
        assert found == value, f"XXH3 of {n} bytes with seed {seed:#x} is {found:#x}, expected {value:#x}"
    print(f"XXH3: {len(known)} known values are right")


# ---- Section 3: checksums, and the files LOG, MARK, BASE, OPERATIONS ----

RECORD, HEADER, CHAINS, RUNS, OFFSETS, TRAILER, MARK, RECORD_HEADER, BASE, OPERATIONS = range(1, 11)


class Damaged(Exception):
    pass


def expect(right, where, what):
    if not right:
        raise Damaged(f"{where}: {what}")


class Log:
    def __init__(self, directory):
        self.directory = directory
        data, where = self.small("LOG", 256)
        expect(u64(data, 0) == xxh3(data[8:]), where, "wrong checksum")
        expect(data[8:16] == b"MAINSLOG" and u32(data, 16) == 1, where, "no LOG of version 1")
        self.main_chain, self.size, self.key = u32(data, 20), u64(data, 24), data[64:96]
        data, where = self.small("MARK", 128)
        self.check(u64(data, 0), data[8:], where, MARK)
        expect(data[8:16] == b"MAINMARK" and u32(data, 16) == 1, where, "no MARK of version 1")
        self.is_dropping = u32(data, 20) & 1
        self.generation, self.first_record, durable = u64(data, 24), u64(data, 32), u64(data, 56)
        # The newest record that was durable for certain.
        self.certain = max(durable, self.first_record - 1)
        # Without a file BASE, nothing was pruned.
        self.base_segment, self.base_record = 1, 1
        if os.path.exists(os.path.join(self.directory, "BASE")):
            data, where = self.small("BASE")
            self.check(u64(data, 0), data[8:], where, BASE)
            expect(data[8:16] == b"MAINBASE" and u32(data, 16) == 1, where, "no BASE of version 1")
            chains, self.base_segment, self.base_record = struct.unpack_from("<IQQ", data, 20)
            length = 64 + 32 * bin(self.base_record - 1).count("1") + 48 * chains
            expect(len(data) == length, where, f"has {len(data)} bytes, expected {length}")

    def operations(self, head):
        """What blocks up to `head` have changed in the registry of side chains."""
        if not os.path.exists(os.path.join(self.directory, "OPERATIONS")):
            return
        data, where = self.small("OPERATIONS")
        self.check(u64(data, 0), data[8:], where, OPERATIONS)
        expect(data[8:16] == b"MAINOPER" and u32(data, 16) == 1, where, "no OPERATIONS of version 1")
        at = 64
        for _ in range(u32(data, 20)):
            height, length = u64(data, at), u32(data, at + 8)
            entry, at = data[at + 16 : at + 16 + length], at + 16 + (length + 7) // 8 * 8
            expect(len(entry) == length, where, "an operation does not fit the file")
            if height <= head:
                yield {"main_height": height, **operation(entry)}

    def small(self, name, size=None):
        path = os.path.join(self.directory, name)
        with open(path, "rb") as file:
            data = file.read()
        expect(size is None or len(data) == size, path, f"has {len(data)} bytes, expected {size}")
        return data, path

    def check(self, checksum, data, where, purpose, segment=0, offset=0, number=0):
        seed = xxh3(self.key + struct.pack("<4Q", purpose, segment, offset, number))
        expect(checksum == xxh3(data, seed), where, "wrong checksum")

    def may_write(self, number, generation):
        """Section 4: whether a session may have written a record."""
        if number < self.first_record:
            return generation < self.generation
        return generation == self.generation

    def records(self, trust):
        """The bodies of all records, with their numbers."""
        segment, number, generation = self.base_segment, self.base_record, 0
        while True:
            reader = Segment(self, segment)
            if not reader.is_sealed():
                yield from reader.active(number, generation)
                return
            yield from reader.sealed(number, generation, trust)
            segment, number = segment + 1, number + reader.count
            generation = reader.generation


# ---- Section 2: segments and records ----


class Segment:
    def __init__(self, log, segment):
        self.log, self.segment = log, segment
        self.path = os.path.join(log.directory, f"{segment:010}.seg")
        self.file = open(self.path, "rb")
        found = os.fstat(self.file.fileno()).st_size
        expect(found == log.size, self.path, f"has {found} bytes, expected {log.size}")
        data = self.read(0, 4096)
        log.check(u64(data, 0), data[8:], self.at(0), HEADER, segment)
        right = data[8:16] == b"MAINSEGM" and u32(data, 16) == 1
        expect(right and u64(data, 24) == segment and u64(data, 32) == log.size, self.at(0), "wrong header")

    def read(self, offset, length):
        self.file.seek(offset)
        data = self.file.read(length)
        expect(len(data) == length, self.at(offset), f"{length} bytes do not fit the file")
        return data

    def at(self, offset):
        return f"{self.path} at byte {offset}"

    def is_sealed(self):
        at = self.log.size - 128
        trailer = self.read(at, 128)
        try:
            self.log.check(u64(trailer, 0), trailer[8:], self.at(at), TRAILER, self.segment)
        except Damaged:
            if self.log.is_dropping:
                return False
            # The segment after one without a trailer is absent or empty: section 2, rules 1 and 2.
            following = os.path.join(self.log.directory, f"{self.segment + 1:010}.seg")
            if os.path.exists(following):
                with open(following, "rb") as file:
                    file.seek(4096)
                    expect(not any(file.read(64)), self.at(at), "the trailer is damaged")
            return False
        right = trailer[8:16] == b"MAINSEAL" and u32(trailer, 16) == 1 and u64(trailer, 24) == self.segment
        expect(right, self.at(at), "wrong trailer")
        self.generation, self.first, self.leaves = struct.unpack_from("<3Q", trailer, 32)
        self.count, self.chains, self.runs, self.end, self.index = struct.unpack_from("<5I", trailer, 56)
        self.sums = struct.unpack_from("<3Q", trailer, 80)
        last = self.first + self.count - 1
        # A session may seal a segment that only earlier ones wrote.
        newest = self.log.generation
        right = self.generation <= newest and (last < self.log.first_record or self.generation == newest)
        if not right and self.log.is_dropping:
            # It holds records that are being taken back.
            return False
        expect(right, self.at(at), f"sealed by generation {self.generation}, which may not")
        return True

    def tables(self):
        """The three tables of the index, as tuples of numbers."""
        at, tables = self.index, []
        shapes = zip((CHAINS, RUNS, OFFSETS), ("<IIQ", "<QII", "<I"), (self.chains, self.runs, self.count))
        for checksum, (purpose, shape, count) in zip(self.sums, shapes):
            data = self.read(at, count * struct.calcsize(shape))
            self.log.check(checksum, data, self.at(at), purpose, self.segment)
            tables.append(list(struct.iter_unpack(shape, data)))
            at += len(data)
        padding = self.read(at, self.log.size - 128 - at)
        expect(len(padding) < 64 and not any(padding), self.at(at), "the index does not end at the trailer")
        return tables

    def sealed(self, number, generation, trust):
        expect(self.first == number, self.path, f"begins with record {self.first}, expected {number}")
        expect(self.generation >= generation, self.path, "sealed by an older session than the one before")
        chains, runs, offsets = self.tables()
        expect(sum(count for _, count, _ in runs) == self.leaves, self.path, "wrong number of side blocks")
        expect(chains[-1][1] == self.runs if chains else self.runs == 0, self.path, "wrong number of runs")
        for at in offsets:
            _, length = self.record_header(at[0], number)
            yield number, self.body(at[0], number, length, trust)
            number += 1
        expect(offsets[-1][0] + 64 + (length + 63) // 64 * 64 == self.end, self.path, "the records end elsewhere")

    def active(self, number, generation):
        """Section 6, step 4, and section 8: the records while they are whole, numbered on, and of a right generation."""
        at = 4096
        while at + 64 <= self.log.size - 128:
            try:
                newer, length = self.record_header(at, number)
                expect(self.log.may_write(number, newer) and newer >= generation, self.at(at), "wrong generation")
                body = self.body(at, number, length, False)
            except Damaged:
                break
            yield number, body
            at, number, generation = at + 64 + (length + 63) // 64 * 64, number + 1, newer
        # Step 5, as far as the mark tells: what was durable for certain cannot be a torn write.
        expect(number > self.log.certain, self.at(at), f"record {number} is damaged")

    def record_header(self, at, number):
        """The generation of a record and the length of its body."""
        data, where = self.read(at, 64), f"{self.at(at)}, record {number}"
        self.log.check(u64(data, 48), data[8:48], where, RECORD_HEADER, self.segment, at, number)
        expect(data[8:12] == b"mREC" and data[12:14] == b"\1\1", where, "no main block of version 1")
        expect(u64(data, 24) == number, where, "wrong number")
        expect(at + 64 + u32(data, 16) <= self.log.size - 128, where, "too long")
        return u64(data, 32), u32(data, 16)

    def body(self, at, number, length, trust):
        record = self.read(at, 64 + (length + 63) // 64 * 64)
        if not trust:
            where = f"{self.at(at)}, record {number}"
            self.log.check(u64(record, 0), record[8:], where, RECORD, self.segment, at, number)
        return record[64 : 64 + length]


# ---- The body of a main block ----

HEADER_FIELDS = (
    "version", "chain_id", "height", "time", "parent", "side_root", "chain_count", "leaf_count",
    "ops_root", "state_root", "history_root", "aelf_root",
)


def hexed(data):
    return "0x" + data.hex()


class Block:
    def __init__(self, body, number):
        self.body, self.root, where = body, len(body) - 316, f"record {number}"
        self.hashes, self.tx_roots, _, _, _ = (self.slice(at, 32) for at in range(0, 40, 8))
        self.times, sections = self.slice(40, 8), self.slice(48, 88)
        self.hash = body[self.root + 56 : self.root + 88]
        encoded = body[self.root + 88 : self.root + 314]
        expect(hashlib.sha256(b"\3" + encoded).digest() == self.hash, where, "wrong header hash")
        fields = struct.unpack("<HIQQ32s32sIQ32s32s32s32s", encoded)
        self.header = {k: hexed(v) if isinstance(v, bytes) else v for k, v in zip(HEADER_FIELDS, fields)}
        # Chain id, count, height of the first block, index of the first block.
        self.sections = [struct.unpack_from("<IIQI", section) for section in sections]
        header = self.header
        expect(header["height"] == number and header["chain_count"] == len(sections), where, "wrong header")
        lengths = {len(self.hashes), len(self.tx_roots), len(self.times), header["leaf_count"]}
        expect(len(lengths) == 1, where, "the columns have different lengths")

    def slice(self, at, size):
        """The elements of a slice: a distance from itself and a number of elements."""
        distance, count = struct.unpack_from("<iI", self.body, self.root + at)
        start = self.root + at + distance
        expect(0 <= start and start + count * size <= self.root, "a slice", "lies outside of the body")
        return [self.body[start + i * size : start + (i + 1) * size] for i in range(count)]

    def side_blocks(self):
        for chain, count, first_height, first in self.sections:
            for i in range(count):
                yield {
                    "main_height": self.header["height"],
                    "main_hash": hexed(self.hash),
                    "leaf": first + i,
                    "chain_id": chain,
                    "chain": chain_name(chain),
                    "height": first_height + i,
                    "hash": hexed(self.hashes[first + i]),
                    "tx_root": hexed(self.tx_roots[first + i]),
                    "time": u64(self.times[first + i], 0),
                }


def operation(data):
    """An operation, as docs/protocol.md encodes it."""
    chain = u32(data, 1)
    if data[0] == 2:
        return {"operation": "remove", "chain_id": chain}
    expect(data[0] == 1, "an operation", "unknown kind")
    count = u32(data, 14)
    keys = [data[18 + 32 * i : 50 + 32 * i].hex() for i in range(count)]
    at = 18 + 32 * count
    name = data[at + 4 : at + 4 + u32(data, at)].decode()
    return {"operation": "register", "chain_id": chain, "first_height": u64(data, 5), "nodes": keys, "name": name}


def chain_name(chain):
    """Four letters, base58 of the three low bytes, or the number where there are none."""
    low = chain.to_bytes(4, "little")[:3]
    rest, text = int.from_bytes(low, "big"), ""
    while rest:
        rest, digit = divmod(rest, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    text = "1" * (3 - len(low.lstrip(b"\0"))) + text
    return text if chain < 1 << 24 and len(text) == 4 and not text.isdigit() else str(chain)


def main():
    parser = argparse.ArgumentParser(description="Prints the side blocks of a log as JSON lines.")
    parser.add_argument("directory", nargs="?", help="the directory with the file LOG")
    parser.add_argument("--headers", action="store_true", help="print the headers of the main blocks instead")
    parser.add_argument("--operations", action="store_true", help="print what changed the registry instead")
    parser.add_argument("--trust", action="store_true", help="do not look at the checksums of sealed records")
    parser.add_argument("--self-test", action="store_true", help="check XXH3 against known values, and end")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if options.directory is None:
        parser.error("which directory?")
    try:
        log = Log(options.directory)
        head = 0
        for number, body in log.records(options.trust):
            head = number
            if options.operations:
                continue
            block = Block(body, number)
            rows = [{"hash": hexed(block.hash), **block.header}] if options.headers else block.side_blocks()
            for row in rows:
                print(json.dumps(row, separators=(",", ":")))
        for row in log.operations(head) if options.operations else ():
            print(json.dumps(row, separators=(",", ":")))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (Damaged, OSError) as error:
        sys.stdout.flush()
        sys.exit(f"damaged: {error}")


if __name__ == "__main__":
    main()
