"""Encrypts what another server says: `tls.py HOST:PORT CERTIFICATE KEY` prints `listening PORT` and passes on everything, until its stdin ends."""

import socket
import ssl
import sys
import threading


def pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    # Both ends are done when one is: HTTP closes a connection as a whole.
    for end in (source, target):
        end.close()


def serve(plain, context, upstream):
    try:
        near = context.wrap_socket(plain, server_side=True)
        far = socket.create_connection(upstream)
    except OSError:
        # Who does not trust the certificate goes away here.
        plain.close()
        return
    threading.Thread(target=pass_on, args=(near, far), daemon=True).start()
    pass_on(far, near)


def main():
    address, certificate, key = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=(plain, context, (host, int(port))), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print("listening", listener.getsockname()[1], flush=True)
    sys.stdin.read()


main()
