"""How a connection ends: end.py serve PORT | end.py ask ADDRESS PORT

serve: accepts one connection and answers each octet; says how it ends.
ask: connects, asks five times a second over one connection, says how it ends.
Both print "open" when there is a connection, then "reset", "closed" or "silent".
"""
import socket
import sys
import time

what, *where = sys.argv[1:]


def end(sock, talk):
    sock.settimeout(10)
    print("open", flush=True)
    try:
        while True:
            if talk:
                sock.sendall(b"x")
            octets = sock.recv(64)
            if not octets:
                return "closed"
            if talk:
                time.sleep(0.2)
            else:
                sock.sendall(octets)
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    except TimeoutError:
        return "silent"


if what == "serve":
    listener = socket.create_server(("", int(where[0])))
    sock, _ = listener.accept()
    print(end(sock, False), flush=True)
else:
    sock = socket.create_connection((where[0], int(where[1])), timeout=5)
    print(end(sock, True), flush=True)
