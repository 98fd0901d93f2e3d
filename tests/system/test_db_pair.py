"""A node of a pair comes back from a backup, as the same database or as another
one: nothing is lost, and nobody gets a message twice."""
import os
import shutil

import pytest

from pair import Pair
from peer import Peer
from test_db import check, db
from wait import until

TEXT = b"Subject: s\r\n\r\n" + b"0123456789\r\n" * 30
LARGE = b"Subject: l\r\n\r\n" + b"0123456789abcde\r\n" * 30000
IDENTITY = [(), ("--new-identity",)]


@pytest.fixture
def lab():
    """Two relays, and a next hop that is away."""
    with Peer() as sink, Pair(
            sink=sink, receive={"shadow": "require"},
            shadow={"start_barrier": "3s"}) as p:
        sink.down()
        p.sink_peer = sink
        p.wait_up()
        yield p


def send(p, i, *names):
    for n in names:
        p.node(i).send("a@b.test", f"{n}@example.org",
                       LARGE if n.endswith("3") else TEXT)


def names(k, n=6):
    return [f"{k}{i}" for i in range(n)]


def back(p, i, backup, *identity):
    """Node i, which is not running, is started on a backup."""
    x = p.node(i)
    shutil.rmtree(x.data)
    db("restore", backup, "--to", x.data, *identity)
    x.start()
    p.wait_up()


def settled(p, *want):
    """All these arrive, each once, and both nodes are empty."""
    p.sink_peer.up()
    for x in p.nodes:
        x.cli("queue", "retry", "--all", "--yes")

    def empty():
        return not any(x.ctl("message", "list") for x in p.nodes) and \
            not any(x.ctl("shadow", "status")[0]["held"] for x in p.nodes)
    until(empty, text=p.tail)
    got = sorted(r.split("@")[0] for m in p.sink_peer.messages for r in m.to)
    assert got == sorted(want), got


@pytest.mark.parametrize("identity", IDENTITY, ids=["same", "new"])
def test_the_disk_is_lost_and_a_backup_is_there(lab, identity):
    """What came after the backup is with the peer, what came before on both."""
    p, one = lab, lab.node(0)
    send(p, 0, *names("a"))
    out = os.path.join(one.dir, "backup")
    db("backup", out, one.data)
    send(p, 0, *names("b"))
    one.kill9()
    back(p, 0, out, *identity)
    settled(p, *names("a"), *names("b"))


@pytest.mark.parametrize("identity", IDENTITY, ids=["same", "new"])
def test_what_was_delivered_since_is_not_delivered_again(lab, identity):
    """Also what the peer took over and finished while the node was away."""
    p, one, two = lab, lab.node(0), lab.node(1)
    send(p, 0, *names("a"))
    out = os.path.join(one.dir, "backup")
    db("backup", out, one.data)
    one.kill9()
    two.cli("shadow", "takeover", one.name, "--yes")
    p.sink_peer.up()
    two.wait("message.done", count=6)
    p.sink_peer.down()
    back(p, 0, out, *identity)
    send(p, 0, *names("b"))
    settled(p, *names("a"), *names("b"))


@pytest.mark.parametrize("identity", IDENTITY, ids=["same", "new"])
def test_copies_in_a_backup_are_kept(lab, identity):
    """The node that holds copies is restored, and then the owner is lost."""
    p, one, two = lab, lab.node(0), lab.node(1)
    send(p, 0, *names("a"))
    out = os.path.join(two.dir, "backup")
    db("backup", out, two.data)
    assert check(out)[1]["copies_for_others"] == 6
    two.kill9()
    back(p, 1, out, *identity)
    one.kill9()
    one.wipe()
    one.start()
    p.wait_up()
    settled(p, *names("a"))


def test_another_identity_makes_owners_copy_again(lab):
    """What the holder took after its backup is missing in it; with another
    identity its owner sees that, and copies it anew."""
    p, one, two = lab, lab.node(0), lab.node(1)
    p.configure(reshadow_after="1s")
    assert one.reload().event == "config.loaded"
    out = os.path.join(two.dir, "backup")
    send(p, 0, *names("a"))
    db("backup", out, two.data)
    send(p, 0, *names("b"))
    two.kill9()
    back(p, 1, out, "--new-identity")
    until(lambda: check(two.data)[1]["copies_for_others"] == 12, text=p.tail)
    one.kill9()
    one.wipe()
    one.start()
    p.wait_up()
    settled(p, *names("a"), *names("b"))


def test_moving_a_node(lab):
    """Stopped, backed up, restored: the same database, and no peer stirs."""
    p, one, two = lab, lab.node(0), lab.node(1)
    send(p, 0, *names("a"))
    one.stop()
    out = os.path.join(one.dir, "backup")
    db("backup", out, one.data)
    back(p, 0, out)
    settled(p, *names("a"))
    assert not two.seen("shadow.takeover")
    assert not one.seen("shadow.ceded")
