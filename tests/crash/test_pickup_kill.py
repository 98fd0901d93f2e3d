"""kill -9 at random moments while files are taken from the pickup and the
replay directory: a file that was given its name is mail, once.

A file counts as acknowledged when it has been renamed to .eml. Whatever was in
hand is taken again by the next life; a second copy needs a kill just after the
first one (D2, and D6 is the same to who receives).

    KILLS=100 SEED=7 make crash
"""
import os
import random
import time

from ledger import Ledger
from node import Hop, Node, config, message
from wait import until

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().getrandbits(31))))
AT_ONCE = 40


class Writer:
    """Puts files into both directories, as their writers are to do it."""

    def __init__(self, node, ledger, rng):
        self.node, self.ledger, self.rng, self.n = node, ledger, rng, 0

    def put(self):
        token = f"f{self.n}"
        rcpts = self.rng.sample(["a@one.test", "b@one.test", "c@two.test"],
                                self.rng.choice((1, 1, 2)))
        size = self.rng.choice((300, 2000, 9000, 50000, 1500000))
        body = message(token, size, self.rng)
        self.n += 1
        if self.rng.random() < 0.5:
            where = self.node.replay
            head = f"X-Sender: <{token}@sender.test>\r\n" + "".join(
                f"X-Receiver: <{r}>\r\n" for r in rcpts)
            data = head.encode() + b"X-CreatedBy: Umbra\r\n" + \
                b"X-EndOfInjectedXHeaders: %d\r\n" % len(body) + body
        else:
            where = self.node.pickup
            data = body = body.replace(
                b"To: somebody\r\n", b"To: %s\r\nDate: now\r\n" %
                ", ".join(rcpts).encode())
        path = os.path.join(where, token)
        self.ledger.send(token, rcpts, body)
        with open(path + ".part", "wb") as f:
            f.write(data)
        os.rename(path + ".part", path + ".eml")
        self.ledger.answer(token, 250, "Ok: queued as file")


def test_kill_while_files_are_taken():
    print(f"\nSEED={SEED} KILLS={KILLS}")
    rng = random.Random(SEED)
    ledger = Ledger(window=0.3)
    hops = [Hop(ledger) for _ in range(2)]
    again = 0
    with Node(ledger, [*hops, hops[1]]) as n:
        conf = config(*(h.port for h in [*hops, hops[1]]))
        for name in ("pickup", "replay"):
            d = os.path.join(n.dir, name)
            os.mkdir(d)
            setattr(n, name, d)
            conf[name] = {"directory": d, "rate": 20000, "interval": "100ms"}
        n.configure(conf)
        w = Writer(n, ledger, rng)
        for _ in range(KILLS):
            for _ in range(AT_ONCE):
                w.put()
            at = n.mark()
            n.start()
            # The first poll is at the start: somewhere in the middle of it.
            time.sleep(rng.uniform(0, 0.4))
            n.crash()
            again += len(n.seen("pickup.again", since=at))
        n.start()
        until(lambda: not os.listdir(n.pickup) and not os.listdir(n.replay),
              60, text=lambda: n.tail(20))
        n.drained(60)
        reasons = ledger.verify()
        assert not n.seen("pickup.bad") and not n.seen("pickup.left")
        n.stop()
    print(ledger.counts(), f"{again} taken again, extra copies:",
          reasons or "none")
    assert again > 0
