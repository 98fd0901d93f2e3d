"""A second copy before the 250: what each policy answers and leaves behind,
and that a peer delivers exactly what its owner has not.

Every node has a next hop of its own here, so that a test can let one wait and
see who delivers."""
import contextlib
import select
import threading
import time

import pytest

from pair import NAMES, Pair
from peer import Peer
from proxy import Proxy
from umbra import base
from wait import until
from xshadow import FakePeer

LATER = "451 4.3.0 later"
A, B = NAMES[:2]
TO = "x@example.org"
#: Takes over by silence in tests that want it; else never by itself.
SILENCE = {"takeover_after": "2s", "heartbeat": "200ms", "start_barrier": "5s",
           "solo_after": "1s", "reshadow_after": "0s"}


def doors(**more):
    """A receive connector for each policy, by its name."""
    one = base()["receive_connectors"][0]
    policies = {
        "require": {}, "prefer": {}, "off": {}, "next_hop": {},
        "accept": {"max_acknowledgement_delay": "1s"},
        "refuse": {"max_acknowledgement_delay": "1s", "on_delay": "refuse"}}
    return [dict(one, name=n, bind=["127.0.0.1:{%s}" % n],
                 shadow=n if n not in ("accept", "refuse") else "next_hop",
                 **k, **more) for n, k in policies.items()]


def text(mark):
    return f"Subject: {mark}\r\n\r\nthis is {mark}\r\n".encode()


def post(node, mark, rcpts=TO, door="require", body=None):
    """The reply to the end of data."""
    with node.smtp(door) as c:
        c.envelope(f"{mark}@sender.test", rcpts)
        return c.data(body or text(mark))


def taken(node, mark, rcpts=TO, door="require", body=None):
    """Its queue id; a peer has a copy."""
    r = post(node, mark, rcpts, door, body)
    assert r == "250 2.0.0" and ", copy on " in r.text, r
    return r.text.split()[4].rstrip(",")


def copies(sink, mark, to=None):
    return [m for m in list(sink.messages)
            if m.sender == f"{mark}@sender.test" and (not to or to in m.to)]


def came(sink, mark, n=1):
    until(lambda: len(copies(sink, mark)) >= n,
          text=lambda: f"{mark} is not among "
          f"{[m.sender for m in sink.messages]}")
    return copies(sink, mark)


def queued(node):
    return node.ctl("message", "list", "--limit", "0")


def emptied(node):
    until(lambda: not queued(node), text=lambda: queued(node))


def late(sink):
    """Nothing gets in, for now."""
    sink.on["MAIL"] = LATER


@contextlib.contextmanager
def two(start=True, shadow=None, **more):
    """A pair, each with its sink: node 0, node 1, sink 0, sink 1, the pair."""
    more.setdefault("receive_connectors", doors())
    with Peer() as s0, Peer() as s1, Pair(
            sink=[s0, s1], shadow=shadow, more=more, start=start) as p:
        if start:
            p.wait_up()
        yield p.node(0), p.node(1), s0, s1, p


@pytest.fixture(scope="module")
def pair2():
    with two(shadow={"heartbeat": "200ms"}) as p:
        yield p


# --- policies ----------------------------------------------------------------


@pytest.mark.parametrize("door", ["require", "prefer"])
def test_a_copy_before_the_250(pair2, door):
    a, b, s0, s1, _ = pair2
    at, bt = a.mark(), b.mark()
    mark = "copied-" + door
    r = post(a, mark, door=door)
    got = a.wait("message.accepted", since=at, shadow=B)
    assert r.text == f"2.0.0 Ok: queued as {got['msg']}, copy on {B}", r
    held = b.wait("shadow.held", since=bt, owner=A)
    assert held["trace"] == got["trace"]
    assert came(s0, mark)[0].body == text(mark)
    emptied(a)
    assert not copies(s1, mark) and not queued(b)
    assert not b.seen("delivery.sent", since=bt)


def test_off(pair2):
    a, b, s0, _, _ = pair2
    at, bt = a.mark(), b.mark()
    r = post(a, "alone", door="off")
    got = a.wait("message.accepted", since=at, shadow="off")
    assert r.text == f"2.0.0 Ok: queued as {got['msg']}"
    came(s0, "alone")
    i = taken(a, "alone-next")
    # The first copy that the peer got since then.
    assert b.wait("shadow.held", since=bt)["trace"] == \
        a.wait("message.accepted", msg=i)["trace"]


