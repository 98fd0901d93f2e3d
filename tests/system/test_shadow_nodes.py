"""More than two nodes, nodes that keep nothing, and peers that come and go
while the relay runs."""
import contextlib
import socket
import time

import pytest

from pair import NAMES, Pair
from peer import Peer
from proxy import Proxy
from umbra import free_port
from wait import until
from xshadow import FakePeer

LATER = "451 4.3.0 later"
A, B, C = NAMES[:3]
QUICK = {"heartbeat": "200ms", "takeover_after": "2s", "start_barrier": "5s",
         "reshadow_after": "0s", "solo_after": "1s"}


def post(node, mark, rcpt="x@example.org"):
    with node.smtp() as c:
        c.envelope(f"{mark}@sender.test", rcpt)
        return c.data(f"Subject: {mark}\r\n\r\n{mark}\r\n")


def kept_by(node, mark):
    """The peer that the 250 names."""
    r = post(node, mark)
    assert r == "250 2.0.0", r
    return r.text.partition(", copy on ")[2]


def senders(sink):
    return sorted(m.sender.partition("@")[0] for m in sink.messages)


@contextlib.contextmanager
def nodes(n, witness=(), policy="require", start=True, **shadow):
    """A Pair of n with a sink each: the pair and the sinks."""
    with contextlib.ExitStack() as s:
        sinks = [s.enter_context(Peer()) for _ in range(n)]
        p = s.enter_context(Pair(
            n=n, sink=sinks, witness=witness, start=start,
            receive={"shadow": policy}, shadow={**QUICK, **shadow}))
        if start:
            p.wait_up()
        yield p, sinks


def test_the_next_peer_when_one_is_gone():
    with nodes(3, takeover_after="1h") as (p, sinks):
        a, b, c = p.nodes
        assert kept_by(a, "first") == B
        b.kill9()
        a.wait("shadow.link_down", peer=B)
        assert kept_by(a, "second") == C
        c.wait("shadow.held")
        b.start()
        p.wait_up()
        assert kept_by(a, "third") == B
        until(lambda: senders(sinks[0]) == ["first", "second", "third"])


def test_the_next_peer_when_one_has_no_room():
    with FakePeer(B) as f, nodes(3, start=False) as (p, sinks):
        a, _, c = p.nodes
        p.via[0, 1] = f.port
        p.configure()
        a.start()
        c.start()
        f.wait("PING")
        p.wait_up(0, 2)
        f.on["STORE"] = "452 4.3.1 no room"
        assert kept_by(a, "first") == C
        assert len(f.stored) == 1
        f.on["STORE"] = "554 5.6.0 no"
        f.wait("PING", len([x for x in f.said if "PING" in x]) + 2)
        assert kept_by(a, "second") == C
        f.on["STORE"] = lambda _p, _l: f.cut() or b""
        assert kept_by(a, "third") == C
        until(lambda: senders(sinks[0]) == ["first", "second", "third"])
        # Whoever was asked first is told as well.
        f.wait("XSHADOW DONE")


def test_the_copy_moves_when_its_holder_is_lost():
    """What waits in the queue gets a copy at another peer, and then only that
    one counts."""
    with nodes(3, takeover_after="1h", reshadow_after="1s") as (p, sinks):
        a, b, c = p.nodes
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "moved") == B
        b.kill9()
        c.wait("shadow.held", owner=A)
        a.kill9()
        a.wipe()
        b.start()
        a.start()
        # B held it too: it is asked, and told, or takes it over itself.
        until(lambda: [x for x in (b, c) if x.seen(
            "shadow.takeover", reason="new database")], text=p.tail)
        until(lambda: senders(sinks[2]) or senders(sinks[1]))
        p.wait_up()
        for x in p.nodes:
            until(lambda x=x: not x.ctl("message", "list"))
        # The higher generation wins and one delivers.
        assert senders(sinks[1]) + senders(sinks[2]) == ["moved"], p.tail()


