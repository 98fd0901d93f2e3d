"""A message that crashes the relay: after two crashes it is set aside with what
was happening, all other mail goes on, and nothing is lost."""
import json
import os
import random
import signal
import subprocess

import pytest

from ledger import Ledger
from node import HERE, Hop, Node, config, message, quick, send_some, submit
from smtp import Smtp

TO = ["a@one.test"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    so = str(tmp_path_factory.mktemp("poison") / "poison.so")
    subprocess.run(
        [os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1",
         "-fno-builtin", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         "-o", so, os.path.join(HERE, "poison.c"), "-ldl"], check=True)
    return so


class Poisoned(Node):
    """With the library, and a switch for it."""

    def __init__(self, ledger, hop, library, **queue):
        super().__init__(ledger, [hop], conf=config(hop.port, **queue),
                         binary=quick(), faults=None)
        self.switch = os.path.join(self.dir, "poison")
        self.armed(False)
        self.faults = library
        self.extra = {"POISON": self.switch, "LD_PRELOAD": self._preload()}

    def launch(self, faults=True):
        super().launch(True)

    def start(self, faults=True):
        return super().start(True)

    def armed(self, on):
        with open(self.switch, "r+b" if os.path.exists(self.switch)
                  else "wb") as f:
            f.write(b"1" if on else b"0")

    def crashed(self):
        """It is dead, of the message and nothing else."""
        self.ledger.killing()
        status = self.died()
        # A sanitizer's report ends it with a status of its own.
        assert status in (-signal.SIGSEGV, 1), status
        self.stray.clear()


def the_message(n, size, token="bad"):
    with Smtp("127.0.0.1", n.port("relay")) as c:
        c.ehlo()
        body = message(token, size, random.Random(1))
        at = body.index(b"\r\n\r\n")
        body = body[:at] + b"\r\nX-Crash-Now: yes" + body[at:]
        assert submit(c, n.ledger, token, TO, body)


def rows(n, *args):
    return [json.loads(x) for x in n.cli(*args, "--json").splitlines()]


@pytest.mark.parametrize("size", [3000, 200000], ids=["memory", "file"])
def test_set_aside_after_two(library, size):
    ledger = Ledger()
    hop = Hop(ledger, ext=("PIPELINING", "8BITMIME"))
    with Poisoned(ledger, hop, library) as n:
        hop.close_gate()
        n.start()
        the_message(n, size)
        send_some(n.port("relay"), ledger, "good", 5, 3000, TO)
        n.armed(True)
        hop.open_gate()  # the delivery that waits goes on, and crashes
        n.crashed()
        for crashes in (1, 2):
            if crashes == 1:
                n.launch()
                n.wait("queue.crashed")
                n.crashed()
            else:
                n.start()
        last = n.seen("queue.crashed")[-1]
        assert (last["crashes"], last["signal"]) == ("2", "SIGSEGV")
        assert n.seen("queue.poison")[-1]["msg"] == last["msg"]
        # The others are delivered, and it lives.
        n.wait("message.done", count=1)
        row, = rows(n, "message", "list")
        assert row["id"] == last["msg"]
        assert row["state"] == "suspended"
        show, = rows(n, "message", "show", row["id"])
        assert "poison: 2 crashes" in json.dumps(show)
        assert "SIGSEGV while it was sent" in json.dumps(show)
        # Once more it is so after an orderly end.
        n.stop()
        n.start()
        assert rows(n, "message", "list")[0]["state"] == "suspended"
        # The cause is mended; somebody lets it go.
        n.armed(False)
        n.cli("message", "resume", row["id"], "--yes")
        n.drained()
        n.stop()
    ledger.verify()


def test_not_when_killed(library):
    """kill -9 and a power cut say nothing about a message."""
    ledger = Ledger()
    hop = Hop(ledger, ext=("PIPELINING", "8BITMIME"))
    with Poisoned(ledger, hop, library, poison_after=1) as n:
        hop.close_gate()
        n.start()
        the_message(n, 3000)
        for _ in range(3):
            n.crash()
            n.start()
        assert not n.seen("queue.crashed")
        hop.open_gate()
        n.cli("queue", "retry", "--yes")
        n.drained()
        n.stop()
    ledger.verify()
