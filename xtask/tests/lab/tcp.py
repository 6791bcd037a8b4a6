"""TCP clients: tcp.py hold|reset|knock ADDRESS PORT COUNT

hold: opens COUNT connections, asks on each for /who, prints the server, keeps them open.
reset: the same, but ends each with a reset.
knock: connects and gives up after 300 ms, before a SYN is sent again.
"""
import socket
import struct
import sys
import time

what, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET


def ask():
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect((address, port))
    sock.sendall(b"GET /who HTTP/1.1\r\nHost: lab\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\n"):
        answer += sock.recv(2048)
        # The head ends in a line's end, too.
        if answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(2048)
    print(answer.split()[-1].decode(), flush=True)
    return sock


def knock():
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(0.3)
    try:
        sock.connect((address, port))
        sys.exit("somebody answered")
    except TimeoutError:
        sock.close()


if what == "knock":
    for _ in range(count):
        knock()
    sys.exit(0)
held = [ask() for _ in range(count)]
if what == "hold":
    print("held", flush=True)
    time.sleep(600)
for sock in held:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
