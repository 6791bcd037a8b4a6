"""Stops one thread, and no other of its process, until this script is killed."""
import ctypes
import signal
import sys

SEIZE, INTERRUPT = 0x4206, 0x4207
ALL = 0x40000000  # __WALL

thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(ctypes.c_long(request), thread, None, None) != 0:
        sys.exit(f"ptrace: errno {ctypes.get_errno()}")
status = ctypes.c_int()
libc.waitpid(thread, ctypes.byref(status), ALL)
print("stopped", flush=True)
signal.pause()
