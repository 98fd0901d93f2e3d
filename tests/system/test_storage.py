"""Time and room that run out: deadlines of a session, a full disk, a queue
directory that is not right."""
import contextlib
import os
import re
import time

import pytest

from disk import small_disk
from peer import Peer
from smtp import Closed
from umbra import Umbra, base
from wait import LONG, until

MESSAGE = b"Subject: s\r\n\r\nbody\r\n"


# --- deadlines ---------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty():
    with Peer() as p:
        conf = base(p.port)
        for r in conf["receive_connectors"]:
            r["timeouts"] = {"command": "1s", "data": "1s"}
        with Umbra(conf) as u:
            yield u


def test_silent_client(hasty):
    with hasty.smtp() as c:
        assert c.reply() == "421 4.4.2"
        assert c.eof()


@pytest.mark.parametrize("how", ["DATA", "BDAT", "discarded"])
def test_silent_in_a_message(hasty, how):
    mark = hasty.mark()
    with hasty.smtp() as c:
        if how != "discarded":
            c.envelope("a@b.test", "x@example.org")
        if how == "DATA":
            c.ok("DATA", 354)
            c.send("half a li")
        else:
            c.send("BDAT 100 LAST\r\nhalf")
        assert c.reply() == "421 4.4.2"
        assert c.eof()
    assert not hasty.seen("message.accepted", since=mark)


def test_a_command_has_one_deadline(hasty):
    """RFC 5321 4.5.3.2 is about a whole command: single octets do not move
    its deadline."""
    with hasty.smtp() as c:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(100):    # 10 s if nobody ends it
                c.send("N")
                time.sleep(0.1)
        assert time.monotonic() - began < 6
        with contextlib.suppress(Closed):
            assert c.reply() == "421 4.4.2"


def test_a_busy_client_is_not_cut(hasty):
    """Each command starts the clock anew."""
    with hasty.smtp() as c:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            c.ok("NOOP")
            time.sleep(0.2)
        c.mail("a@b.test", "x@example.org", MESSAGE)


def test_session_as_a_whole():
    with Peer() as p:
        conf = base(p.port)
        conf["receive_connectors"][0]["timeouts"] = {"session": "2s"}
        with Umbra(conf) as u, u.smtp() as c:
            began = time.monotonic()
            r = c.cmd("NOOP")
            while r == 250 and time.monotonic() - began < 5:
                time.sleep(0.1)
                try:
                    r = c.cmd("NOOP")
                except Closed:
                    break
            assert time.monotonic() - began < 4.5


def test_many_idle_sessions(hasty):
    """They end by themselves and leave room."""
    held = [hasty.smtp(hello=False) for _ in range(200)]
    for c in held:
        assert c.reply() == "421 4.4.2"
        c.close()


# --- the disk ----------------------------------------------------------------


def offer(c, to, text):
    """The answer to a message: to its data, or, when back pressure has seen a
    full disk before, to MAIL."""
    r = c.cmd("MAIL FROM:<a@b.test>")
    if r.code != 250:
        return r
    c.ok(f"RCPT TO:<{to}>")
    return c.data(text)


def fill(u, text):
    """Messages until one is refused: recipients of those that were taken."""
    took = []
    with u.smtp() as c:
        for i in range(2000):
            to = f"u{i}@example.org"
            r = offer(c, to, text)
            if r != 250:
                break
            took.append(to)
        assert r == "452 4.3.1", r
        assert len(took) > 5
        # The session goes on.
        c.ok("NOOP")
        assert offer(c, "again@example.org", text) == "452 4.3.1"
    return took


def lines(size):
    return b"Subject: s\r\n\r\n" + b"0123456789\r\n" * (size // 12)


@pytest.mark.parametrize("size", [20000, 600000], ids=["small", "files"])
def test_full_disk(size):
    """452 4.3.1 and no lie; deliveries go on, and then there is room again.
    All that was answered 250 arrives, nothing else does."""
    peer = Peer()
    peer.down()
    text = lines(size)
    with Umbra(base(peer.port), start=False) as u, \
            small_disk(u.data, "16m"), peer:
        u.start()
        took = fill(u, text)
        u.restart()
        peer.up()
        for to in took:
            assert peer.to(to).body == text
        u.wait("message.done", count=len(took))
        assert not [m for m in peer.messages if "again@example.org" in m.to]

        def takes():
            with u.smtp() as c:
                return offer(c, "room@example.org", text) == 250
        until(takes, LONG, 0.2)
        assert peer.to("room@example.org").body == text
        assert len(peer.messages) == len(took) + 1


@pytest.mark.parametrize("size", [20000, 600000], ids=["small", "files"])
def test_full_disk_is_told(size):
    with Umbra(base(), start=False) as u, small_disk(u.data, "16m"):
        u.start()
        fill(u, lines(size))
        u.wait("queue.full", timeout=3)


@pytest.mark.parametrize("what, want", [
    ("file", "not a directory"), ("mode", "mode|permission|chmod"),
    ("garbage", "not|damaged|invalid|LMDB")])
def test_queue_directory_that_is_not_right(what, want):
    """A clear message with the path, and no queue is destroyed."""
    with Umbra(base(), start=False) as u:
        if what == "file":
            with open(u.data, "wb") as f:
                f.write(b"x")
        elif what == "mode":
            os.makedirs(u.data)
            os.chmod(u.data, 0o777)
        else:
            u.start()
            u.stop()
            names = [n for n in os.listdir(u.data) if n.endswith(".mdb")
                     and "lock" not in n]
            assert names, os.listdir(u.data)
            with open(os.path.join(u.data, names[0]), "r+b") as f:
                f.write(b"\xa5" * 8192)
        if what == "file":
            real, u.data = u.data, u.dir + "/none"   # launch() makes data
            u.launch()
            u.data = real
        else:
            u.launch()
        if what == "mode":
            # Taking it with a warning, or not at all: both are clear.
            until(lambda: not u.running() or u.seen("node.ready"))
            if u.running():
                return
        status = u.died()
        text = "\n".join(u.stray)
        assert status not in (0, 134, -6, -11), (status, text)
        assert u.data in text and re.search(want, text, re.I), text
