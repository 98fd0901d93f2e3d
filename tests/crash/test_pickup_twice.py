"""A file whose message is in the queue is not taken once more: whatever the
directory was like when the relay started, and whatever a power cut left."""
import os
import random

import pytest

from ledger import Ledger
from node import KINDS, Hop, Node, config, message
from wait import until

EIO = 5


class Dir:
    """A relay with a pickup directory that delivers nothing yet; take(): the
    message of a file is in the queue, and the file is still there."""

    def __init__(self, faults):
        self.ledger = Ledger()
        self.hop = Hop(self.ledger)
        self.hop.close_gate()
        self.n = Node(self.ledger, [self.hop], faults=faults)
        self.path = os.path.join(self.n.dir, "pickup")
        os.mkdir(self.path)
        conf = config(self.hop.port)
        conf["pickup"] = {"directory": self.path, "interval": "100ms",
                          "rate": 20000}
        self.n.configure(conf)

    def left(self):
        return sorted(os.listdir(self.path))

    def put(self):
        body = message("t0", 2000, random.Random(1)).replace(
            b"To: somebody\r\n", b"To: a@one.test\r\nDate: now\r\n")
        self.ledger.send("t0", ["a@one.test"], body)
        with open(self.path + "/t0.part", "wb") as f:
            f.write(body)
        os.rename(f.name, self.path + "/t0.eml")
        self.ledger.answer("t0", 250, "Ok: queued as file")

    def take(self):
        c = self.n.control
        c.fail_kind, c.fail_errno = KINDS.index("unlink"), EIO
        c.fail_sticky = c.armed = 1
        self.n.start(faults=True)
        self.put()
        self.n.wait("pickup.left")
        assert self.left() == ["t0.claimed"]

    def away(self):
        os.rename(self.path, self.path + ".away")

    def back(self):
        os.rename(self.path + ".away", self.path)
        self.n.wait("pickup.open", count=len(self.n.seen("pickup.open")) + 1)

    def once(self):
        """The file goes, and there is one message, which is delivered."""
        until(lambda: self.left() == [], text=self.n.tail)
        self.n.wait("pickup.known", file="t0.claimed")
        assert not self.n.seen("pickup.again")
        self.hop.open_gate()
        self.n.drained()
        assert not self.ledger.verify()
        self.n.stop()

    def end(self):
        self.n.discard()
        self.hop.close()


@pytest.fixture
def at(faults):
    d = Dir(faults)
    yield d
    d.end()


def test_not_there_at_the_start(at):
    """Not mounted yet, or locked: it is opened later."""
    at.take()
    at.n.crash()
    at.away()
    at.n.start()
    at.n.wait("pickup.refused")
    at.back()
    at.once()


def test_gone_for_a_while(at):
    """Without a restart; the message may have been delivered meanwhile."""
    at.take()
    at.hop.open_gate()
    at.n.wait("message.done")
    at.away()
    at.n.wait("pickup.refused")
    at.n.control.armed = 0
    at.back()
    at.once()


def test_configured_after_the_start(at):
    """What the queue had at the start is known, whatever was configured."""
    at.take()
    at.n.crash()
    at.n.configure(config(at.hop.port))
    at.n.start()
    conf = config(at.hop.port)
    conf["pickup"] = {"directory": at.path, "interval": "100ms"}
    at.n.configure(conf)
    assert at.n.reload().event == "config.loaded"
    at.once()


def test_power_goes_off(at):
    """The names that survive are those of the last sync of the directory: they
    say that the file was in hand before its message is durable."""
    image = os.path.join(at.n.dir, "image")
    os.mkdir(image)
    at.n.extra.update(FAULTS_ROOT=at.path, FAULTS_IMAGE=image)
    at.take()
    at.n.crash()
    kept = os.path.join(image, f"dir.{os.stat(at.path).st_ino}")
    names = []
    if os.path.exists(kept):
        with open(kept, encoding="utf-8") as f:
            names = [x.split()[2] for x in f]
    if names != ["t0.claimed"]:
        os.rename(at.path + "/t0.claimed", at.path + "/t0.eml")
    at.n.start()
    at.once()


def test_directory_that_cannot_be_synced(at):
    """Nothing is taken whose claim may be forgotten."""
    c = at.n.control
    c.fail_kind, c.fail_errno = KINDS.index("fsync"), EIO
    at.n.start(faults=True)
    c.fail_sticky = c.armed = 1
    at.put()
    assert "synced" in at.n.wait("pickup.later")["reason"]
    until(lambda: at.left() == ["t0.eml"], text=at.n.tail)
    assert not at.n.seen("message.accepted")
    c.armed = 0
    at.hop.open_gate()
    at.n.drained()
    assert not at.left() and not at.ledger.verify()
    at.n.stop()
