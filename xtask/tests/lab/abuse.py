"""Abuses a director's API, in many ways at once:

abuse.py all ADDRESS PORT CA SOCKET VIEWER OPERATOR SECONDS
    every way below, over TCP with TLS and on the unix socket, with thousands of idle connections
abuse.py crowd ADDRESS PORT CA SOCKET VIEWER OPERATOR SECONDS
    more slow bodies of somebody with a token than there are seats over TCP

VIEWER and OPERATOR are tokens. At the end a JSON object tells for each way what came of it, and how
often: a status of HTTP, "closed" by the director without an answer, "held" until the end, or
"hangs" if neither came in time.
"""
import asyncio
import collections
import json
import resource
import secrets
import ssl
import sys

mode, ADDRESS, PORT, CA, SOCKET, VIEWER, OPERATOR, SECONDS = sys.argv[1:]
# More than the 20 s that a body may take, on a machine that is busy.
PATIENCE = 60
# The pause of each way between two attempts, and of an idle client that was closed.
PAUSE, REST = 0.05, 5
DROP = 0.5
TRUST = ssl.create_default_context(cafile=CA)

outcomes = collections.defaultdict(collections.Counter)
over = asyncio.Event()


async def tcp():
    return await asyncio.open_connection(ADDRESS, PORT)


async def tls():
    return await asyncio.open_connection(ADDRESS, PORT, ssl=TRUST, server_hostname=ADDRESS)


async def local():
    return await asyncio.open_unix_connection(SOCKET)


def request(line, token=None, body=b"", *more):
    head = [f"{line} HTTP/1.1", "Host: xlvs", "Content-Type: application/json", *more]
    if not any(header.startswith(("Content-Length", "Transfer-Encoding")) for header in more):
        head.append(f"Content-Length: {len(body)}")
    if token:
        head.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


READ, DRAIN, APPLY = "GET /v1/status", "POST /v1/servers/state", "POST /v1/config/apply"
ORDER = json.dumps({"servers": ["web"], "all": True, "state": "drain"}).encode()

# What is sent at once, by name.
SENT = {
    "no token": (tls, lambda: request(READ)),
    "wrong token": (tls, lambda: request(READ, f"xlvs_{secrets.token_hex(32)}")),
    "wrong token, order": (tls, lambda: request(DRAIN, f"xlvs_{secrets.token_hex(32)}", ORDER)),
    "wrong scheme": (tls, lambda: request(READ, None, b"", f"Authorization: Basic {OPERATOR}")),
    "viewer drains": (tls, lambda: request(DRAIN, VIEWER, ORDER)),
    "viewer exports": (tls, lambda: request("GET /v1/export", VIEWER)),
    "operator applies": (tls, lambda: request(APPLY, OPERATOR, b"{}")),
    "large body": (tls, lambda: request(DRAIN, OPERATOR, b"[" * 1_000_000)),
    "large body, local": (local, lambda: request(DRAIN, None, b"[" * 1_000_000)),
    "broken JSON": (tls, lambda: request(DRAIN, OPERATOR, ORDER[:-9])),
    "broken JSON, local": (local, lambda: request(DRAIN, None, ORDER[:-9])),
    "deep JSON": (tls, lambda: request(DRAIN, OPERATOR, b"[" * 60_000)),
    "not UTF-8": (local, lambda: request(DRAIN, None, b'{"servers": ["\xff\xfe"], "state": "drain"}')),
    "another shape": (tls, lambda: request(DRAIN, OPERATOR, b'{"server": "web"}')),
    "not said to be JSON": (tls, lambda: request(DRAIN, OPERATOR, ORDER).replace(b"application/json", b"text/plain")),
    "large header": (tls, lambda: request(READ, VIEWER, b"", "X: " + "x" * 200_000)),
    "no HTTP": (tls, lambda: secrets.token_bytes(4) + b"\r\n\r\n"),
    "no HTTP, local": (local, lambda: secrets.token_bytes(4) + b"\r\n\r\n"),
    "HTTP without TLS": (tcp, lambda: request(READ, VIEWER)),
    "no TLS": (tcp, lambda: secrets.token_bytes(1000)),
}

