"""P9: the wire between two relays is damaged at every step of a message's
life, and something befalls one of them meanwhile.

    8 phases x 6 faults of the wire x 5 fates = 240 runs

In each run messages are queued, one is brought to the phase, the wire is
damaged, the fate strikes, and after a while the wire is healed. Then there
must be one owner of everything within half a minute, and the ledger must be
right to the message: what was acknowledged is delivered, once, or twice with a
reason that was logged.

    make crash-pair                     all of them
    RUNS=body/slow/kill SEED=5          this one; parts may be left empty
    WORKERS=2

Without RUNS a fixed quarter: every phase with every fault, every fate.
"""
import os
import random
import sys
import threading
import time
import traceback
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from ledger import PairLedger
from node import message, submit
from pairnet import FAULTS, PairLab, faketime, lab
from smtp import Closed
from wait import until

PHASES = ["before", "body", "stored", "acked", "delivering", "delivered",
          "taking", "rejoining"]
FATES = ["up", "kill", "disk", "backup", "clock"]
ALL = [(p, f, x) for p in PHASES for f in FAULTS for x in FATES]
WORKERS = int(os.environ.get("WORKERS", "2"))
SEED = int(os.environ.get("SEED", "1"))
#: Seconds until a peer is taken for dead, and how long healing may take.
TAKEOVER, HEALED = 2.0, 30
X, RCPT, LATE = "x", "a@one.test", "b@two.test"


def sample():
    """60 of them: a Latin square of fates, and a few more."""
    some = [(p, f, FATES[(i + 2 * j) % 5]) for i, p in enumerate(PHASES)
            for j, f in enumerate(FAULTS)]
    rest = sorted(set(ALL) - set(some))
    return some + random.Random(60).sample(rest, 12)


def chosen():
    want = os.environ.get("RUNS")
    if want is None:
        return sample()
    parts = (want.split("/") + ["", "", ""])[:3] if want != "all" else [""] * 3
    return [r for r in ALL if all(not w or w == v for w, v in zip(parts, r))]


# --- one run -----------------------------------------------------------------


