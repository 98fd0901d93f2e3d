"""A kill at every system call while an administrator's order is carried out.

Two messages wait for a next hop that does not answer. The command runs, and the
relay is killed before and after its n-th call that changes a file or says
something to the command, for every n. Started again, each message is as it was
or as it was ordered to be; when the command had said that it was done, as
ordered. Then everything is resumed and delivered, and the ledger must be right:
what is not removed arrives, once.
"""
import json
import os
import random
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import Ledger
from node import AFTER, BEFORE, Hop, Node, config, message, quick, submit
from smtp import Smtp
from umbra import UMBRA
from wait import until

TO = "a@one.test"
HOP = "to-one"


def state(m, want):
    return m is not None and m["state"] == want


#: order, what makes it possible, does it hold for this row of the list (None:
#: the message is gone)?
ORDERS = {
    "suspend": (["message", "suspend", "--all"], None,
                lambda m: state(m, "suspended")),
    "resume": (["message", "resume", "--all"], ["message", "suspend", "--all"],
               lambda m: not state(m, "suspended")),
    "remove": (["message", "remove", "--all"], None, lambda m: m is None),
    "remove, notice": (["message", "remove", "--notify", "--all"], None,
                       lambda m: m is None or state(m, "pending remove")),
    "redirect": (["message", "redirect", "--connector", "rest", "--all"], None,
                 lambda m: m is not None and m["next_hop"].startswith("rest")),
    "suspend the hop": (["queue", "suspend", HOP], None,
                        lambda m: state(m, "hop suspended")),
    "resume the hop": (["queue", "resume", HOP], ["queue", "suspend", HOP],
                       lambda m: not state(m, "hop suspended")),
}


class Point:
    def __init__(self, order, faults, at, how):
        self.order, self.first, self.holds = order
        self.at, self.how = at, how
        self.ledger = Ledger()
        self.hop = Hop(self.ledger)
        self.n = Node(self.ledger, [self.hop],
                      config(self.hop.port, self.hop.port), binary=quick(),
                      faults=faults)
        self.killed, self.count = False, 0

    def build(self, folder):
        n = self.n
        self.hop.close_gate()
        n.start()
        for i in range(2):
            with Smtp("127.0.0.1", n.port("relay")) as c:
                c.ehlo()
                submit(c, n.ledger, f"t{i}", [TO],
                       message(f"t{i}", 1500, random.Random(i)))
        if self.first:
            n.cli(*self.first, "--yes")
        n.stop()
        shutil.copytree(n.data, folder, dirs_exist_ok=True)
        return dict(self.ledger.sent)

    def rows(self):
        """Ours, by token: the notices are not."""
        rows = [json.loads(x) for x in self.n.cli(
            "message", "list", "--limit", "0", "--json").splitlines()]
        by = {m["from"].split("@")[0]: m for m in rows if m["from"]}
        return {t: by.get(t) for t in ("t0", "t1")}

    def command(self):
        """1: it said that it was done."""
        return subprocess.run(
            [UMBRA, "-c", self.n.file, *self.order, "--yes"], env=self.n.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
            check=False).returncode == 0

    def play(self, folder, sent):
        n, c = self.n, self.n.control
        shutil.copytree(folder, n.data)
        self.ledger.sent.update(sent)
        self.hop.close_gate()
        c.at, c.how = self.at, self.how
        n.start(faults=True)
        if not self.first:
            until(lambda: self.hop.conns)
        n.still()
        c.armed = 1
        done = self.command()
        n.still()
        if n.proc.poll() is None:
            n.crash()
        else:
            assert n.died() == -9, n.tail()
            self.killed = True
        self.count = c.count
        self.aftermath(done)

    def aftermath(self, done):
        n = self.n
        self.hop.close_gate()
        n.start()
        assert n.recovered()["damaged"] == 0
        rows = self.rows()
        held = {t: self.holds(m) for t, m in rows.items()}
        assert not done or all(held.values()), ("said to be done", rows)
        n.crash()
        n.start()
        again = {t: self.holds(m) for t, m in self.rows().items()}
        assert again == held, (held, again)
        self.finish(rows)

    def finish(self, rows):
        n = self.n
        gone = [t for t, m in rows.items()
                if m is None or m["state"] == "pending remove"]
        for t in gone:
            del self.ledger.sent[t]
        n.cli("queue", "resume", HOP, "--yes", want=None)
        n.cli("message", "resume", "--all", "--yes", want=None)
        self.hop.open_gate()
        n.drained()
        n.stop()
        n.start()
        until(lambda: not any(self.rows().values()))
        n.stop()
        if "--notify" in self.order:
            for t in gone:  # once, and once more for each kill (D3)
                assert 1 <= len(self.ledger.reports.pop((t, TO))) <= 3
        self.ledger.verify()
        assert not self.hop.notes, self.hop.notes

    def end(self):
        self.n.discard()
        self.hop.close()


