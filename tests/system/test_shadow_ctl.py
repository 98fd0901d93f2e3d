"""umbra shadow: what people see of the copies, and what they may order."""
import os
import re
import subprocess

import pytest

from pair import Pair
from peer import Peer
from umbra import UMBRA, Umbra, base
from wait import until

MESSAGE = "Subject: x\r\n\r\nx\r\n"
LATER = {"END": "451 4.3.0 later"}


def status(node):
    (row,) = node.ctl("shadow", "status")
    return row


def peer(node, other):
    (row,) = [p for p in status(node)["peers"] if p["name"] == other.name]
    return row


@pytest.fixture(scope="module")
def sinks():
    """A next hop that takes nothing for now, and a good one."""
    with Peer(on=LATER) as slow, Peer() as good:
        yield slow, good


def test_off():
    with Umbra(base()) as u:
        assert u.cli("shadow", "status").splitlines() == [
            "name                 mx.umbra.test",
            "shadow               off (shadow.listen is not set)"]
        assert u.cli("status").endswith(
            "\nshadow               off (shadow.listen is not set)\n")
        u.cli("shadow", "takeover", "x", "--yes", want=65)


def test_a_copy_is_seen_and_counted_nowhere_as_ours(sinks):
    with Pair(sink=sinks[0], receive={"shadow": "require"}) as p:
        p.wait_up()
        a, b = p.nodes
        msg = a.send("s@example.org", ["r@example.org"], MESSAGE)

        # The owner: one message, one row, and where its copy is.
        (got,) = a.ctl("message", "show", msg)
        mine = status(a)
        assert re.fullmatch(mine["sid"] + ":[0-9a-f]{16}:[0-9a-f]+",
                            got["mid"])
        assert (got["gen"], got["copy"], got["copy_state"]) == (
            1, b.name, "live")
        text = a.cli("message", "show", msg)
        assert f"\nidentity (MID)       {got['mid']}\n" in text
        assert f"\n  copy on            {b.name}\n" in text
        assert (mine["shadow"], mine["alone_seconds"], mine["bare"]) == (
            "paired", None, 0)
        assert mine["accepted"] == mine["accepted_shadowed"] == 1
        assert f"\nshadow               paired with {b.name}\n" in \
            a.cli("status")

        # The holder: a copy, and an empty queue.
        theirs, row = status(b), peer(b, a)
        assert theirs["sid"] != mine["sid"] and theirs["held"] == 1
        assert theirs["held_bytes"] == row["held_bytes"] > len(MESSAGE)
        assert (row["role"], row["link"], row["serves"], row["held"]) == (
            "peer", "up", "up", 1)
        assert 0 <= row["heard_seconds"] < 30 and row["trouble"] is None
        (whole,) = b.ctl("status")
        assert (whole["messages"], whole["bytes"], whole["oldest"],
                whole["next_hops"], whole["deliveries"]) == (0, 0, None, 0, 0)
        assert whole["shadow"] == "paired"
        assert b.ctl("queue", "list") == b.ctl("message", "list") == []
        b.cli("message", "show", msg, want=65)
        assert b.cli("queue", "retry").startswith(
            "deliveries that wait for a retry time: 0,")

        # Nor after a start, when it is read from the disk.
        b.kill9()
        b.start()
        p.wait_up()
        (whole,) = b.ctl("status")
        assert (whole["messages"], whole["next_hops"]) == (0, 0)
        assert b.ctl("queue", "list") == b.ctl("message", "list") == []
        assert status(b)["held"] == 1