def quiet(c, seconds=0.3):
    """No octet came so far."""
    return not c.buf and not select.select([c.sock], [], [], seconds)[0]


def say_all(c, mark, rcpts=TO):
    c.envelope(f"{mark}@sender.test", rcpts)
    c.ok("DATA", 354)
    c.send(text(mark), b".\r\n")


def test_next_hop_is_waited_for(pair2):
    a, b, s0, _, _ = pair2
    at, bt = a.mark(), b.mark()
    with gated(s0, "END") as go, a.smtp("next_hop") as c:
        say_all(c, "hopped")
        s0.gated("END")
        assert quiet(c)
        go.set()
        r = c.reply()
    got = a.wait("message.accepted", since=at, shadow="next_hop")
    assert r.text == f"2.0.0 Ok: queued as {got['msg']}, " \
        "settled by the next hop"
    assert len(came(s0, "hopped")) == 1
    assert not b.seen("shadow.held", since=bt)


@contextlib.contextmanager
def gated(sink, verb):
    """Whoever says it waits until the event is set."""
    go = sink.gate[verb] = threading.Event()
    sink.notes.clear()
    try:
        yield go
    finally:
        del sink.gate[verb]
        go.set()


def test_next_hop_takes_too_long_and_accept(pair2):
    a, _, s0, _, _ = pair2
    at = a.mark()
    with gated(s0, "END"):
        r = post(a, "delayed", door="accept")
        got = a.wait("message.accepted", since=at, shadow="delayed")
        assert r.text == f"2.0.0 Ok: queued as {got['msg']}, one copy only"
        assert not copies(s0, "delayed")
    came(s0, "delayed")
    emptied(a)
    assert len(copies(s0, "delayed")) == 1


def test_next_hop_takes_too_long_and_refuse(pair2):
    """451, and nothing is left that would be delivered."""
    a, _, s0, _, _ = pair2
    late(s0)
    r = post(a, "refused", door="refuse")
    del s0.on["MAIL"]
    assert r == "451 4.4.0", r
    assert not queued(a)
    taken(a, "after-refused")
    came(s0, "after-refused")
    emptied(a)
    assert not copies(s0, "refused")


def test_refuse_waits_for_what_is_in_hands(pair2):
    """The time is over while the next hop has the message: its word counts."""
    a, _, s0, _, _ = pair2
    at = a.mark()
    with gated(s0, "END") as go, a.smtp("refuse") as c:
        say_all(c, "in-hands")
        s0.gated("END")
        assert quiet(c, 1.5)
        go.set()
        r = c.reply()
    assert r == "250 2.0.0", r
    a.wait("message.accepted", since=at)
    emptied(a)
    assert len(copies(s0, "in-hands")) == 1


def test_refuse_with_several_next_hops():
    """One has taken it and the other is late: too late to refuse."""
    with Peer() as one, Peer() as other:
        sends = [
            {"name": "one", "address_spaces": ["one.test"],
             "smart_hosts": [f"127.0.0.1:{one.port}"],
             "tls": {"mode": "none"}},
            {"name": "other", "address_spaces": ["*"],
             "smart_hosts": [f"127.0.0.1:{other.port}"],
             "tls": {"mode": "none"}}]
        with Pair(n=1, more={"receive_connectors": doors()[1:],
                             "send_connectors": sends}) as p:
            a = p.node(0)
            both = ["x@one.test", "x@two.test"]
            with gated(other, "END") as go, a.smtp("next_hop") as c:
                say_all(c, "both", both)
                one.to("x@one.test")
                other.gated("END")
                assert quiet(c)
                go.set()
                assert "settled by the next hop" in c.reply().text
            late(other)
            r = post(a, "half", both, door="refuse")
            assert r == "250 2.0.0" and "one copy only" in r.text, r
            assert len(copies(one, "half")) == 1
            del other.on["MAIL"]
            came(other, "half")
            late(one)
            late(other)
            r = post(a, "none", both, door="refuse")
            assert r == "451 4.4.0", r
            del one.on["MAIL"], other.on["MAIL"]
            post(a, "last", both, door="off")
            came(one, "last")
            came(other, "last")
            emptied(a)
            assert not copies(one, "none") and not copies(other, "none")
            assert len(copies(one, "half")) == len(copies(other, "half")) == 1


