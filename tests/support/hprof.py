#!/usr/bin/env python3
"""hprof.py FILE: what a Java heap dump says, as JSON, after the manual of the JDK's hprof agent. Shares nothing with the product.

Reads the whole file, and within heap segments the first tag of each, which must be one that there is.
"""
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
head, rest = data.split(b"\0", 1)
name, version = head.decode().rsplit(" ", 1)
if name != "JAVA PROFILE":
    sys.exit("hprof.py: no heap dump")
at = len(head) + 1
id_size, high, low = struct.unpack_from(">III", data, at)
at += 12
out = {"version": version, "id_size": id_size, "time_ms": (high << 32) + low, "records": {}, "cut": False, "last": None}
INNER = {0xFF, 1, 2, 3, 4, 5, 6, 7, 8, 0x20, 0x21, 0x22, 0x23}
while at < len(data):
    if at + 9 > len(data):
        out["cut"] = True
        break
    tag, _, length = struct.unpack_from(">BII", data, at)
    at += 9
    if at + length > len(data):
        out["cut"] = True
        break
    if tag == 0x1C and data[at] not in INNER:
        sys.exit("hprof.py: a segment that begins with %#x" % data[at])
    out["records"]["%#x" % tag] = out["records"].get("%#x" % tag, 0) + 1
    out["last"] = tag
    at += length
out["size"] = len(data)
print(json.dumps(out))
