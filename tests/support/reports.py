"""What a report says, as JSON in the form of our facts: `reports.py dotnet-crash-report|node-report|hs-err|heap-snapshot FILE`.

Shares nothing with our own reading: Python's json takes the whole document, and its re the whole log.
"""

import datetime
import json
import re
import sys

MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
SIGNALS = {4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 15: "SIGTERM"}


def bounded(frames):
    """The first hundred, and how many frames are beyond them."""
    beyond = [frame for frame in frames[100:] if not frame.startswith("... ")]
    return frames[:100] + ([f"... {len(beyond)} more"] if beyond else [])


def signal(number, code=None, address=None):
    found = {"number": number, "name": SIGNALS[number]}
    if code is not None:
        found["code"] = code
    if address is not None:
        found["address"] = hex(address)
    return found


def dotnet_frames(entries):
    for entry in entries:
        if "repeated_frames" in entry:
            group = list(dotnet_frames(entry["repeated_frames"]))
            yield from group
            what = "" if len(group) == 1 else f"{len(group)} frames "
            yield f"... {what}repeated {int(entry['repeated'], 16)} times"
            continue
        module = entry.get("filename") or entry.get("native_module")
        function = entry.get("method_name") or entry.get("unmanaged_name")
        if module and function:
            yield f"{module}!{function}"
        elif module:
            yield f"{module}!{entry['token']}" if "token" in entry else f"{module}+{entry['native_image_offset']}"
        else:
            yield function or entry["native_address"]


def dotnet(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    payload = document["payload"]
    (crashed,) = [thread for thread in payload["threads"] if thread["crashed"] == "true"]
    exception = {"stack": bounded(list(dotnet_frames(crashed["stack_frames"])))}
    if "managed_exception_type" in crashed:
        exception["type"] = crashed["managed_exception_type"]
    types = {"0x05000000": 6, "0x30000000": 6, "0x20000000": 11}
    return {
        "producer": "createdump",
        "signal": signal(types[document["parameters"]["ExceptionType"]]),
        "process": {
            "crashing_tid": int(crashed["native_thread_id"], 16),
            "exe": payload["process_name"],
            "threads": len(payload["threads"]),
        },
        "runtime": {
            "name": ".NET",
            "version": payload["configuration"]["version"].split(" ")[0],
            "arch": MACHINES[payload["configuration"]["architecture"]],
        },
        "exception": exception,
        "format_version": payload["protocol_version"],
    }


def node(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    header, stack = document["header"], document["javascriptStack"]
    lines = stack.get("stack", [])
    frame = re.compile(r"at (.*:\d+:\d+\)?|.*<anonymous>\)?|.*\(index \d+\))")
    exception = {}
    frames = [frame.fullmatch(line)[1] for line in lines if frame.fullmatch(line)]
    frames = bounded([re.sub(r"data:.*", "data:...", text) for text in frames])
    if frames:
        exception["stack"] = frames
    if header["trigger"] in ("Exception", "API") and "stack" in stack:
        text = "\n".join([stack["message"], *lines])
        found = re.match(r"(?:.*:\d+\n.*\n\^+\n\n?)?([\w$.]+(?: \[\w+\])?)(?:: |\n|$)", text)
        if found and "ERR_SYNTHETIC" not in found[1]:
            exception["type"] = found[1]
    occasion = {"trigger": header["trigger"]}
    if header["trigger"] != "Exception" or header["event"] == "Exception":
        occasion["event"] = header["event"]
    written = datetime.datetime.fromtimestamp(int(header["dumpEventTimeStamp"]) / 1000, datetime.timezone.utc)
    said = {
        "process": {"pid": header["processId"]},
        "runtime": {
            "name": "Node.js",
            "version": header["nodejsVersion"].lstrip("v"),
            "arch": MACHINES[header["arch"]],
            "libc": "glibc",
        },
        "occasion": occasion,
        "format_version": str(header["reportVersion"]),
        "written_ms": round(written.timestamp() * 1000),
    }
    if exception:
        said["exception"] = exception
    if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", header["host"]):
        said["host_name"] = header["host"]
    return said


def hs_err(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    assert text.endswith("\nEND.\n"), text[-200:]

    def one(pattern):
        found = re.search(pattern, text, re.M)
        return found and found[1]

    def frames(title):
        found = re.search(rf"^{title} frames:.*\n((?:.+\n)*)", text, re.M)
        return [line for line in (found[1] if found else "").splitlines() if re.match(r"[JAjVvC] ", line)]

    said = {
        "process": {"pid": int(one(r"^#.*, pid=(\d+)")), "crashing_tid": int(one(r"^#.*, tid=(\d+)"))},
        "runtime": {"name": "JVM", "version": one(r"^# JRE version:.*? \((\d[^)]*)\)"), "arch": MACHINES[one(r"^# Java VM:.* linux-(\w+)\)")]},
    }
    number = one(r"^#  SIG\w+ \(0x([0-9a-f]+)\)")
    if number:
        code, address = one(r"^siginfo:.*si_code: (-?\d+)"), one(r"^siginfo:.*si_addr: 0x([0-9a-f]+)")
        said["signal"] = signal(int(number, 16), int(code), int(address, 16) if address else None)
    else:
        details = one(r"^#  fatal error: (OutOfMemory encountered: .*)")
        said["occasion"] = {"event": details or one(r"^#  ((?:Internal|Out of Memory) Error \(.*?\)), pid=")}
    problem = one(r"^# Problematic frame:\n# (.*)")
    stack = frames("Native")
    if not any(line[0] in "jJA" for line in stack):
        stack += frames("Java")
    if problem and (not stack or stack[0] != problem):
        stack.insert(0, problem)
    said["exception"] = {"stack": bounded(stack)}
    time = one(r"^Time: (.*) (?:UTC|GMT) elapsed time")
    if time:
        moment = datetime.datetime.strptime(time, "%a %b %d %H:%M:%S %Y").replace(tzinfo=datetime.timezone.utc)
        said["written_ms"] = int(moment.timestamp()) * 1000
    return said


def heap_snapshot(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        document = json.load(file)
    assert document["snapshot"]["node_count"] * len(document["snapshot"]["meta"]["node_fields"]) == len(document["nodes"])
    return {}


READERS = {"dotnet-crash-report": dotnet, "node-report": node, "hs-err": hs_err, "heap-snapshot": heap_snapshot}
json.dump(READERS[sys.argv[1]](sys.argv[2]), sys.stdout)
