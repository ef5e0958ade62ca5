"""A process that passes for a .NET runtime: to whoever begins an event session it sends a file, and then nothing until it is told to stop.

    TMPDIR=DIR python3 pretender.py FILE

Says `ready` once it listens. Every other command is one that it does not know.
"""

import os
import socket
import struct
import sys
import threading

MAGIC = b"DOTNET_IPC_V1\0"
UNKNOWN_COMMAND = 0x80131385
EVENT_PIPE, STOP, BEGIN = 2, 1, 3

stream = open(sys.argv[1], "rb").read()
started = open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]
path = f"{os.environ['TMPDIR']}/dotnet-diagnostic-{os.getpid()}-{started}-socket"
sessions = []


def receive(connection, count):
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        if not more:
            raise EOFError
        received += more
    return received


def reply(connection, is_ok, payload):
    head = MAGIC + struct.pack("<HBBH", 20 + len(payload), 0xFF, 0 if is_ok else 0xFF, 0)
    connection.sendall(head + payload)


def serve(connection):
    try:
        head = receive(connection, 20)
        size, group, command = struct.unpack_from("<HBB", head, 14)
        receive(connection, size - 20)
        if (group, command) == (EVENT_PIPE, BEGIN):
            sessions.append(connection)
            reply(connection, True, struct.pack("<Q", len(sessions)))
            connection.sendall(stream)
            return
        if (group, command) == (EVENT_PIPE, STOP):
            while sessions:
                sessions.pop().shutdown(socket.SHUT_RDWR)
            reply(connection, True, struct.pack("<Q", 1))
        else:
            reply(connection, False, struct.pack("<I", UNKNOWN_COMMAND))
        connection.close()
    except (EOFError, OSError):
        # Whoever only looks who listens says nothing.
        connection.close()


listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(64)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
