"""Many UDP flows at once: flows.py ADDRESS PORT COUNT [SOURCE_PORT] sends a question from
each of COUNT sockets and prints how many were answered within 1.5 s. With a source port, it is
one socket that asks COUNT times and waits for no answer."""
import resource
import select
import socket
import sys
import time

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))


def ask(source_port=0):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source_port:
        sock.bind(("", source_port))
    sock.connect((address, port))
    return sock


if len(sys.argv) > 4:
    sock = ask(int(sys.argv[4]))
    for _ in range(count):
        sock.send(b"32 hello")
    sys.exit(0)

socks = {}
for number in range(count):
    sock = ask()
    sock.send(b"32 hello")
    socks[sock.fileno()] = sock
    # No faster than one answerer in Python can follow.
    time.sleep(0.0002)
poll = select.epoll()
for number in socks:
    poll.register(number, select.EPOLLIN)
answered, deadline = 0, time.monotonic() + 1.5
while answered < count and time.monotonic() < deadline:
    for number, _ in poll.poll(0.2):
        poll.unregister(number)
        try:
            socks[number].recv(2048)
            answered += 1
        except OSError:
            pass
print(answered)
