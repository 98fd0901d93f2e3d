"""Small file systems for tests."""
import contextlib
import os
import subprocess

import pytest


@contextlib.contextmanager
def mounted(where, *options):
    """mount OPTIONS where, as long as it is used; skips where that cannot be
    done."""
    os.makedirs(where, exist_ok=True)
    p = subprocess.run(["mount", *options, where], capture_output=True,
                       text=True, timeout=60, check=False)
    if p.returncode:
        pytest.skip(f"cannot mount: {p.stderr}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=False, timeout=60,
                       capture_output=True)


def small_disk(where, size):
    """All of it for the user that made it."""
    return mounted(where, "-t", "tmpfs", "-o", f"size={size},mode=700",
                   "tmpfs")
