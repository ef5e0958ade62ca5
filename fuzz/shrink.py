#!/usr/bin/env python3
"""shrink.py HOW FILE [MORE]: a small file made of a large one, to begin fuzzing with; on stdout.

core       an ELF core with its notes and only its smallest segments' contents
ends       the first 128 KiB and the last 64 KiB
hprof      the records that fit, and the end
object     MANIFEST STORE: an artifact's length in 8 bytes, then its object
block      MARKDOWN LANGUAGE: the first block in that language
line       JSON in one line
journal    JSON lines, each with its CRC-32C before it
"""
import json
import struct
import sys

ROOM = 200 << 10


def core(data):
    """Program headers are patched, contents moved: e_phoff, e_phnum, then p_type, p_offset, p_filesz of each."""
    table, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    size = 56
    headers = bytearray(data[: table + count * size])
    where = [table + n * size for n in range(count)]
    length = lambda at: struct.unpack_from("<Q", data, at + 32)[0]
    is_note = lambda at: struct.unpack_from("<I", data, at)[0] == 4
    kept = bytearray()
    # Notes first, then the smallest: the stack and the loader's own data are among those.
    for at in sorted(where, key=lambda at: (not is_note(at), length(at))):
        offset, = struct.unpack_from("<Q", data, at + 8)
        contents = data[offset : offset + length(at)]
        if len(headers) + len(kept) + len(contents) > ROOM:
            contents = b""
        struct.pack_into("<Q", headers, at + 8, len(headers) + len(kept))
        struct.pack_into("<Q", headers, at + 32, len(contents))
        kept += contents
    return bytes(headers + kept)


def ends(data):
    return data if len(data) <= ROOM else data[: 128 << 10] + data[-64 << 10 :]


def hprof(data):
    at = data.index(0) + 13
    out = bytearray(data[:at])
    while at + 9 <= len(data):
        tag, _, length = struct.unpack_from(">BII", data, at)
        record = data[at : at + 9 + length]
        if len(out) + len(record) < ROOM or tag == 0x2C:
            out += record
        at += len(record)
    return bytes(out)


def object_of(data, store):
    artifact = json.loads(data)["artifacts"][0]
    with open(store + "/" + artifact["key"], "rb") as stored:
        return struct.pack("<Q", artifact["bytes"]) + stored.read()


def block(data, language):
    return data.decode().split("```" + language + "\n")[1].split("```")[0].encode()


def line(data):
    return json.dumps(json.loads(data), separators=(",", ":")).encode() + b"\n"


def journal(data):
    return b"".join(b"%08x %s\n" % (crc32c(record), record) for record in data.splitlines())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


how, path, *more = sys.argv[1:]
with open(path, "rb") as file:
    made = {"core": core, "ends": ends, "hprof": hprof, "object": object_of, "block": block, "line": line, "journal": journal}[how](file.read(), *more)
sys.stdout.buffer.write(made)
