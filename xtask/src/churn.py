"""New connections at a steady rate: churn.py SECONDS TCP_RATE UDP_RATE ADDRESS...

Each fetches /who over a TCP connection of its own, or asks a question by UDP from a socket of
its own, from each address in turn. Every 16th TCP connection is reset as soon as it stands,
and every 8th UDP socket is closed before its answer, so that the client's kernel sends an ICMP
port unreachable about it. Prints a line of JSON in the end: what was begun, and what failed.
"""
import collections
import errno
import json
import resource
import select
import socket
import struct
import sys
import time

seconds, rates, addresses = float(sys.argv[1]), [float(n) for n in sys.argv[2:4]], sys.argv[4:]
PATIENCE, MOST = 10, 4000
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
counts = collections.Counter(tcp=0, tcp_reset=0, tcp_failed=0, udp=0, udp_left=0, udp_failed=0)
poll = select.epoll()
live = {}
deadlines = collections.deque()


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def watch(kind, sock, events):
    live[sock.fileno()] = (kind, sock)
    poll.register(sock.fileno(), events)
    deadlines.append((time.monotonic() + PATIENCE, sock.fileno(), sock))


def end(sock, outcome=None):
    del live[sock.fileno()]
    sock.close()
    if outcome:
        counts[outcome] += 1


def begin_tcp(address):
    counts["tcp"] += 1
    sock = socket.socket(family(address), socket.SOCK_STREAM)
    sock.setblocking(False)
    code = sock.connect_ex((address, 80))
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        counts["tcp_failed"] += 1
    else:
        watch("reset" if counts["tcp"] % 16 == 0 else "tcp", sock, select.EPOLLOUT)


def begin_udp(address):
    counts["udp"] += 1
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect((address, 53))
    sock.send(b"64 hello")
    if counts["udp"] % 8 == 0:
        counts["udp_left"] += 1
        sock.close()
    else:
        watch("udp", sock, select.EPOLLIN)


def go_on(kind, sock, events):
    try:
        if kind == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            end(sock, "tcp_failed" if failed else "tcp_reset")
        elif kind == "tcp" and events & select.EPOLLOUT:
            sock.send(b"GET /who HTTP/1.0\r\n\r\n")
            poll.modify(sock.fileno(), select.EPOLLIN)
        elif kind == "tcp":
            answer = sock.recv(4096)
            end(sock, None if b" 200 OK" in answer else "tcp_failed")
        else:
            sock.recv(2048)
            end(sock)
    except BlockingIOError:
        pass
    except OSError:
        end(sock, f"{kind[:3] if kind == 'udp' else 'tcp'}_failed")


begins, turn = (begin_tcp, begin_udp), 0
start = now = time.monotonic()
while now < start + seconds or live:
    for which, (begin, rate) in enumerate(zip(begins, rates)):
        kind = ("tcp", "udp")[which]
        due = min(now - start, seconds) * rate
        while counts[kind] < due and len(live) < MOST:
            turn += 1
            begin(addresses[turn % len(addresses)])
    for number, events in poll.poll(0.005):
        if number in live:
            go_on(*live[number], events)
    now = time.monotonic()
    while deadlines and deadlines[0][0] < now:
        _, number, sock = deadlines.popleft()
        # The number may be another socket's by now.
        if number in live and live[number][1] is sock:
            end(sock, f"{'udp' if live[number][0] == 'udp' else 'tcp'}_failed")
print(json.dumps(counts), flush=True)
