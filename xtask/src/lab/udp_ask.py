"""A UDP client: python3 udp_ask.py ADDRESS PORT COUNT REQUEST ANSWER [SOURCE_PORT]

Asks COUNT times, each from a socket of its own, with a datagram of REQUEST bytes, for an
answer of ANSWER bytes (see udp_answer.py), and prints the name of the server that gave it.
Every byte is compared. A datagram may be asked for again once: UDP may lose one while
neighbours are being resolved. Says `refused` for an ICMP port unreachable.
"""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
count, request_size, answer_size = map(int, sys.argv[3:6])
source_port = int(sys.argv[6]) if len(sys.argv) > 6 else 0
family = socket.AF_INET6 if ":" in address else socket.AF_INET


def ask(number):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source_port))
        sock.connect((address, port))
        token = b"%d-" % number * (request_size // 2)
        request = (b"%d " % answer_size + token)[: max(request_size, 12)]
        for attempt in (1, 2):
            try:
                sock.send(request)
                answer = sock.recv(65535)
                break
            except TimeoutError:
                if attempt == 2:
                    sys.exit(f"datagram {number}: no answer")
            except ConnectionRefusedError:
                return "refused"
    name, _, rest = answer.partition(b" ")
    expected = name + b" " + request.partition(b" ")[2]
    expected = (expected + b"." * answer_size)[:answer_size]
    if answer != expected:
        sys.exit(f"datagram {number}: {len(answer)} bytes that are not the answer: {answer[:80]!r}")
    return name.decode()


for number in range(count):
    print(ask(number))