def test_a_majority_must_miss_the_owner():
    """The owner is only cut off from its holder: the third node sees it."""
    with nodes(3, start=False) as (p, sinks):
        a, b, c = p.nodes
        wires = {k: Proxy(p.node(k[1]).shadow_port) for k in ((0, 1), (1, 0))}
        p.via.update({k: w.port for k, w in wires.items()})
        p.configure()
        p.start()
        p.wait_up()
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        for w in wires.values():
            w.cut()
        # Longer than takeover_after, by the others' own clocks: they tell of
        # it when a new message goes to the third node and comes back.
        b.wait("shadow.link_down", peer=A)
        a.wait("shadow.link_down", peer=B)
        waits(b, 3.5)
        assert not b.seen("shadow.takeover")
        # Now the third one loses it too.
        a.kill9()
        b.wait("shadow.takeover", reason="silence")
        until(lambda: senders(sinks[1]) == ["kept"])
        for w in wires.values():
            w.mend()
        sinks[0].on.pop("MAIL")
        a.start()
        p.wait_up()
        for x in p.nodes:
            until(lambda x=x: not x.ctl("message", "list"))
        assert not sinks[0].messages and len(sinks[1].messages) == 1
        assert not c.seen("shadow.takeover")


def waits(node, seconds):
    """So long, by what the node itself logs: time that must pass without
    anything happening."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end or not node.running(), seconds + 5)
    assert node.running()


def test_a_witness_keeps_nothing_and_decides():
    with nodes(3, witness=(2,), start=False) as (p, sinks):
        a, b, w = p.nodes
        for i in (0, 1):
            p.node(i).start()
        conf = p.conf(2)
        for r in conf["receive_connectors"]:
            r["shadow"] = "off"
        w.configure(conf)
        w.start()
        p.wait_up()
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        b.kill9()
        a.wait("shadow.link_down", peer=B)
        # The witness is there, and no copy may go to it.
        assert post(a, "refused") == "451 4.3.0"
        assert not w.seen("shadow.held")
        b.start()
        p.wait_up()
        a.kill9()
        b.wait("shadow.takeover", reason="silence")
        until(lambda: senders(sinks[1]) == ["kept"])


def test_no_takeover_without_the_witness():
    """One of three nodes alone is no majority."""
    with nodes(3, witness=(2,)) as (p, sinks):
        a, b, w = p.nodes
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        w.kill9()
        b.wait("shadow.link_down", peer=C)
        a.kill9()
        b.wait("shadow.link_down", peer=A)
        waits(b, 3.5)
        assert not b.seen("shadow.takeover")
        w.start()
        waits(b, 1)
        # The witness has not heard the owner since its own start: it cannot
        # say. The operator can, and so can the owner.
        sinks[0].on.pop("MAIL")
        a.start()
        until(lambda: senders(sinks[0]) == ["kept"])
        assert not sinks[1].messages


def test_two_of_three_lost_at_once():
    """Copies at two nodes, one loses its disk and the other one restarts."""
    with nodes(3, takeover_after="1h") as (p, sinks):
        a, b, c = p.nodes
        for s in sinks:
            s.on["MAIL"] = LATER
        for i in range(3):
            assert kept_by(a, f"a{i}") == B
            assert kept_by(b, f"b{i}") == A
            assert kept_by(c, f"c{i}") == A
        for x in (a, b):
            x.kill9()
        a.wipe()
        for s in sinks:
            s.on.pop("MAIL")
        for x in (b, a):
            x.start()
        p.wait_up()
        for x in p.nodes:
            until(lambda x=x: not x.ctl("message", "list"))
        # What A held is copied again or delivered; what it owned, B has.
        assert senders(sinks[1]) == ["a0", "a1", "a2", "b0", "b1", "b2"]
        assert senders(sinks[2]) == ["c0", "c1", "c2"]
        assert not sinks[0].messages


# --- reload ------------------------------------------------------------------


def test_peers_come_and_go_at_a_reload():
    """A peer is added, used, and taken away; what it held stays resolved."""
    with nodes(2, policy="prefer", start=False, solo_after="0s",
               takeover_after="1h") as (p, sinks):
        a, b = p.nodes
        full = p.conf(0)
        none = p.conf(0)
        none["shadow"]["peers"] = []
        a.configure(none)
        p.start()
        assert "copy" not in post(a, "alone").text
        b.wait("shadow.link_failed", peer=A)
        assert a.reload(full).event == "config.loaded"
        p.wait_up()
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        assert a.reload(none).event == "config.loaded"
        a.wait("shadow.link_down", peer=B, reason="no longer a peer")
        assert "copy" not in post(a, "alone-again").text
        # It may not come in either.
        at = b.mark()
        b.wait("shadow.link_down", peer=A)
        b.wait("shadow.link_failed", since=at, peer=A)
        assert a.reload(full).event == "config.loaded"
        p.wait_up()
        assert kept_by(a, "kept-again") == B
        sinks[0].on.pop("MAIL")
        until(lambda: senders(sinks[0]) == sorted(
            ["alone", "kept", "alone-again", "kept-again"]))
        until(lambda: not a.ctl("message", "list"))
        b.kill9()
        b.start()
        p.wait_up()
        assert not sinks[1].messages


def test_the_listener_moves_at_a_reload():
    """To another address; a copy that is held and links that are up stay."""
    with nodes(2, takeover_after="1h") as (p, sinks):
        a, b = p.nodes
        sinks[0].on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        at = a.mark()
        old, b.shadow_port = b.shadow_port, free_port()
        assert b.reload(p.conf(1)).event == "config.loaded"
        waits(b, 0.3)
        assert not a.seen("shadow.link_down", since=at)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", old)).close()
        # The others are told the new address.
        assert a.reload(p.conf(0)).event == "config.loaded"
        a.wait("shadow.link_up", since=at, peer=B)
        assert kept_by(a, "kept-again") == B
        sinks[0].on.pop("MAIL")
        until(lambda: senders(sinks[0]) == ["kept", "kept-again"])


def test_a_reload_with_an_error_changes_nothing():
    with nodes(2) as (p, _):
        a = p.node(0)
        bad = p.conf(0)
        bad["shadow"]["peers"][0]["address"] = "nowhere"
        assert a.reload(bad).event == "config.refused"
        assert kept_by(a, "kept") == B


def test_a_reload_that_cannot_listen_changes_nothing():
    with nodes(2, policy="prefer", start=False) as (p, _):
        a = p.node(0)
        none = p.conf(0)
        del none["shadow"]
        a.configure(none)
        a.start()
        with socket.create_server(("127.0.0.1", a.shadow_port)):
            assert a.reload(p.conf(0)).event == "config.refused"
        assert "copy" not in post(a, "alone").text
        assert a.reload(p.conf(0)).event == "config.loaded"
        a.wait("shadow.listen")


def test_the_address_of_a_peer_changes():
    with nodes(2) as (p, _):
        a, b = p.nodes
        with Proxy(b.shadow_port) as w:
            p.via[0, 1] = w.port
            assert a.reload(p.conf(0)).event == "config.loaded"
            until(lambda: w.passed["there"] > 0)
            p.wait_up()
            assert kept_by(a, "through") == B


def test_a_node_without_doors_is_there_for_its_peers():
    """No receive connector at all: it keeps copies, and delivers them."""
    with Peer() as s0, Peer() as s1, Pair(
            sink=[s0, s1], start=False, receive={"shadow": "require"}) as p:
        conf = p.conf(1)
        del conf["receive_connectors"]
        p.node(1).configure(conf)
        p.start()
        p.wait_up()
        a, b = p.nodes
        s0.on["MAIL"] = LATER
        assert kept_by(a, "kept") == B
        a.kill9()
        a.wipe()
        a.start()
        b.wait("shadow.takeover")
        until(lambda: senders(s1) == ["kept"])
