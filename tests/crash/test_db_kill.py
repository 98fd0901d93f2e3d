"""umbra db, killed at every system call that changes something: what stands
under the name that was asked for is whole, or is not there; the queue it was
made of is as it was; and the same command typed again does it."""
import ctypes
import json
import mmap
import os
import shutil
import subprocess

import pytest

from node import BEFORE, HALF, KINDS, WRITES, Control, quick
from umbra import Umbra, base

SMALL = b"Subject: s\r\n\r\n" + b"small\r\n" * 50
LARGE = b"Subject: l\r\n\r\n" + b"0123456789abcde\r\n" * 20000
COUNT = 7


class Bench:
    """A queue that is not running, and `umbra` that dies when it is told."""

    def __init__(self, faults, folder):
        self.dir = folder
        self.program = os.path.join(os.path.dirname(quick()), "umbra")
        self.data = os.path.join(folder, "data")
        with Umbra(base()) as u:
            for i in range(COUNT):
                u.send("a@b.test", f"u{i}@example.org",
                       LARGE if i % 3 == 0 else SMALL)
            u.stop()
            shutil.copytree(u.data, self.data)
            os.chmod(self.data, 0o700)
        path = os.path.join(folder, "faults")
        with open(path, "w+b") as f:
            f.truncate(ctypes.sizeof(Control))
            self._map = mmap.mmap(f.fileno(), 0)
        self.control = Control.from_buffer(self._map)
        self.env = {**os.environ, "FAULTS": path,
                    "LD_PRELOAD": self._preload(faults)}

    def _preload(self, faults):
        with open(self.program, "rb") as f:
            asan = b"libasan.so" in f.read()
        if not asan:
            return faults
        lib = subprocess.run(["gcc", "-print-file-name=libasan.so"],
                             capture_output=True, text=True, check=True)
        return os.path.realpath(lib.stdout.strip()) + " " + faults

    def db(self, *args, at=0, how=BEFORE):
        c = self.control
        c.count, c.at, c.how, c.armed = 0, at, how, 1
        p = subprocess.run([self.program, "db", *args], env=self.env,
                           capture_output=True, text=True, timeout=60,
                           check=False)
        c.armed = 0
        return p

    def whole(self, where):
        """All messages are in it, each as it was."""
        p = subprocess.run([self.program, "db", "check", where, "--json"],
                           capture_output=True, text=True, check=False)
        return p.returncode == 0 and \
            json.loads(p.stdout.splitlines()[-1])["messages"] == COUNT

    def calls(self, *args):
        """What it does when nobody kills it."""
        p = self.db(*args)
        assert p.returncode == 0, p
        return [KINDS[k] for k in self.control.kind[:self.control.count]]


@pytest.fixture
def bench(faults, tmp_path):
    return Bench(faults, str(tmp_path))


def every(bench, prepare, args, good):
    prepare()
    calls = bench.calls(*args)
    assert len(calls) > 5, calls
    died = 0
    for at in range(1, len(calls) + 1):
        for how in (BEFORE, HALF) if calls[at - 1] in WRITES else (BEFORE,):
            prepare()
            p = bench.db(*args, at=at, how=how)
            where = (at, how, calls[at - 1], p)
            if p.returncode == 0:
                continue  # the parent's own last words
            died += 1
            good(where)
            p = bench.db(*args)
            assert p.returncode in (0, 73), (where, p)
            good(where)
    assert died > len(calls) / 2
    assert bench.whole(bench.data)


@pytest.mark.parametrize("inside", [False, True], ids=["new", "empty"])
def test_backup(bench, inside):
    out = bench.dir + "/backup"

    def prepare():
        for path in (out, out + ".part"):
            shutil.rmtree(path, ignore_errors=True)
        if inside:
            os.mkdir(out, 0o700)

    def good(where):
        if os.path.exists(out + "/umbra.manifest"):
            assert bench.whole(out), where
        elif not inside:
            assert not os.path.exists(out), where
    every(bench, prepare, ("backup", out, bench.data), good)


@pytest.mark.parametrize("identity", [(), ("--new-identity",)],
                         ids=["same", "another"])
def test_restore(bench, identity):
    backup, to = bench.dir + "/backup", bench.dir + "/to"
    assert bench.db("backup", backup, bench.data).returncode == 0

    def prepare():
        for path in (to, to + ".part"):
            shutil.rmtree(path, ignore_errors=True)

    def good(where):
        assert not os.path.exists(to) or bench.whole(to), where
        assert bench.whole(backup), where
    every(bench, prepare, ("restore", backup, "--to", to, *identity), good)


def test_compact(bench):
    def good(where):
        assert bench.whole(bench.data), where
    every(bench, lambda: None, ("compact", bench.data), good)


def test_export(bench):
    out = bench.dir + "/out"

    def good(where):
        for name in os.listdir(out) if os.path.exists(out) else ():
            if name.endswith(".eml"):
                text = open(os.path.join(out, name), "rb").read()
                _, _, rest = text.partition(b"X-EndOfInjectedXHeaders: ")
                size, _, message = rest.partition(b"\r\n")
                assert len(message) == int(size), where

    def prepare():
        shutil.rmtree(out, ignore_errors=True)
    every(bench, prepare, ("export", bench.data, "--to", out), good)
    assert len([n for n in os.listdir(out) if n.endswith(".eml")]) == COUNT


def test_a_full_disk_at_every_write(bench):
    """ENOSPC for each call that may get it: said, and nothing is left."""
    out = bench.dir + "/backup"
    args = ("backup", out, bench.data)
    calls = bench.calls(*args)
    shutil.rmtree(out)
    c = bench.control
    for kind in ("write", "writev", "pwrite64", "openat", "mkdir", "fsync"):
        for nth in range(1, calls.count(kind) + 1):
            c.fail_kind, c.fail_after = KINDS.index(kind), nth
            c.fail_errno, c.fail_sticky = 28, 0
            p = bench.db(*args)
            c.fail_kind = 0
            if os.path.exists(out):
                # It was for reading, or came when the backup was in place.
                assert bench.whole(out), (kind, nth, p)
                shutil.rmtree(out)
                continue
            assert p.returncode != 0, (kind, nth, p)
            assert not os.path.exists(out + ".part"), (kind, nth, p)
            assert bench.whole(bench.data)