CLOSED = (OSError, EOFError, ssl.SSLError)


async def status(reader):
    """Of an answer, once it has begun."""
    line = await reader.readline()
    if not line.startswith(b"HTTP/1.1 "):
        raise EOFError
    return line.split()[1].decode()


async def once(way, door, act):
    """What comes of one connection."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await door()
            outcome = await act(reader, writer)
    except TimeoutError:
        outcome = "hangs"
    except CLOSED:
        outcome = "closed"
    except asyncio.CancelledError:
        outcome = "held"
    finally:
        if writer:
            writer.transport.abort()
    outcomes[way][outcome] += 1


async def again(way, door, act, pause=PAUSE, begin=0):
    await asyncio.sleep(begin)
    while not over.is_set():
        await once(way, door, act)
        await asyncio.sleep(pause)


def sends(make):
    async def act(reader, writer):
        writer.write(make())
        # It may be refused before all of it has been taken.
        return await status(reader)

    return act


async def endless(reader, writer):
    """A body without an end, as fast as it is taken."""
    writer.write(request(DRAIN, OPERATOR, b"", "Transfer-Encoding: chunked"))
    answered = asyncio.ensure_future(status(reader))
    try:
        while not answered.done():
            writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
    except CLOSED:
        pass
    return await answered


def dribbles(first, rest=b"a"):
    """The first octets, and then a drop at a time."""
    async def act(reader, writer):
        writer.write(first)
        answered = asyncio.ensure_future(status(reader))
        try:
            while not (await asyncio.wait([answered], timeout=DROP))[0]:
                writer.write(rest)
        finally:
            answered.cancel()
        return await answered

    return act


async def unread(reader, writer):
    """Asks for everything, many times over, and takes nothing of it."""
    writer.transport.pause_reading()
    writer.write(request("GET /v1/report", VIEWER) * 2_000)
    await asyncio.Event().wait()


async def idle(reader, writer):
    return await status(reader)


SLOW_BODY = request(DRAIN, OPERATOR, b"", "Content-Length: 1000")
SLOW_READ = request("POST /v1/connections", VIEWER, b"", "Content-Length: 1000")

# What goes on and on: way, door, act, how many at a time.
SLOW = [
    ("endless body", tls, endless, 2),
    ("slow handshake", tcp, dribbles(b"\x16\x03\x01\x02\x00\x01", b"\x00"), 20),
    ("slow header", tls, dribbles(b"GET /v1/status HTTP/1.1\r\nX: "), 10),
    ("slow header, local", local, dribbles(b"GET /v1/status HTTP/1.1\r\nX: "), 20),
    ("slow body", tls, dribbles(SLOW_BODY), 10),
    ("slow body, local", local, dribbles(SLOW_BODY), 10),
    ("unread answers", tls, unread, 10),
    ("unread answers, local", local, unread, 10),
]
# And those who come a little later, all the time.
IDLE = [("idle", tcp, 1000), ("idle, local", local, 1000)]


def everything():
    yield from (again(way, door, sends(make)) for way, (door, make) in SENT.items())
    for way, door, act, count in SLOW:
        yield from (again(way, door, act) for _ in range(count))
    for way, door, count in IDLE:
        yield from (again(way, door, idle, REST, 1 + REST * i / count) for i in range(count))


def crowd():
    return (again("crowd", tls, dribbles(SLOW_READ), 1) for _ in range(400))


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A pool that is closed under TLS says so to nobody's use.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    ways = everything() if mode == "all" else crowd()
    tasks = [asyncio.create_task(way) for way in ways]
    await asyncio.sleep(float(SECONDS))
    over.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(outcomes), flush=True)


asyncio.run(main())
