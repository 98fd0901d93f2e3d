"""What hangs behind a network (names of users, files of a directory) does not
hold up other mail: large messages need the same threads."""
import os
import random
import socket
import subprocess

import pytest

from ledger import Ledger
from node import HERE, Hop, Node, config, send_some
from wait import until

MANY = 20


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    so = str(tmp_path_factory.mktemp("stuck") / "stuck.so")
    subprocess.run(
        [os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1",
         "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", so,
         os.path.join(HERE, "stuck.c"), "-ldl"], check=True)
    return so


class Stuck(Node):
    """With the library, and a switch for each call."""

    def __init__(self, library):
        self.hop = Hop(Ledger())
        super().__init__(self.hop.ledger, [self.hop], faults=None)
        self.faults = library
        self.switches = os.path.join(self.dir, "switches")
        self.pickup = os.path.join(self.dir, "pickup")
        self.submit = os.path.join(self.dir, "submit.sock")
        os.mkdir(self.switches)
        os.mkdir(self.pickup)
        conf = config(self.hop.port)
        conf["pickup"] = {"directory": self.pickup, "interval": "100ms",
                          "rate": 20000}
        conf["submission"] = {"socket": self.submit, "domain": "one.test"}
        self.configure(conf)
        # As many threads as it has by itself.
        del self.env["UV_THREADPOOL_SIZE"]
        self.extra = {"STUCK": self.switches, "LD_PRELOAD": self._preload()}

    def switch(self, what, on):
        path = os.path.join(self.switches, what)
        if on:
            with open(path, "wb"):
                pass
        else:
            os.unlink(path)

    def calls(self, what):
        try:
            return os.stat(os.path.join(self.switches, what + ".calls")
                           ).st_size
        except FileNotFoundError:
            return 0

    def other_mail(self, token):
        """A large message comes in and goes out."""
        at = self.mark()
        send_some(self.port("relay"), self.ledger, token, 1, 600000,
                  ["a@one.test"])
        self.wait("message.done", since=at)


@pytest.fixture
def n(library):
    n = Stuck(library)
    n.start(faults=True)
    try:
        yield n
        n.stop()
        assert not n.ledger.verify()
    finally:
        n.discard()
        n.hop.close()


def test_names_of_users(n):
    n.switch("user", True)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(MANY)]
    for c in clients:
        c.settimeout(60)
        c.connect(n.submit)
    until(lambda: n.calls("user") > 0)
    n.other_mail("t")
    n.switch("user", False)
    for c in clients:
        assert c.recv(100).startswith(b"220 ")
        c.close()
    assert n.calls("user") == 1


def test_stop_while_a_name_is_looked_up(n):
    n.switch("user", True)
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(n.submit)
        until(lambda: n.calls("user") > 0)
    n.proc.terminate()
    n.wait("node.stopping")
    n.switch("user", False)


def test_a_directory(n):
    """One call at a time waits for it; all files are taken in the end."""
    n.switch("rename", True)
    rng = random.Random(1)
    for i in range(MANY):
        path = os.path.join(n.pickup, f"f{i}")
        body = (f"From: f{i}@sender.test\r\nTo: a@one.test\r\nDate: now\r\n"
                f"Message-ID: <f{i}@sender.test>\r\n\r\n"
                f"{rng.getrandbits(200)}\r\n").encode()
        n.ledger.send(f"f{i}", ["a@one.test"], body)
        with open(path + ".part", "wb") as f:
            f.write(body)
        os.rename(path + ".part", path + ".eml")
        n.ledger.answer(f"f{i}", 250, "Ok: queued as file")
    until(lambda: n.calls("rename") > 0)
    n.other_mail("t")
    assert n.calls("rename") == 1
    n.switch("rename", False)
    until(lambda: not os.listdir(n.pickup), text=n.tail)
    n.drained()
