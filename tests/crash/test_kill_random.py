"""P1: kill -9 at random moments under load, and nothing is lost.

Four clients keep their connections as long as the relay lives and send
without pause: small and large bodies, one to three recipients at two next
hops. One recipient is refused for good (a report), some are deferred once,
and now and then a next hop takes a message and hangs up instead of saying so.

    KILLS=300 SEED=7 make crash
"""
import os
import random
import time

from ledger import Ledger
from node import Hop, Node, Sender
from peer import DROP

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().getrandbits(31))))
RECOVERY = 5.0


def rough(rng):
    """1 in 100: deferred; 1 in 400: taken, and the reply is lost."""
    def oops():
        x = rng.random()
        return "451 4.3.0 later" if x < 0.01 else \
            DROP if x < 0.0125 else None
    return oops


def pick(rng):
    size = rng.choice((300, 2000, 2000, 9000)) if rng.random() > 0.03 \
        else rng.choice((40000, 150000))
    rcpts = rng.sample(["a@one.test", "b@one.test", "c@two.test",
                        "d@two.test"], rng.choice((1, 1, 1, 2, 3)))
    if rng.random() < 0.03:
        rcpts.append("nobody@two.test")
    return rcpts, size


def test_kill_at_random():
    print(f"\nSEED={SEED} KILLS={KILLS}")
    rng = random.Random(SEED)
    ledger = Ledger(window=0.3)
    hops = [Hop(ledger, oops=rough(random.Random(SEED + i)),
                no=lambda r: "550 5.1.1 no such user"
                if r.startswith("nobody") else None) for i in (1, 2)]
    slowest = 0.0
    with Node(ledger, [*hops, hops[1]]) as n:
        n.start()
        senders = [Sender(f"s{i}", n.port("relay"), ledger,
                          random.Random(SEED + 100 + i), pick, pause=0.004)
                   for i in range(4)]
        damaged = 0
        for _ in range(KILLS):
            time.sleep(rng.uniform(0, 1.5))
            n.crash()
            slowest = max(slowest, n.start())
            damaged += n.recovered()["damaged"]
        # In the middle of it once more; then what is not delivered must be
        # in the queue, as the relay itself shows it.
        for h in hops:
            h.close_gate()
        n.crash()
        for s in senders:
            s.halt.set()
        slowest = max(slowest, n.start())
        for s in senders:
            s.end()
        queued = n.queued()
        ledger.verify(queued)
        for h in hops:
            h.open_gate()
        n.drained(60)
        n.stop()
        assert damaged == 0
        n.start()
        # What is still there was deferred, or never acknowledged.
        n.drained()
        reasons = ledger.verify()
        n.stop()
    print(ledger.counts(), f"{len(queued)} in the queue after the last kill,",
          "extra copies:", reasons or "none",
          f"slowest start {slowest:.2f} s")
    assert slowest < RECOVERY
    assert ledger.counts()["acked"] > 10 * KILLS
