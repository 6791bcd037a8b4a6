"""A steady load: steady.py ADDRESS PORT FLOWS SECONDS DATAGRAMS QUESTION ANSWER

FLOWS new UDP flows a second for SECONDS. Each flow is a socket of its own that asks DATAGRAMS
times with QUESTION bytes for ANSWER bytes (see udp_answer.py). Prints the server that answered
each flow, or `lost`. The pace is kept by the clock: after a delay it catches up. Source ports
count from 10000 on, as one that the kernel chooses twice would be the same flow to a director.
"""
import socket
import sys
import time

address, port = sys.argv[1], int(sys.argv[2])
flows, seconds, datagrams, question, answer = map(int, sys.argv[3:])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
request = (b"%d " % answer).ljust(question, b"-")


def ask(source_port):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.bind(("", source_port))
        sock.connect((address, port))
        for _ in range(datagrams):
            sock.send(request)
            name = sock.recv(2048).partition(b" ")[0].decode()
        return name


start = time.monotonic()
for number in range(flows * seconds):
    time.sleep(max(0, start + number / flows - time.monotonic()))
    try:
        print(ask(10_000 + number), flush=True)
    except OSError:
        print("lost", flush=True)
