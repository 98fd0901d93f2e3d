"""umbra shadow move: the queue of one node becomes another's. Next hops take
nothing until a test says so, so that each message can be counted."""
import os
import contextlib
import subprocess
import threading

import pytest

from pair import Pair
from peer import Peer
from proxy import Proxy
from umbra import UMBRA
from wait import until

LATER = "451 4.3.0 later"


def text(mark):
    return f"Subject: {mark}\r\n\r\nthis is {mark}\r\n"


def fill(node, n, name="m"):
    for i in range(n):
        node.send(f"{name}{i}@sender.test",
                  [f"r{i}@example.org", f"s{i}@example.org"], text(i))


def queued(node):
    return node.ctl("message", "list", "--limit", "0")


def order(node, *args, want=0):
    """What `umbra shadow move` says, and its notes."""
    p = subprocess.run([UMBRA, "-c", node.file, "shadow", "move", *args],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == want, p
    return p.stdout, p.stderr


def moving(a, b):
    (row,) = a.ctl("shadow", "status")
    (p,) = [p for p in row["peers"] if p["name"] == b.name]
    return p


def moved(a, b, n=None):
    """All that can be is given; how many."""
    until(lambda: moving(a, b)["moving_left"] == 0,
          text=lambda: moving(a, b))
    got = moving(a, b)
    assert n is None or (got["moved"], got["moved_unsure"]) == (n, 0), got
    return got


def delivered(sink):
    """(sender, recipient) of all that it took, sorted."""
    return sorted((m.sender, t) for m in list(sink.messages) for t in m.to)


def wanted(n, name="m"):
    return sorted((f"{name}{i}@sender.test", f"{t}{i}@example.org")
                  for i in range(n) for t in "rs")


def open_up(sink):
    sink.on.pop("MAIL", None)


def all_there(sink, want, *nodes):
    for x in nodes:
        x.cli("queue", "retry", "--all", "--yes")
    until(lambda: len(delivered(sink)) >= len(want),
          text=lambda: len(delivered(sink)))
    assert delivered(sink) == want


@contextlib.contextmanager
def nodes(**more):
    """Who is silent is not taken over from; the next hop takes nothing yet."""
    with Peer(on={"MAIL": LATER}) as sink, Pair(
            sink=sink, receive={"shadow": "require"},
            shadow={"takeover_after": "1h", "start_barrier": "2s"},
            **more) as p:
        p.sink = sink
        yield p


@pytest.fixture
def pair():
    with nodes() as p:
        p.wait_up()
        yield p


def test_the_queue_moves_and_one_node_is_enough(pair):
    """N messages, one recipient of each delivered already: moved, the giver
    off, the next hop up: the other recipient of each once, by the taker. The
    giver comes back: nothing twice, and no copy stays anywhere."""
    a, b, sink = *pair.nodes, pair.sink
    n = 40

    def half(conn, line):
        return LATER if "<s" in line else None
    sink.on = {"RCPT": half}
    fill(a, n)
    until(lambda: len(delivered(sink)) == n)
    sink.on = {"MAIL": LATER}
    until(lambda: len(queued(a)) == n)

    out, notes = order(a, b.name)
    assert out == (f"messages of ours: {n}; would be given to {b.name}, to be "
                   "delivered from there\n")
    assert "add --yes" in notes and not queued(b)
    assert len(queued(a)) == n
    (row,) = a.ctl("shadow", "move", b.name, "--yes")
    assert row["messages"] == n and row["done"] is True, row
    assert a.wait("control.command", verb="shadow move")["uid"] == str(
        os.getuid())
    moved(a, b, n)
    assert not queued(a) and len(queued(b)) == n
    assert all(m["mid"] for m in b.ctl("message", "show", queued(b)[0]["id"]))
    assert len(a.seen("shadow.moved_out")) == n
    assert len(b.seen("shadow.moved_in")) == n
    a.wait("shadow.moved", peer=b.name)
    assert f"moving to {b.name}: 0 left, {n} given" in a.cli(
        "shadow", "status")

    a.stop()
    open_up(sink)
    all_there(sink, wanted(n), b)
    assert not queued(b)
    a.start()
    pair.wait_up()
    until(lambda: moving(a, b)["held"] == 0, text=lambda: moving(a, b))
    assert delivered(sink) == wanted(n)
    assert not a.seen("shadow.takeover") and not b.seen("shadow.takeover")


@pytest.mark.parametrize("who", ["giver", "taker"])
def test_killed_while_it_moves(pair, who):
    """Either node dies in the middle, a few times: each message once."""
    a, b, sink = *pair.nodes, pair.sink
    dies = a if who == "giver" else b
    n = 150
    fill(a, n)
    until(lambda: len(queued(a)) == n)
    for _ in range(3):
        done = threading.Event()
        at = b.mark()
        a.cli("shadow", "move", b.name, "--yes")
        killer = threading.Timer(0, lambda: (
            until(lambda: b.seen("shadow.moved_in", since=at) or
                  not queued(a)), dies.kill9(), done.set()))
        killer.start()
        done.wait(60)
        killer.join()
        dies.start()
        pair.wait_up()
    a.cli("shadow", "move", b.name, "--yes")
    moved(a, b)
    until(lambda: len(queued(a)) + len(queued(b)) == n,
          text=lambda: (len(queued(a)), len(queued(b))))
    open_up(sink)
    all_there(sink, wanted(n), a, b)
    until(lambda: not queued(a) and not queued(b))
    assert delivered(sink) == wanted(n)


def test_what_has_no_copy_gets_one_first(pair):
    """Taken alone, while the peer was off; and what no peer knows stays."""
    a, b, sink = *pair.nodes, pair.sink
    pair.receive["shadow"] = "prefer"
    pair.configure(solo_after="0s", reshadow_after="1h")
    for x in pair.nodes:
        x.cli("config", "reload")
    b.stop()
    until(lambda: moving(a, b)["link"] != "up")
    fill(a, 5, "solo")
    pair.receive["shadow"] = "off"
    pair.configure()
    a.cli("config", "reload")
    fill(a, 2, "off")
    b.start()
    pair.wait_up()
    _, notes = order(a, b.name, "--yes")
    assert "2 more have no identity that peers know and stay here" in notes
    moved(a, b, 5)
    assert (len(queued(a)), len(queued(b))) == (2, 5)
    open_up(sink)
    all_there(sink, sorted(wanted(5, "solo") + wanted(2, "off")), a, b)


def test_orders_go_along(pair):
    """What an administrator has suspended stays so at the peer, with what the
    next hop said last."""
    a, b, sink = *pair.nodes, pair.sink
    fill(a, 2)
    until(lambda: all(m.get("last_error") or True for m in queued(a)) and
          len(a.seen("delivery.deferred")) >= 2)
    first, second = [m["id"] for m in queued(a)]
    a.cli("message", "suspend", first, "--yes")
    a.cli("shadow", "move", b.name, "--yes")
    moved(a, b, 2)
    open_up(sink)
    all_there(sink, [("m1@sender.test", f"{t}1@example.org") for t in "rs"],
              b)
    (left,) = queued(b)
    (shown,) = b.ctl("message", "show", left["id"])
    assert "suspended" in str(shown), shown
    assert "4.3.0 later" in str(shown), shown
    b.cli("message", "resume", left["id"], "--yes")
    all_there(sink, wanted(2), b)


def test_suspended_mail_is_given_again_until_it_is_heard():
    """GIVE is lost with the link after it is no longer ours. The peer asks who
    has it, and must not deliver what was suspended here."""
    with nodes(start=False) as p:
        a, b, sink = *p.nodes, p.sink
        wire, back = Proxy(b.shadow_port), Proxy(a.shadow_port)
        p.via.update({(0, 1): wire.port, (1, 0): back.port})
        p.configure()
        p.start()
        p.wait_up()
        fill(a, 3)
        until(lambda: len(a.seen("delivery.deferred")) >= 3)
        first = queued(a)[0]["id"]
        a.cli("message", "suspend", "--where", "sender != m2@sender.test",
              "--yes")
        wire.hold("there")
        a.cli("shadow", "move", b.name, "--yes")
        a.wait("shadow.moved_out", count=3)
        mark = a.mark()
        wire.reset()
        wire.let()
        a.wait("shadow.link_up", since=mark)
        back.reset()  # the peer asks when its own link is up again
        open_up(sink)
        until(lambda: len(queued(b)) >= 2 and not queued(a))
        all_there(sink, [("m2@sender.test", f"{t}2@example.org")
                         for t in "rs"], b)
        assert first not in [m["id"] for m in queued(a)]
        left = queued(b)
        assert [m["state"] for m in left] == ["suspended"] * 2, left
        b.cli("message", "resume", "--all", "--yes")
        all_there(sink, wanted(3), b)


def test_who_cannot_be_given_mail(pair):
    """Nobody; a node that is drained says no, until it is back."""
    a, b, sink = *pair.nodes, pair.sink
    fill(a, 3)
    until(lambda: len(queued(a)) == 3)
    _, said = order(a, "nobody.test", "--yes", want=65)
    assert said == ('umbra: "nobody.test" is not in shadow.peers; peers that '
                    f"take mail: {b.name}\n")
    b.cli("drain", "--no-wait")
    until(lambda: moving(a, b)["free"] == "full")
    a.cli("shadow", "move", b.name, "--yes")
    until(lambda: "takes no mail now" in (moving(a, b)["moving_waits"] or ""))
    assert len(queued(a)) == 3 and moving(a, b)["moving_left"] == 3
    b.cli("undrain")
    moved(a, b, 3)
    open_up(sink)
    all_there(sink, wanted(3), b)


def test_stopped(pair):
    a, b, sink = *pair.nodes, pair.sink
    fill(a, 3)
    b.cli("drain", "--no-wait")
    until(lambda: moving(a, b)["free"] == "full")
    a.cli("shadow", "move", b.name, "--yes")
    (row,) = a.ctl("shadow", "move", b.name, "--stop")
    assert (row["left"], row["given"]) == (0, 0)
    b.cli("undrain")
    until(lambda: moving(a, b)["free"] == "ok")
    open_up(sink)
    all_there(sink, wanted(3), a)
    assert not b.seen("shadow.moved_in")


def test_a_redirection_stays_behind(pair):
    """Its connector is the giver's: the peer goes by its own table."""
    a, b, sink = *pair.nodes, pair.sink
    c = pair.conf(0)
    c["send_connectors"].append({"name": "backup", "smart_hosts": [
        "127.0.0.1:9"], "address_spaces": ["nowhere.test"]})
    assert a.reload(c).event == "config.loaded"
    fill(a, 1)
    until(lambda: len(queued(a)) == 1)
    a.cli("message", "redirect", "--all", "--connector", "backup", "--yes")
    a.cli("shadow", "move", b.name, "--yes")
    moved(a, b, 1)
    open_up(sink)
    all_there(sink, wanted(1), b)


def test_a_drain_moves_on_whatever_is_ordered_beside_it(pair):
    a, b, sink = *pair.nodes, pair.sink
    fill(a, 2)
    until(lambda: len(queued(a)) == 2)
    b.cli("drain", "--no-wait")
    until(lambda: moving(a, b)["free"] == "full")
    a.cli("drain", "--to", b.name, "--no-wait")
    _, said = order(a, b.name, "--stop", want=75)
    assert "umbra undrain" in said
    a.cli("shadow", "move", b.name, "--yes")
    _, said = order(a, b.name, "--stop", want=75)
    a.cli("undrain")
    assert moving(a, b)["moving_left"] == 0
    open_up(sink)
    all_there(sink, wanted(2), a)


def test_mail_for_a_peer_that_is_no_longer_one_goes_to_another():
    with nodes(n=3) as p:
        p.wait_up()
        a, b, c, sink = *p.nodes, p.sink
        fill(a, 3)
        until(lambda: len(queued(a)) == 3)
        c.cli("drain", "--no-wait")
        until(lambda: moving(a, c)["free"] == "full")
        a.cli("shadow", "move", c.name, "--yes")
        until(lambda: moving(a, c)["moving_left"] == 3)
        without = p.conf(0)
        without["shadow"]["peers"] = [
            x for x in without["shadow"]["peers"] if x["name"] != c.name]
        assert a.reload(without).event == "config.loaded"
        a.cli("shadow", "move", b.name, "--yes")
        moved(a, b)
        assert not queued(a) and len(queued(b)) == 3
        open_up(sink)
        all_there(sink, wanted(3), b)


def test_some_messages_are_redirected_to_a_peer(pair):
    """By filter; the others stay. Wrong words are said so."""
    a, b, sink = *pair.nodes, pair.sink
    fill(a, 6)
    until(lambda: len(queued(a)) == 6)

    def redirect(*args, want=0):
        p = subprocess.run([UMBRA, "-c", a.file, "message", "redirect", *args],
                           capture_output=True, text=True, timeout=60)
        assert p.returncode == want, p
        return p.stdout + p.stderr

    assert "--to-peer NODE" in redirect("--all", want=64)
    assert "--to-peer NODE" in redirect(
        "--all", "--to-peer", b.name, "--connector", "out", want=64)
    assert "nobody.test" in redirect(
        "--all", "--to-peer", "nobody.test", want=65)
    some = ("--where", "sender == m1@sender.test or sender == m4@sender.test",
            "--to-peer", b.name)
    assert "would be redirected" in redirect(*some)
    assert len(queued(a)) == 6
    assert "messages: 2" in redirect(*some, "--yes")
    until(lambda: len(queued(b)) == 2, text=lambda: queued(b))
    until(lambda: len(queued(a)) == 4)
    assert sorted(m["from"] for m in queued(b)) == [
        "m1@sender.test", "m4@sender.test"]
    open_up(sink)
    all_there(sink, wanted(6), a, b)
