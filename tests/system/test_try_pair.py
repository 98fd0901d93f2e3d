"""etc/try-pair: the tour of the README, as a newcomer takes it."""
import glob
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from umbra import BIN, ROOT, free_port
from wait import LONG, until

ETC = os.path.join(ROOT, "etc")


def five_ports():
    """The first of five in a row that nothing listens on."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + 5):
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
            return first
        except (OSError, OverflowError):
            pass


class Tour:
    def __init__(self, folder):
        self.dir, self.port = str(folder / "pair"), five_ports()
        self.env = {**os.environ, "UMBRA_BIN": BIN, "PORT": str(self.port),
                    "TRY_PAIR_DIR": self.dir}
        self.out = open(folder / "out", "w+")
        self.proc = subprocess.Popen(
            [os.path.join(ETC, "try-pair")], env=self.env, stdout=self.out,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def text(self):
        with open(self.out.name, errors="replace") as f:
            return f.read()

    def wait(self, what):
        until(lambda: what in self.text(), text=self.text)

    def order(self, *words, want=0):
        p = subprocess.run(
            [os.path.join(ETC, "try-pair"), *words], env=self.env, check=False,
            capture_output=True, text=True, timeout=2 * LONG)
        assert p.returncode == want, (p.stdout, p.stderr, self.text())
        return p.stdout + p.stderr

    def send(self, i, text):
        p = subprocess.run(
            [sys.executable, os.path.join(ETC, "send"), "ann@example.net",
             "bob@example.org", text, "127.0.0.1:%d" % (self.port + i - 1)],
            capture_output=True, text=True, timeout=2 * LONG, check=False)
        return p.stdout + p.stderr

    def mailbox(self):
        """The texts that were delivered."""
        got = []
        for path in glob.glob(os.path.join(self.dir, "mailbox", "*.eml")):
            with open(path) as f:
                got += f.read().splitlines()[-1:]
        return sorted(got)

    def pids(self):
        return [int(p) for p in re.findall(r"node\.start .* pid=(\d+)",
                                           self.text())]

    def end(self):
        """Only after a wait: a shell that runs tests in the background has
        SIGINT ignored, until the program says that it wants it."""
        self.proc.send_signal(signal.SIGINT)
        return self.proc.wait(2 * LONG)


@pytest.fixture
def tour(tmp_path):
    t = Tour(tmp_path)
    yield t
    if t.proc.poll() is None:
        t.end()
    t.out.close()


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_tour(tour):
    tour.wait("Ctrl-C here stops")
    tour.order("mailbox", "off")
    assert re.match(r"250 2\.0\.0 Ok: queued as \w+, copy on "
                    r"relay2\.example\.org$", tour.send(1, "hello"))
    assert "its disk is empty" in tour.order("break", "1")
    assert os.listdir(os.path.join(tour.dir, "relay1")) == []
    tour.order("mailbox", "on")
    until(lambda: tour.mailbox() == ["hello"], text=tour.text)
    assert "owner=relay1.example.org reason=silence" in tour.text()

    # Whoever is left alone says so; and is not for long.
    assert "one copy only" in tour.send(2, "alone")
    tour.order("start", "1")
    tour.wait('peer=relay1.example.org change="new database"')
    until(lambda: "copy on relay2" in tour.send(1, "again"), text=tour.text)
    until(lambda: {"hello", "alone", "again"} <= set(tour.mailbox()),
          text=tour.text)
    assert tour.mailbox().count("hello") == 1

    assert tour.end() == 0
    assert len(tour.pids()) == 3
    assert all(gone(p) for p in tour.pids())
    assert "no pair is running" in tour.order("status", want=69)


def test_a_port_that_is_taken(tour):
    """The second one touches nothing of the first."""
    tour.wait("Ctrl-C here stops")
    p = subprocess.run([os.path.join(ETC, "try-pair")], env=tour.env,
                       capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 69 and "listens on" in p.stderr
    assert "relay 1: runs" in tour.order("status")


def test_orders_that_are_none(tour):
    tour.wait("Ctrl-C here stops")
    assert "etc/try-pair break N" in tour.order("break", "3", want=64)