def test_alone():
    with Pair(receive={"shadow": "prefer"},
              shadow={"solo_after": "0s"}) as p:
        p.wait_up()
        a, b = p.nodes
        b.stop()
        until(lambda: status(a)["shadow"] == "alone", text=a.tail)
        msg = a.send("s@example.org", ["r@example.org"], MESSAGE)
        got = status(a)
        assert got["alone_seconds"] >= 0 and got["bare"] == 1
        assert got["accepted_solo"] == got["accepted"] == 1
        assert re.search(r"\nshadow               alone for \d+s: no peer "
                         r"takes copies\n", a.cli("status"))
        row = peer(a, b)
        assert row["link"] != "up" and row["trouble"]
        assert row["serves"] == "down"
        (got,) = a.ctl("message", "show", msg)
        assert got["copy"] is None and got["mid"]
        assert "\n  copy on            none\n" in a.cli("message", "show", msg)


def test_a_message_that_waits_for_a_peer(sinks):
    with Pair(sink=sinks[0], receive={"shadow": "require"}) as p:
        p.wait_up()
        a, b = p.nodes
        msg = a.send("s@example.org", ["r@example.org"], MESSAGE)
        a.kill9()
        b.kill9()
        a.start()
        (row,) = a.ctl("message", "list")
        assert (row["id"], row["state"]) == (msg, "waiting")
        (got,) = a.ctl("message", "show", msg)
        assert got["copy_state"] == "start barrier"
        assert got["recipients"][0]["state"] == "waiting"
        assert peer(a, b)["waiting"] == 1
        b.start()
        until(lambda: peer(a, b)["waiting"] == 0)
        (got,) = a.ctl("message", "show", msg)
        assert (got["copy"], got["copy_state"]) == (b.name, "live")


def test_people_see_a_table():
    with Pair(n=3, witness=[2]) as p:
        p.wait_up()
        a, b, c = p.nodes
        text = a.cli("shadow", "status")
        assert f"\nshadow               paired with {b.name}\n" in text
        head, row, witness = text.split("\n\n")[1].splitlines()
        assert head.startswith("PEER ") and head.endswith("TROUBLE")
        assert row.split()[:4] == [b.name, "peer", "up", "up"]
        assert witness.split()[:4] == [c.name, "witness", "up", "up"]


def test_takeover(sinks):
    slow, good = sinks
    with Pair(sink=[slow, good], receive={"shadow": "require"}) as p:
        p.wait_up()
        a, b = p.nodes
        for i in range(3):
            a.send("s@example.org", [f"taken{i}@example.org"], MESSAGE)
        a.kill9()
        b.wait("shadow.link_down")

        # Only said.
        out = b.cli("shadow", "takeover", a.name)
        assert re.fullmatch(rf"copies held for {a.name}: 3 \(.*\); would be "
                            r"taken over and delivered from here\n", out), out
        (row,) = b.ctl("shadow", "takeover", a.name.upper())
        assert row == {"node": a.name, "copies": 3, "bytes": row["bytes"],
                       "done": False} and row["bytes"] > 3 * len(MESSAGE)
        assert not b.seen("shadow.takeover_ordered")
        assert status(b)["held"] == 3

        # Unknown: the ones that are known.
        said = subprocess.run(
            [UMBRA, "-c", b.file, "shadow", "takeover", "relay9", "--yes"],
            capture_output=True, text=True, timeout=60, check=False)
        assert (said.returncode, said.stdout, said.stderr) == (
            65, "", f'umbra: there is no node "relay9"; known are: {a.name}\n')

        (row,) = b.ctl("shadow", "takeover", a.name, "--yes")
        assert row["copies"] == 3 and row["done"] is True
        line = b.wait("control.command", verb="shadow takeover")
        assert (line["peer"], line["copies"]) == (a.name, "3")
        assert line["uid"] == str(os.getuid())
        b.wait("shadow.takeover", count=3, reason="operator")
        for i in range(3):
            good.to(f"taken{i}@example.org")
        got = until(lambda: status(b) if status(b)["held"] == 0 else None)
        assert got["takeovers"] == got["takeovers_operator"] == 3

        # The node was not gone at all: it learns that these are not its own.
        a.start()
        until(lambda: a.ctl("message", "list") == [], text=p.tail)
        assert peer(b, a)["held"] == 0