def play(order, faults, template, at, how):
    p = Point(order, faults, at, how)
    try:
        p.play(*template)
        return p, None
    except Exception as e:
        return p, (f"killed {'before' if how == BEFORE else 'after'} call "
                   f"{at}: {e!r}\n{p.n.tail(25)}")
    finally:
        p.end()


@pytest.mark.parametrize("which", ORDERS)
def test_order(faults, which):
    order = ORDERS[which]
    folder = tempfile.mkdtemp(prefix="umbra-orders-", dir="/tmp")
    try:
        p = Point(order, faults, 0, 0)
        try:
            template = folder, p.build(folder)
        finally:
            p.end()
        whole, bad = play(order, faults, template, 0, 0)
        assert not bad, bad
        points = [(at, how) for at in range(1, whole.count + 1)
                  for how in (BEFORE, AFTER)]
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(
                lambda x: play(order, faults, template, *x), points))
    finally:
        shutil.rmtree(folder)
    faulty = [bad for _, bad in done if bad]
    killed = sum(p.killed for p, _ in done)
    print(f"\n{which}: {killed} kills at {whole.count} calls")
    assert not faulty, "%d of %d\n%s" % (
        len(faulty), len(done), "\n\n".join(faulty[:3]))
    assert whole.count > 3 and killed > 0.7 * len(points)


@pytest.mark.parametrize("verb", ["suspend", "resume"])
def test_hop_ordered_twice(faults, verb):
    """Somebody orders what another has ordered a moment ago, while the disk is
    slow: it holds in memory already. It is not said to be done before it is on
    disk: the relay is killed at once, and started again it holds."""
    ledger = Ledger()
    hop = Hop(ledger)
    n = Node(ledger, [hop], config(hop.port, hop.port), faults=faults)
    order = [UMBRA, "-c", n.file, "queue", verb, HOP, "--yes", "--json"]
    try:
        hop.on["GREET"] = "421 later"
        n.start(faults=True)
        with Smtp("127.0.0.1", n.port("relay")) as c:
            c.ehlo()
            submit(c, ledger, "t0", [TO],
                   message("t0", 1500, random.Random(1)))
        if verb == "resume":
            n.cli("queue", "suspend", HOP, "--yes")
        n.control.armed = 1
        n.control.delay_ms = 2000
        with subprocess.Popen(order, stdout=subprocess.PIPE, env=n.env,
                              text=True) as first:
            until(lambda: n.seen(f"nexthop.{verb}ed".replace("ee", "e"),
                                 hop=HOP))
            assert first.poll() is None
            second = json.loads(subprocess.run(
                order, stdout=subprocess.PIPE, env=n.env, text=True,
                check=True).stdout)
            n.crash()
            assert json.loads(first.communicate()[0])["changed"] == 1
        assert second["unchanged"] == 1 and second["changed"] == 0
        n.start()
        rows = [json.loads(x) for x in n.cli(
            "message", "list", "--json").splitlines()]
        assert [m["state"] == "hop suspended" for m in rows] == [
            verb == "suspend"]
    finally:
        n.discard()
        hop.close()