def test_require_without_a_peer():
    with two(start=False, shadow={"solo_after": "1s"}) as (a, _, s0, _, _):
        a.start()
        for i in range(2):
            r = post(a, f"unwanted{i}")
            assert r == "451 4.3.0", r
        assert not queued(a)
        r = post(a, "solo", door="prefer")
        assert "one copy only" in r.text
        a.restart()
        came(s0, "solo")
        emptied(a)
        assert [m.sender for m in s0.messages] == ["solo@sender.test"]


def test_require_when_the_peer_has_no_room():
    """It was durable here when the peer refused it: it goes before the 451."""
    with two(start=False, shadow={"solo_after": "1s",
                                  "heartbeat": "200ms"}) as (a, _, s0, _, p), \
            FakePeer(B) as f:
        f.free = "full"
        f.on["STORE"] = "452 4.3.1 no room"
        p.via[0, 1] = f.port
        p.configure()
        a.start()
        f.wait("PING")
        f.free = "ok"
        a.wait("shadow.paired")
        f.on["STORE"] = full(f)
        r = post(a, "no-room")
        assert r == "451 4.3.0", r
        assert f.stored[0].good
        assert not queued(a)
        post(a, "in-order", door="off")
        came(s0, "in-order")
        emptied(a)
        assert not copies(s0, "no-room")
        # The peer is told that what it may have after all is nothing.
        f.wait("XSHADOW DONE " + f.stored[0].mid)


def full(f):
    def say(_peer, _line):
        f.free = "full"
        return "452 4.3.1 no room"
    return say


def test_prefer_waits_then_goes_alone_and_is_copied_later():
    with two(start=False, shadow={**SILENCE, "takeover_after": "1h",
                                  "solo_after": "2s"}) as (a, b, s0, s1, p):
        late(s0)
        a.start()
        began = time.monotonic()
        r = post(a, "solo", door="prefer")
        got = a.wait("message.accepted", shadow="solo")
        assert r.text == f"2.0.0 Ok: queued as {got['msg']}, one copy only"
        # It was alone since the start, a little before.
        assert time.monotonic() - began > 1.0
        assert a.wait("shadow.solo")["msg"] == got["msg"]
        b.start()
        p.wait_up()
        assert b.wait("shadow.held", owner=A)["trace"] == got["trace"]
        a.kill9()
        a.wipe()
        a.start()
        b.wait("shadow.takeover", reason="new database")
        assert came(s1, "solo")[0].body == text("solo")
        emptied(b)
        assert not s0.messages and len(s1.messages) == 1


def test_prefer_waits_for_a_peer_that_comes():
    with two(start=False) as (a, b, s0, _, p):
        a.start()
        with a.smtp("prefer") as c:
            say_all(c, "patient")
            b.start()
            r = c.reply()
        assert r.text.endswith(f", copy on {B}"), r
        came(s0, "patient")
        assert not a.seen("shadow.solo")


def test_a_report_has_a_copy_too():
    """The bounce of a shadowed message is safe as the message was."""
    with two() as (a, b, s0, s1, _):
        s0.on["RCPT"] = lambda _c, line: "550 5.1.1 no such user" \
            if "nobody" in line else LATER
        i = taken(a, "bounced", "nobody@example.org")
        rep = a.wait("report.queued", msg=i, kind="failed")
        assert rep["shadow"] == "shadowed"
        a.wait("message.done", msg=i)
        b.wait("shadow.held", count=2)
        a.stop()    # it tells what is done
        a.wipe()
        a.start()
        b.wait("shadow.takeover")
        r = s1.wait()
        assert r.sender == "" and r.to == ["bounced@sender.test"]
        assert b"nobody@example.org" in r.data
        emptied(b)
        assert len(s1.messages) == 1 and not s0.messages
        assert len(b.seen("shadow.takeover")) == 1


# --- takeover ----------------------------------------------------------------