class Run:
    def __init__(self, net, case):
        self.net = net
        self.phase, self.fault, self.fate = case
        self.rng = random.Random(zlib.crc32(f"{case}{SEED}".encode()))
        self.ledger = PairLedger(window=0.4)
        self.threads = []
        # Whom the fate strikes: mostly the owner.
        self.victim = 0 if self.rng.random() < 0.65 else 1
        # Longer than a takeover takes, or not.
        self.long = self.rng.random() < 0.7 or self.phase == "taking"
        # Who takes over delivers at once, or only when all is healed.
        self.eager = self.rng.random() < 0.5
        self.size = self.rng.choice((800, 3000, 60000))

    def __str__(self):
        return (f"{self.phase}/{self.fault}/{self.fate} "
                f"victim={self.victim} long={self.long} eager={self.eager} "
                f"size={self.size} SEED={SEED}")

    def note(self, text):
        self.log.append(f"{time.monotonic() - self.began:6.2f} {text}")

    # --- sending ------------------------------------------------------------

    def post(self, i, token, rcpts, size=1200):
        """True: acknowledged."""
        body = message(token, size, self.rng)
        try:
            with self.lab.relays[i].client(timeout=90) as c:
                submit(c, self.ledger, token, rcpts, body)
        except (Closed, OSError):
            return False
        return token in self.ledger.sent and self.ledger.sent[token].acked

    def must_post(self, i, token, rcpts, size=1200):
        assert self.post(i, token, rcpts, size), \
            f"{token}: {self.ledger.sent[token].text}"

    def post_soon(self, i, token, rcpts, size):
        t = threading.Thread(target=self.post, args=(i, token, rcpts, size),
                             daemon=True)
        t.start()
        self.threads.append(t)

    def post_deaf(self, i, token, rcpts, size):
        """The reply to the end of data is never read."""
        body = message(token, size, self.rng)
        self.ledger.send(token, rcpts, body)
        c = self.lab.relays[i].client()
        c.envelope(f"{token}@sender.test", rcpts)
        c.ok("DATA", 354)
        c.send(body.replace(b"\r\n.", b"\r\n.."), b".\r\n")
        return c

    # --- the phases: where x is when the wire is damaged --------------------

    def before(self):
        self.lab.main[0].late = True
        self.damage()
        self.post_soon(0, X, [RCPT], self.size)

    def body(self):
        self.lab.main[0].late = True
        self.net.rate("800kbit")
        was = self.sent()
        self.post_soon(0, X, [RCPT], 200000)
        until(lambda: self.sent() - was > 40000, text="no octets of a body")
        self.damage()

    def sent(self):
        """Octets that relay 0 has sent over the wire."""
        pid = self.lab.relays[0].proc.pid
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as f:
            row = next(x for x in f if x.strip().startswith("wire:"))
        return int(row.split(":")[1].split()[8])

    def stored(self):
        self.lab.main[0].late = True
        self.net.fault("back")
        at = self.lab.relays[1].mark()
        self.post_soon(0, X, [RCPT], min(self.size, 3000))
        self.lab.relays[1].wait("shadow.held", since=at)
        self.damage()

    def acked(self):
        self.lab.main[0].late = True
        c = self.post_deaf(0, X, [RCPT], self.size)
        self.lab.relays[0].wait("message.accepted",
                                **{"from": f"<{X}@sender.test>"})
        self.damage()
        c.close()

    def delivering(self):
        self.lab.main[0].hold()
        self.must_post(0, X, [RCPT], self.size)
        until(self.lab.main[0].held)
        self.damage()

    def delivered(self):
        self.lab.main[0].hold()
        self.must_post(0, X, [RCPT], self.size)
        until(self.lab.main[0].held)
        self.net.fault("there")
        self.lab.main[0].release()
        self.lab.relays[0].wait("delivery.sent",
                                **{"from": f"<{X}@sender.test>"})
        self.damage()

    def taking(self):
        self.lab.main[0].late = True
        self.must_post(0, X, [RCPT], self.size)
        self.net.fault("drop")
        self.lab.relays[1].wait("shadow.takeover")
        self.damage()

    def rejoining(self):
        self.lab.main[0].late = True
        self.must_post(0, X, [RCPT], self.size)
        self.net.fault("drop")
        n = sum(not t.endswith("b") for t in self.ledger.sent)
        b, a = self.lab.relays[1], self.lab.relays[0]
        b.wait("shadow.takeover", count=n)
        at = a.mark()
        if self.rng.random() < 0.5:
            a.crash()
            a.start()
        self.net.heal()
        a.wait(("shadow.link_up", "shadow.ceded", "shadow.identity"),
               since=at)
        self.damage()

    # --- what befalls ------------------------------------------------------

    def damage(self):
        self.net.fault(self.fault)
        self.note(f"wire: {self.fault}")

    def strike(self):
        v = self.lab.relays[self.victim]
        if self.fate == "clock":
            v.jump(self.rng.choice((3600, -3600)))
        elif self.fate != "up":
            v.crash()
            if self.fate == "disk":
                v.wipe()
            elif self.fate == "backup":
                v.restore()
            if self.rng.random() < 0.4:
                self.pause(self.rng.uniform(0, 1.5))
            v.start()
        self.note(f"{v.name}: {self.fate}")

    def pause(self, seconds):
        """The fault lasts so long: time is what these runs are made of."""
        time.sleep(seconds)

    # --- all of it ---------------------------------------------------------

    def queue(self, prefix, count):
        """What is in the queue when things happen, at both relays."""
        for k in range(count):
            self.must_post(0, f"{prefix}a{k}", [LATE])
        self.must_post(1, f"{prefix}b", [LATE])

    def go(self):
        self.log, self.began = [], time.monotonic()
        clock = self.victim if self.fate == "clock" else None
        with PairLab(self.net, self.ledger, clock=clock) as self.lab:
            try:
                self.steps()
                if os.environ.get("VERBOSE"):
                    print(f"--- {self}\n" + "\n".join(self.log))
            except BaseException:
                self.net.heal()
                print(f"--- {self}\n" + "\n".join(self.log) + "\n" +
                      self.lab.tail(120))
                raise
        return self.ledger.verify()

    def steps(self):
        lab_, v = self.lab, self.lab.relays[self.victim]
        lab_.start()
        until(lab_.linked)
        self.queue("old", 2)
        if self.fate == "backup":
            v.backup()
            until(lab_.linked)
            self.queue("new", 2)
        self.note("ready")
        getattr(self, self.phase)()
        self.pause(self.rng.uniform(0, 0.3))
        if self.eager:
            lab_.main[1].late = False
        else:
            lab_.main[1].late = True
        self.strike()
        self.pause(TAKEOVER + 1.0 if self.long
                   else self.rng.uniform(0.2, 1.2))
        self.net.heal()
        self.note("healed")
        for h in lab_.main:
            h.release()
        for t in self.threads:
            t.join(90)
            assert not t.is_alive()
        until(lab_.settled, HEALED, every=0.05, text=lambda: "no one owner: " +
              str([(r.mids(), r.ask("shadow status")) for r in lab_.relays]))
        self.note("settled")
        for h in lab_.main + lab_.late:
            h.late = False
        # A copy that came late over a link that had ended is asked about in
        # the next round, a minute later.
        lab_.drained(90)
        self.note("drained")
        for i in 0, 1:
            self.must_post(i, f"end{i}", [RCPT])
        lab_.drained()
        for r in lab_.relays:
            assert not r.seen("shadow.digest") and not r.seen("queue.damaged")
            assert not r.seen("node.fatal")
        self.ledger.verify()


