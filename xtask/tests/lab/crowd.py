"""Many open connections: a server that answers what it is sent, and a client that holds them.

serve PORT            answers on that port until it is killed
hold ADDRESS PORT N   opens N connections, says so, and at SIGTERM asks on each of them once more
"""
import resource
import selectors
import signal
import socket
import sys

_, MOST = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST))


def serve(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(4096)
    listener.setblocking(False)
    wait = selectors.DefaultSelector()
    wait.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in wait.select():
            if key.fileobj is listener:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                wait.register(connection, selectors.EVENT_READ)
                continue
            try:
                words = key.fileobj.recv(64)
                if words:
                    key.fileobj.send(words)
                    continue
            except OSError:
                pass
            wait.unregister(key.fileobj)
            key.fileobj.close()


def asked(connections):
    """How many of them answer."""
    answered = 0
    for connection in connections:
        try:
            connection.send(b"?")
        except OSError:
            pass
    for connection in connections:
        try:
            answered += connection.recv(1) == b"?"
        except OSError:
            pass
    return answered


def hold(address, port, count):
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    connections = []
    for _ in range(count):
        connection = socket.create_connection((address, port), 10)
        connections.append(connection)
    print("open", asked(connections), flush=True)
    while not over:
        signal.pause()
    print("alive", asked(connections), flush=True)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
