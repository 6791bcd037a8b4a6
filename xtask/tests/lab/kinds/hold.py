"""Opens connections, says something on each, and holds them: PORT COUNT HEX."""
import signal
import socket
import sys

port, count, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
held = []
for _ in range(count):
    one = socket.create_connection(("127.0.0.1", port), 5)
    if words != "-":
        one.sendall(bytes.fromhex(words))
    # Each has been heard before the next one asks.
    one.recv(1)
    held.append(one)
print("held", flush=True)
signal.pause()
