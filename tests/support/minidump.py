#!/usr/bin/env python3
"""minidump.py FILE: what a minidump says, as JSON, with structures written down from Breakpad's minidump_format.h and nothing else.

Shares nothing with the product. Little endian only. Fails on a file that is not whole.
"""
import json
import struct
import sys
import uuid

data = open(sys.argv[1], "rb").read()
end = 0


def reach(at, size):
    """Everything that the file must have goes through here."""
    global end
    if size and at + size > len(data):
        sys.exit("minidump.py: %d bytes at %d, and the file has %d" % (size, at, len(data)))
    if size:
        end = max(end, at + size)
    return data[at : at + size]


def unpack(layout, at):
    return struct.unpack("<" + layout, reach(at, struct.calcsize("<" + layout)))


def text(at):
    (length,) = unpack("I", at)
    return reach(at + 4, length).decode("utf-16-le")


def records(at, size, layout):
    """A list with a 32-bit count before it; the stream must be exactly as long."""
    step = struct.calcsize("<" + layout)
    (count,) = unpack("I", at)
    if size != 4 + count * step:
        sys.exit("minidump.py: a list of %d records of %d bytes in %d" % (count, step, size))
    return [unpack(layout, at + 4 + n * step) for n in range(count)]


# MDRawHeader
signature, version, count, directory, _checksum, time, _flags = unpack("4sIIIIIQ", 0)
if signature != b"MDMP" or version & 0xFFFF != 0xA793:
    sys.exit("minidump.py: no minidump")

out = {"time": time, "types": []}
for number in range(count):
    kind, size, at = unpack("III", directory + 12 * number)
    out["types"].append(kind)
    body = reach(at, size)
    if kind == 3:  # MDRawThread: id, suspend count, class, priority, teb, stack (start, size, rva), context (size, rva)
        threads = records(at, size, "IIIIQQIIII")
        for thread in threads:
            reach(thread[7], thread[6])
            reach(thread[9], thread[8])
        out["tids"] = sorted(thread[0] for thread in threads)
    elif kind == 4:  # MDRawModule: base, size, checksum, time, name rva, version info, cv (size, rva), misc (size, rva), reserved
        out["modules"] = []
        for module in records(at, size, "QIIII52xIIII16x"):
            base, _, _, _, name, cv_size, cv_at, misc_size, misc_at = module
            record = reach(cv_at, cv_size)
            reach(misc_at, misc_size)
            if record[:4] != b"LEpB":
                sys.exit("minidump.py: a module without a build-id: %r" % record)
            build_id = record[4:]
            # The first 16 bytes as a GUID of this machine's byte order, and no age.
            guid = uuid.UUID(bytes_le=build_id[:16].ljust(16, b"\0"))
            out["modules"].append({"name": text(name), "build_id": build_id.hex(), "debug_id": guid.hex.upper() + "0", "base": base})
    elif kind == 5:  # MDMemoryDescriptor: start, size, rva
        for _, piece, rva in records(at, size, "QII"):
            reach(rva, piece)
    elif kind == 6:  # MDRawExceptionStream: thread, align; code, flags, record, address, parameters, align, 15 words; context (size, rva)
        tid, _, code, flags, _, address, _, _, context_size, context_at = unpack("IIIiQQII120xII", at)
        reach(context_at, context_size)
        out["exception"] = {"tid": tid, "code": code, "flags": flags, "address": address}
    elif kind == 7:  # MDRawSystemInfo: architecture, level, revision, processors, type, major, minor, build, platform
        architecture, _, _, _, _, _, _, _, platform = unpack("HHHBBIIII", at)
        out["architecture"], out["platform"] = architecture, platform
    elif kind == 15:  # MDRawMiscInfo: size, flags, pid
        _, flags, pid = unpack("III", at)
        out["misc_pid"] = pid if flags & 1 else None
    elif kind == 24:  # MDRawThreadName: thread, 64-bit rva
        out["thread_names"] = {tid: text(rva) for tid, rva in records(at, size, "IQ")}
    elif kind == 0x47670004:
        lines = [line.split(":", 1) for line in body.decode(errors="replace").splitlines()]
        out["status"] = {name: value.split() for name, value in lines}
    elif kind == 0x47670007:
        variables = [variable for variable in body.split(b"\0") if variable.startswith(b"HOSTNAME=")]
        out["host_names"] = [variable[len(b"HOSTNAME=") :].decode() for variable in variables]
out["end"] = end
out["size"] = len(data)
print(json.dumps(out))
