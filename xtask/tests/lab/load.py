"""New clients at a pace: load.py ADDRESS PORT RATE

RATE times a second a new connection asks for /who, from the client's addresses .21 to .80 in turn
and whether or not the earlier ones were answered, until SIGTERM, at most for a minute. For each
one, when it is over: when it began (seconds since the epoch), how long it took, and the server or
the exception. The pace is kept by the clock: after a delay it catches up.
"""
import asyncio
import signal
import socket
import sys
import time

address, port, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SOURCES = [f"192.0.2.{number}" for number in range(21, 81)]
IP_BIND_ADDRESS_NO_PORT = 24
PATIENCE = 2


async def fetch(source):
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        await loop.sock_connect(sock, (address, port))
        await loop.sock_sendall(sock, b"GET /who HTTP/1.0\r\n\r\n")
        answer = b""
        while more := await loop.sock_recv(sock, 2048):
            answer += more
    name = answer.partition(b"\r\n\r\n")[2].decode().strip()
    if not name:
        raise EOFError
    return name


async def ask(source):
    began, clock = time.time(), time.monotonic()
    try:
        said = await asyncio.wait_for(fetch(source), PATIENCE)
    except (OSError, EOFError, TimeoutError) as error:
        said = type(error).__name__
    print(f"{began:.4f} {time.monotonic() - clock:.4f} {said}", flush=True)


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    start = time.monotonic()
    asked = []
    for number in range(60 * rate):
        await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        if stop.is_set():
            break
        asked.append(asyncio.create_task(ask(SOURCES[number % len(SOURCES)])))
    await asyncio.gather(*asked)


asyncio.run(main())
