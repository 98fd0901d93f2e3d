"""kill -9 of either process at any moment of a handover, under load: somebody
goes on, or a start finds everything; nothing is lost, and what comes twice was
in flight when a process was killed (D2).

    KILLS=200 SEED=7 python3 -m pytest tests/crash/test_upgrade_kill.py
"""
import os
import random
import signal
import time

import pytest

from ledger import Ledger
from node import Hop, Node, Sender
from umbra import Adopted
from wait import LONG, until

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().getrandbits(31))))


class Kills(Ledger):
    """Two processes at a time, so there are no lives to tell apart: a second
    copy is explained by a kill between it and the first."""

    def __init__(self):
        super().__init__(window=0.4)
        self.kills = []

    def kill(self, pid):
        self.kills.append(self.clock())
        os.kill(pid, signal.SIGKILL)

    def _reason(self, a, b, *more):
        if any(k - self.window <= a <= k + self.window and b >= k
               for k in self.kills):
            return "D2"
        return super()._reason(a, b, *more)


def pick(rng):
    size = rng.choice((300, 2000, 9000)) if rng.random() > 0.03 else 60000
    return rng.sample(["a@one.test", "b@one.test", "c@two.test"],
                      rng.choice((1, 1, 2))), size


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def serves(node):
    """Somebody greets."""
    try:
        with node.smtp() as c:
            return c.greeting.code == 220
    except Exception:  # refused, or cut off: not yet
        return False


def settle(node, old, new):
    """Who is there after a kill; starts one when nobody is. Says what became
    of it."""
    until(lambda: not (alive(old) and alive(new)), text="both go on")
    if not alive(old):
        node.proc.wait(LONG)
        if alive(new):
            node.proc = Adopted(new)
            try:
                until(lambda: serves(node) or not alive(new))
            except AssertionError:
                raise AssertionError(node.tail()) from None
            if alive(new):
                return "new"
            node.proc.wait(LONG)
        node.proc = None
        node.start()
        return "start"
    until(lambda: serves(node) or not alive(old))
    if alive(old):
        return "old"
    node.proc.wait(LONG)
    node.proc = None
    node.start()
    return "start"


@pytest.mark.parametrize("when", ["at random", "ready"])
def test_kill(when):
    print(f"\nSEED={SEED} KILLS={KILLS}")
    Adopted.prepare()
    rng = random.Random(SEED)
    ledger = Kills()
    hops = [Hop(ledger), Hop(ledger)]
    tally = {}
    with Node(ledger, [*hops, hops[1]]) as n:
        n.start()
        senders = [Sender(f"s{i}", n.port("relay"), ledger,
                          random.Random(SEED + 100 + i), pick, pause=0.004)
                   for i in range(4)]
        for i in range(KILLS):
            at = n.mark()
            old = n.proc.pid
            n.signal(signal.SIGUSR2)
            new = int(n.wait("upgrade.begun", since=at)["child"])
            if when == "ready":
                n.wait("upgrade.ready", since=at)
                time.sleep(rng.choice((0, rng.uniform(0, 0.03))))
            else:
                time.sleep(rng.uniform(0, 0.25))
            victim = rng.choice(("old", "new"))
            ledger.kill(old if victim == "old" else new)
            left = settle(n, old, new)
            tally[victim, left] = tally.get((victim, left), 0) + 1
            until(lambda: serves(n))
            time.sleep(rng.uniform(0, 0.1))
        for s in senders:
            s.end()
        n.drained(60)
        n.stop()
        n.start()
        n.drained()
        reasons = ledger.verify()
        n.stop()
    print(ledger.counts(), "(victim, who went on):", tally,
          "extra copies:", reasons or "none")
    assert ledger.counts()["acked"] > 5 * KILLS
