"""The power goes off at random moments under load.

Stronger than kill -9: of what was not synced nothing is left, neither octets
nor names (faults.c keeps that image). Everything acknowledged must be there.

    CUTS=200 SEED=7 make crash
"""
import os
import random
import time

from ledger import Ledger
from node import Hop, Node, Sender, quick

CUTS = int(os.environ.get("CUTS", "12"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().getrandbits(31))))


def pick(rng):
    size = rng.choice((500, 3000, 3000, 12000)) if rng.random() > 0.1 \
        else rng.choice((40000, 200000))
    return rng.sample(["a@one.test", "b@one.test", "nobody@one.test"],
                      rng.choice((1, 1, 2))), size


def test_power_goes_off(faults):
    print(f"\nSEED={SEED} CUTS={CUTS}")
    rng = random.Random(SEED)
    ledger = Ledger(window=0.5)
    hop = Hop(ledger, no=lambda r: "550 5.1.1 no such user"
              if r.startswith("nobody") else None)
    with Node(ledger, [hop], binary=quick(), faults=faults) as n:
        n.power()
        n.start(faults=True)
        senders = [Sender(f"s{i}", n.port("relay"), ledger,
                          random.Random(SEED + i), pick, pause=0.004)
                   for i in range(4)]
        for _ in range(CUTS):
            # Every third with nothing going out: what is acknowledged is
            # then in the queue alone.
            if rng.random() < 0.33:
                hop.close_gate()
            time.sleep(rng.uniform(0.02, 0.6))
            n.power_cut()
            hop.open_gate()
            n.start(faults=True)
            assert n.recovered()["damaged"] == 0
        for s in senders:
            s.end()
        n.drained()
        n.stop()
        n.start()
        assert n.recovered()["messages"] == 0
        reasons = ledger.verify()
        n.stop()
    print(ledger.counts(), "extra copies:", reasons or "none")
    assert ledger.counts()["acked"] > 5 * CUTS