def test_disk_lost():
    with two() as (a, b, s0, s1, p):
        late(s0)
        ids = [taken(a, f"m{i}") for i in range(5)]
        assert len(set(ids)) == 5
        a.kill9()
        a.wipe()
        a.start()
        b.wait("shadow.identity", change="new database")
        for i in range(5):
            assert came(s1, f"m{i}")[0].body == text(f"m{i}")
        emptied(b)
        del s0.on["MAIL"]
        p.wait_up()
        taken(a, "again")
        came(s0, "again")
        emptied(a)
        assert len(s1.messages) == 5 and len(s0.messages) == 1
        assert {x["reason"] for x in b.seen("shadow.takeover")} == \
            {"new database"}


@pytest.mark.parametrize("size", [8 << 20, 70000])
def test_large_bodies(size):
    """In files, on both nodes, and whole when the other one delivers."""
    import random
    rng = random.Random(size)
    line = 1000
    body = b"Subject: big\r\n\r\n" + b"".join(
        (b"." if i % 9 == 0 else b"") +
        rng.getrandbits(4 * (line // 2 - 2)).to_bytes(line // 4 - 1,
                                                      "big").hex().encode() +
        b"\r\n" for i in range(2 * size // line))
    with two(queue={**base()["queue"], "large_body": "64KiB"}) as (
            a, b, s0, s1, _):
        late(s0)
        taken(a, "big", body=body)
        a.kill9()
        a.wipe()
        a.start()
        got = came(s1, "big")[0]
        assert len(got.body) == len(body) and got.body == body
        # As the owner stored it, its Received field too.
        assert f"by {A}".encode() in got.data[:400]
        emptied(b)


def test_only_the_rest_is_delivered():
    """Recipients that are done are not delivered again."""
    with two(shadow=SILENCE) as (a, b, s0, s1, _):
        s0.on["RCPT"] = lambda _c, line: None if "one@" in line else LATER
        rcpts = ["one@example.org", "two@example.org", "three@example.org"]
        i = taken(a, "parts", rcpts)
        a.wait("delivery.sent", msg=i, to="<one@example.org>")
        a.stop()
        x = b.wait("shadow.takeover", reason="silence")
        got = came(s1, "parts")
        assert sorted(got[0].to) == sorted(rcpts[1:])
        emptied(b)
        assert len(s0.messages) == len(s1.messages) == 1
        assert x["gen"] == "2"
        # It finds out that nothing is left to do.
        del s0.on["RCPT"]
        a.start()
        emptied(a)
        assert len(s0.messages) == len(s1.messages) == 1


@pytest.mark.parametrize("done", [True, False])
def test_silence_and_the_owner_comes_back(done):
    """With its old disk: it drops what was finished meanwhile, or cedes what
    is not, and in no case delivers."""
    with two(shadow=SILENCE) as (a, b, s0, s1, _):
        late(s0)
        if not done:
            late(s1)
        for i in range(3):
            taken(a, f"m{i}")
        a.kill9()
        b.wait("shadow.takeover", reason="silence", count=3)
        if done:
            for i in range(3):
                came(s1, f"m{i}")
            emptied(b)
        del s0.on["MAIL"]
        a.start()
        if not done:
            a.wait("shadow.ceded", owner=B, count=3)
            emptied(a)
            del s1.on["MAIL"]
            for i in range(3):
                came(s1, f"m{i}")
            emptied(b)
        emptied(a)
        assert len(s1.messages) == 3 and not s0.messages


def wires(p):
    """Proxies in both links of a pair that was not started."""
    w = {(i, 1 - i): Proxy(p.node(1 - i).shadow_port) for i in (0, 1)}
    p.via.update({k: v.port for k, v in w.items()})
    p.configure()
    return w


def test_both_live_and_do_not_see_each_other():
    """The peer takes over; when they meet again one of them is the owner."""
    with two(start=False, shadow=SILENCE) as (a, b, s0, s1, p):
        w = wires(p)
        p.start()
        p.wait_up()
        late(s0)
        late(s1)
        for i in range(3):
            taken(a, f"m{i}")
        for x in w.values():
            x.hold()
        b.wait("shadow.takeover", reason="silence", count=3)
        for x in w.values():
            x.reset()
            x.let()
        a.wait("shadow.ceded", owner=B, count=3)
        emptied(a)
        del s0.on["MAIL"], s1.on["MAIL"]
        for i in range(3):
            came(s1, f"m{i}")
        emptied(b)
        assert not s0.messages and len(s1.messages) == 3
        for x in w.values():
            x.cut()


def test_takeover_while_the_owner_has_delivered():
    """What it could not tell is delivered twice, never more, and it is said
    why."""
    with two(start=False, shadow=SILENCE) as (a, b, s0, s1, p):
        w = wires(p)
        p.start()
        p.wait_up()
        with gated(s0, "MAIL") as go:
            taken(a, "twice")
            s0.gated("MAIL")
            for x in w.values():
                x.hold()
            go.set()
            came(s0, "twice")
            emptied(a)
        x = b.wait("shadow.takeover", reason="silence")
        assert x["gen"] == "2"
        came(s1, "twice")
        emptied(b)
        for x in w.values():
            x.reset()
            x.let()
        p.wait_up()
        taken(a, "next")
        taken(b, "next")
        came(s0, "next")
        came(s1, "next")
        assert len(copies(s0, "twice")) == len(copies(s1, "twice")) == 1
        for x in w.values():
            x.cut()


def test_an_order_for_an_owner_that_lives():
    """An administrator was wrong: the owner cedes, one of them delivers."""
    with two(shadow={"heartbeat": "200ms"}) as (a, b, s0, s1, _):
        late(s0)
        late(s1)
        for i in range(3):
            taken(a, f"m{i}")
        b.cli("shadow", "takeover", A, "--yes")
        b.wait("shadow.takeover", reason="operator", count=3)
        a.wait("shadow.ceded", owner=B, count=3)
        assert not queued(a)
        del s0.on["MAIL"], s1.on["MAIL"]
        for i in range(3):
            came(s1, f"m{i}")
        emptied(b)
        assert not s0.messages and len(s1.messages) == 3


def test_an_order_while_it_is_delivered():
    """What is in hands is not ceded; the peer hears that it is done."""
    with two(shadow={"heartbeat": "200ms"}) as (a, b, s0, s1, _):
        with gated(s0, "END") as go:
            taken(a, "busy")
            s0.gated("END")
            b.cli("shadow", "takeover", A, "--yes")
            b.wait("shadow.takeover", reason="operator")
            go.set()
            emptied(a)
        emptied(b)
        assert len(copies(s0, "busy")) == 1 and not s1.messages


# --- the shadow ends, or both ------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_holder_restarts(how):
    with two(shadow={"solo_after": "20s", "heartbeat": "200ms"}) as (
            a, b, s0, s1, p):
        late(s0)
        taken(a, "before")
        if how == "kill":
            b.kill9()
        else:
            b.stop()
        with a.smtp("require") as c:
            say_all(c, "meanwhile")
            b.start()
            assert ", copy on " in c.reply().text
        p.wait_up()
        a.kill9()
        a.wipe()
        a.start()
        came(s1, "before")
        came(s1, "meanwhile")
        emptied(b)
        assert len(s1.messages) == 2 and not s0.messages


def test_the_holder_loses_its_disk():
    """What it held is copied to it anew."""
    with two(shadow=SILENCE) as (a, b, s0, s1, p):
        late(s0)
        taken(a, "m")
        b.kill9()
        b.wipe()
        bt = b.mark()
        b.start()
        b.wait("shadow.held", since=bt)
        a.kill9()
        a.wipe()
        a.start()
        came(s1, "m")
        emptied(b)
        assert len(s1.messages) == 1 and not s0.messages


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_restart(order):
    with two(shadow={**SILENCE, "takeover_after": "1h"}) as (
            a, b, s0, s1, p):
        late(s0)
        for i in range(3):
            taken(a, f"m{i}")
        for x in (a, b):
            x.kill9()
        del s0.on["MAIL"]
        for i in order:
            p.node(i).start()
        p.wait_up()
        for i in range(3):
            came(s0, f"m{i}")
        emptied(a)
        taken(b, "from-b")
        came(s1, "from-b")
        emptied(b)
        assert len(s0.messages) == 3 and len(s1.messages) == 1


def test_both_restart_and_one_has_lost_its_disk():
    with two() as (a, b, s0, s1, p):
        late(s0)
        late(s1)
        for i in range(3):
            taken(a, f"a{i}")
            taken(b, f"b{i}")
        a.kill9()
        b.kill9()
        a.wipe()
        del s0.on["MAIL"], s1.on["MAIL"]
        b.start()
        a.start()
        for i in range(3):
            came(s1, f"a{i}")
            came(s1, f"b{i}")
        emptied(b)
        assert len(s1.messages) == 6 and not s0.messages
