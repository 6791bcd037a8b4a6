"""Clients that stay: standing.py tcp|udp ADDRESS PORT COUNT

COUNT connections (or sockets), from the client's addresses .21 and on, each of which asks for the
server's name ten times a second until it breaks or SIGTERM, at most for a minute. For each
question: when it was answered (seconds since the epoch), the connection's number, and the server;
or the exception, which is a TCP connection's last word. A datagram is waited for 300 ms.
"""
import asyncio
import socket
import sys
import time

protocol, address, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
BREAK = 0.1


def say(number, word):
    print(f"{time.time():.4f} {number} {word}", flush=True)


def opened(number, kind):
    sock = socket.socket(type=kind)
    sock.setblocking(False)
    sock.bind((f"192.0.2.{21 + number}", 0))
    return sock


async def connection(number):
    loop = asyncio.get_running_loop()
    with opened(number, socket.SOCK_STREAM) as sock:
        try:
            await loop.sock_connect(sock, (address, port))
            while True:
                await loop.sock_sendall(sock, b"GET /who HTTP/1.1\r\nHost: lab\r\n\r\n")
                answer = b""
                while not answer.partition(b"\r\n\r\n")[2].endswith(b"\n"):
                    more = await loop.sock_recv(sock, 2048)
                    if not more:
                        raise EOFError
                    answer += more
                say(number, answer.split()[-1].decode())
                await asyncio.sleep(BREAK)
        except (OSError, EOFError) as error:
            say(number, type(error).__name__)


async def flow(number):
    loop = asyncio.get_running_loop()
    with opened(number, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        while True:
            try:
                await loop.sock_sendall(sock, b"32 hello")
                answer = await asyncio.wait_for(loop.sock_recv(sock, 2048), 0.3)
                say(number, answer.partition(b" ")[0].decode())
            except (OSError, TimeoutError) as error:
                say(number, type(error).__name__)
            await asyncio.sleep(BREAK)


async def main():
    one = connection if protocol == "tcp" else flow
    everyone = asyncio.gather(*(one(number) for number in range(count)))
    await asyncio.wait_for(everyone, 60)


asyncio.run(main())
