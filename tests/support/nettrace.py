#!/usr/bin/env python3
"""nettrace.py FILE: what an EventPipe stream of version 4 says, as JSON, after perfview's NetTraceFormat_v5.md. Shares nothing with the product."""
import datetime
import io
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
stream = io.BytesIO(data)


class Cut(Exception):
    pass


def take(count):
    got = stream.read(count)
    if len(got) < count:
        raise Cut()
    return got


def number(layout):
    return struct.unpack("<" + layout, take(struct.calcsize("<" + layout)))


def expect(tag):
    got = take(1)[0]
    if got != tag:
        sys.exit("nettrace.py: %d where %d should be, before byte %d" % (got, tag, stream.tell()))


out = {"objects": {}, "events": 0, "complete": False}
try:
    if take(8) != b"Nettrace" or take(number("i")[0]) != b"!FastSerialization.1":
        sys.exit("nettrace.py: no trace")
    while True:
        tag = take(1)[0]
        if tag == 1:
            out["complete"] = stream.tell() == len(data)
            break
        if tag != 5:
            sys.exit("nettrace.py: %d where an object should begin, before byte %d" % (tag, stream.tell()))
        expect(5)
        expect(1)
        version, _least = number("ii")
        name = take(number("i")[0]).decode()
        expect(6)
        if name == "Trace":
            year, month, _, day, hour, minute, second, millisecond = number("8H")
            number("qq")
            _, pid, _, _ = number("iiii")
            time = datetime.datetime(year, month, day, hour, minute, second, millisecond * 1000, datetime.timezone.utc)
            out.update(version=version, pid=pid, time_ms=round(time.timestamp() * 1000))
        else:
            (size,) = number("i")
            take(-stream.tell() % 4)
            body = take(size)
            # A block that holds events begins with the length of its own header.
            if name in ("EventBlock", "MetadataBlock") and struct.unpack_from("<h", body)[0] > size:
                sys.exit("nettrace.py: a block that is shorter than its header")
        expect(6)
        out["objects"][name] = out["objects"].get(name, 0) + 1
except Cut:
    pass
out["size"] = len(data)
print(json.dumps(out))
