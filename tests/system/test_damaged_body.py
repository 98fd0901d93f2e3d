"""A body that is not what was taken in any more is never sent: the message is
set aside, and a peer that holds a copy delivers that."""
import os

import pytest

from pair import Pair
from peer import Peer
from test_db import (LARGE, SMALL, body_file, damage_file,  # noqa: F401
                     filled, page_with)
from wait import LONG, until

#: A holder asks about what it holds so often, when its link stays up.
ASKED = 60


def damage(u, what, i):
    """Of message i of u, which is not running."""
    if what == "database":
        head = b"for <u%d@example.org>" % i

        def change(page):
            at = page.index(head)
            return page[:at] + page[at:].replace(b"small", b"smbll", 1)
        page_with(u, head, change)
        return
    damage_file(body_file(u, i), what)


@pytest.mark.parametrize("what", ["database", "file", "file_short",
                                  "file_checksum"])
def test_it_is_set_aside(filled, what):  # noqa: F811
    u, i = filled, 4 if what == "database" else 3
    damage(u, what, i)
    u.peer.up()
    at = u.mark()
    u.start()
    x = u.wait("queue.damaged", since=at, msg=u.ids[i])
    assert "body" in x["reason"]
    u.wait("message.done", since=at, count=9)
    u.stop()
    got = sorted(r for m in u.peer.messages for r in m.to)
    assert got == sorted(f"u{k}@example.org" for k in range(10) if k != i)
    if what == "file_checksum":
        assert os.path.exists(f"{u.data}/damaged/{u.ids[i]}")
    # It is not tried again after a start.
    at = u.mark()
    u.start()
    assert u.wait("queue.recovered", since=at)["messages"] == "0"
    u.stop()


@pytest.mark.parametrize("what, status", [("file_checksum", 74),
                                          ("file_short", 75)])
def test_an_export_leaves_it_out(filled, what, status):  # noqa: F811
    """Also not under another name; the others are written."""
    u = filled
    damage(u, what, 3)
    u.start()
    out = u.dir + "/out"
    os.mkdir(out)
    said = u.cli("message", "export", "--all", "--dir", out, want=status)
    names = sorted(f"{x}.eml" for k, x in enumerate(u.ids) if k != 3)
    assert sorted(os.listdir(out)) == names
    assert said.split() == [os.path.join(out, x) for x in names]
    u.stop()


def test_the_peer_makes_a_copy_again():
    """Where it was damaged is as good for a copy as before."""
    with Peer() as ours, Peer() as its, Pair(
            sink=[ours, its], receive={"shadow": "require"},
            shadow={"start_barrier": "3s", "reshadow_after": "0s"}) as p:
        ours.down()
        its.on["MAIL"] = "451 4.3.0 later"
        p.wait_up()
        u, v = p.nodes
        u.ids = {3: u.send("a@b.test", "u3@example.org", LARGE)}
        u.stop()
        damage(u, "file_checksum", 3)
        ours.up()
        u.start()
        v.wait("shadow.takeover", timeout=ASKED + LONG)
        u.wait("shadow.held", owner=v.name)
        v.kill9()
        v.wipe()
        v.start()
        u.wait("shadow.takeover", reason="new database")
        until(lambda: ours.messages, text=p.tail)
        assert [m.body for m in ours.messages] == [LARGE]
        assert not its.messages


@pytest.mark.parametrize("what", ["database", "file", "file_short",
                                  "file_checksum"])
def test_a_peer_delivers_its_copy(what):
    with Peer() as sink, Pair(
            sink=sink, receive={"shadow": "require"},
            shadow={"start_barrier": "3s"}) as p:
        sink.down()
        p.wait_up()
        u, i = p.node(0), 4 if what == "database" else 3
        u.ids = {k: u.send("a@b.test", f"u{k}@example.org",
                           LARGE if k % 3 == 0 else SMALL) for k in (3, 4)}
        u.stop()
        damage(u, what, i)
        sink.up()
        u.start()
        u.wait("queue.damaged", msg=u.ids[i])
        p.node(1).wait("shadow.takeover", timeout=ASKED + LONG)
        until(lambda: len(sink.messages) == 2, text=p.tail)
        assert sorted((m.to[0], m.body) for m in sink.messages) == [
            ("u3@example.org", LARGE), ("u4@example.org", SMALL)]
        until(lambda: not any(x.ctl("message", "list") for x in p.nodes),
              text=p.tail)
        assert len(sink.messages) == 2