def worker(cases):
    """In a process of its own: every run's name and outcome."""
    out = []
    try:
        with lab() as net:
            for case in cases:
                began = time.monotonic()
                run = Run(net, case)
                try:
                    what = run.go()
                except BaseException as e:
                    traceback.print_exc()
                    what = f"{type(e).__name__}: {e}"
                out.append((str(run), what, time.monotonic() - began,
                            run.ledger.counts()))
    except pytest.skip.Exception as e:
        return str(e)
    sys.stdout.flush()
    return out


def test_matrix():
    runs = chosen()
    skipped = [r for r in runs if r[2] == "clock"] if not faketime() else []
    runs = [r for r in runs if r not in skipped]
    from pair import certificates
    certificates()
    # Handed out one by one, so that no worker is idle at the end.
    out, failed = [], []
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        for got in pool.map(worker, [[r] for r in runs]):
            if isinstance(got, str):
                pytest.skip(got)
            out += got
            if "RUNS" in os.environ:
                name, what, seconds, _ = got[0]
                print(f"{len(out)}/{len(runs)} {seconds:3.0f} s {name}",
                      "FAILED" if isinstance(what, str) else what or "",
                      flush=True)
    tally = {}
    for name, what, seconds, _ in out:
        if isinstance(what, str):
            failed.append(f"{name} ({seconds:.0f} s): {what[:3000]}")
            continue
        for k, n in what.items():
            tally[k] = tally.get(k, 0) + n
    print(f"\n{len(out)} runs, {len(failed)} failed, "
          f"{len(skipped)} without libfaketime left out; further copies: "
          f"{tally or 'none'}; longest {max(x[2] for x in out):.0f} s, "
          f"sum {sum(x[2] for x in out):.0f} s")
    assert not failed, "\n\n".join(failed)


def test_the_sample_has_everything():
    some = sample()
    assert len(set(some)) == len(some) == 60
    assert {r[:2] for r in some} == {(p, f) for p in PHASES for f in FAULTS}
    assert {r[2] for r in some} == set(FATES)


