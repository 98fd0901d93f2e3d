"""A private network for one test file, and for nothing else.

Addresses that are not loopback exist on its own loopback interface, so that
MX hosts can be "real" ones; nothing leaks out. It needs root (or the right to
make a namespace): tests skip with the reason otherwise.

Threads and programs that are started inside stay inside: a new thread belongs
to the namespace of the one that starts it.
"""
import contextlib
import ctypes
import os
import subprocess

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

#: What the lab's interface has: documentation addresses.
ADDRESSES = ["192.0.2.%d" % i for i in range(1, 60)] + \
    ["2001:db8::%x" % i for i in range(1, 10)]


def _ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def network(addresses=ADDRESSES):
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if _libc.unshare(CLONE_NEWNET) != 0:
        os.close(home)
        pytest.skip("a network namespace cannot be made here: "
                    + os.strerror(ctypes.get_errno()))
    try:
        try:
            _ip("link", "set", "lo", "up")
            # One batch: a process per address would take a second.
            batch = "".join(
                "addr add %s/%d dev lo%s\n" % (a, 128 if ":" in a else 32,
                                               " nodad" if ":" in a else "")
                for a in addresses)
            subprocess.run(["ip", "-batch", "-"], input=batch.encode(),
                           check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.CalledProcessError) as e:
            pytest.skip(f"the lab's interface cannot be set up: {e}")
        yield
    finally:
        if _libc.setns(home, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns: cannot go home")
        os.close(home)
