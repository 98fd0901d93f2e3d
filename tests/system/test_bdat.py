"""T3: BDAT and CHUNKING (RFC 3030): sizes, errors at every chunk boundary,
lost connections inside a chunk, memory."""
import os
import random
import socket
import struct

import pytest

from peer import ALL, Peer, without
from smtp import queued_as
from umbra import Umbra, base
from wait import until

TEXT = b"Subject: bdat\r\n\r\n.\r\n..\r\nline\r\n.\r\nno end"


@pytest.fixture(scope="module")
def peer():
    with Peer() as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer, pair):
    conf = base(peer.port)
    for r in conf["receive_connectors"]:
        r["tls"] = {"mode": "offer", "cert": pair[0], "key": pair[1]}
        r["limits"].update(message_size="1MiB", errors=1000,
                           commands=1000000)
    with Umbra(conf) as u:
        yield u


def to(n=[0]):
    n[0] += 1
    return f"bdat{n[0]}@example.org"


@pytest.mark.parametrize("size", list(range(1, len(TEXT) + 2)))
def test_every_chunk_size(relay, peer, size):
    """Chunks of every size: the same message, dots untouched."""
    r = to()
    with relay.smtp() as c:
        c.mail("a@b.test", r, TEXT, bdat=size)
    # The next hop takes CHUNKING, so a missing CRLF at the end stays missing.
    assert peer.to(r).body == TEXT


def test_empty_chunks(relay, peer):
    r = to()
    with relay.smtp() as c:
        c.envelope("a@b.test", r)
        for part in b"", TEXT[:10], b"", b"", TEXT[10:], b"":
            c.send(f"BDAT {len(part)}\r\n", part)
            assert c.reply() == 250
        c.send("BDAT 0 LAST\r\n")
        assert c.reply() == 250
    assert peer.to(r).body == TEXT


def test_only_an_empty_last_chunk(relay, peer):
    r = to()
    with relay.smtp() as c:
        c.envelope("a@b.test", r)
        assert c.cmd("BDAT 0 LAST") == 250
    assert peer.to(r).body == b""


def test_pipelined_chunks(relay, peer):
    """RFC 3030 4.2: all in one write; one reply each."""
    r = to()
    chunks = [TEXT[i:i + 7] for i in range(0, len(TEXT), 7)]
    wire = b"".join(b"BDAT %d\r\n%s" % (len(x), x) for x in chunks)
    with relay.smtp() as c:
        c.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{r}>\r\n", wire,
               "BDAT 0 LAST\r\nNOOP\r\n")
        assert all(x == 250 for x in c.replies(len(chunks) + 4))
    assert peer.to(r).body == TEXT


def test_octet_by_octet(relay, peer):
    r = to()
    with relay.smtp() as c:
        c.envelope("a@b.test", r)
        c.dribble(b"BDAT 20\r\n" + TEXT[:20] +
                  b"BDAT %d LAST\r\n" % len(TEXT[20:]) + TEXT[20:])
        assert [x.code for x in c.replies(2)] == [250, 250]
    assert peer.to(r).body == TEXT


@pytest.mark.parametrize("args", [
    "", "x", "-1", "+1", "1 FIRST", "1 LAST LAST", "0x10", "1.0", "1,LAST",
    "99999999999999999999999", str(2**63), str(2**64), str(2**64 + 5), "1LAST",
    "LAST", "LAST 1"])
def test_unreadable_size(relay, args):
    """How much follows is unknown: 501 and the end of the connection."""
    with relay.smtp() as c:
        c.envelope("a@b.test", to())
        c.send(f"BDAT {args}\r\n", "QUIT\r\n")
        assert c.reply() == "501 5.5.4"
        assert c.eof()


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**32, 2**32 + 5,
                                  2**63 - 1])
def test_huge_size(relay, size):
    """Refused without reading it, and without taking memory for it."""
    with relay.smtp() as c:
        c.envelope("a@b.test", to())
        c.send(f"BDAT {size} LAST\r\n")
        assert c.reply() == "552 5.3.4"
        assert c.eof()


@pytest.mark.parametrize("prepare, want", [
    ([], "503 5.5.1"),
    (["MAIL FROM:<a@b.test>"], "503 5.5.1"),
    (["MAIL FROM:<a@b.test>", "RCPT TO:<x@elsewhere.test>"], "554 5.5.1"),
    (["MAIL FROM:<a@b.test>", "RCPT TO:<a@example.org>", "RSET"],
     "503 5.5.1"),
    (["MAIL FROM:<a@b.test>", "RCPT TO:<a@example.org>", "EHLO x"],
     "503 5.5.1"),
])
@pytest.mark.parametrize("last", ["", " LAST"])
@pytest.mark.parametrize("octets", [
    b"QUIT\r\n", b"MAIL FROM:<evil@b.test>\r\n", b"\0\r\n.\r\n"])
def test_refused_chunks_are_swallowed(relay, prepare, want, last, octets):
    """RFC 3030 2: the octets of a refused chunk are not commands."""
    with relay.smtp("inbound") as c:
        for line in prepare:
            c.cmd(line)
        for _ in range(3):
            c.send(f"BDAT {len(octets)}{last}\r\n", octets)
            assert c.reply() == want
        c.ok("NOOP")


def test_chunks_before_ehlo_are_swallowed(relay):
    with relay.smtp(hello=False) as c:
        c.send("BDAT 6 LAST\r\nQUIT\r\n")
        assert c.reply() == "503 5.5.1"
        c.ok("NOOP")


@pytest.mark.parametrize("middle, want", [
    ("MAIL FROM:<b@b.test>", "503 5.5.1"),
    ("RCPT TO:<b@example.org>", "503 5.5.1"), ("DATA", "503 5.5.1"),
    ("NOOP", "250 2.0.0"), ("VRFY \u00e4", "252 2.5.0"),
    ("WHAT", "500 5.5.1"), ("MAIL FROM:<>", "503 5.5.1")])
def test_commands_between_chunks(relay, peer, middle, want):
    """Neither joins nor ends the transaction."""
    r = to()
    with relay.smtp() as c:
        c.envelope("a@b.test", r)
        c.send("BDAT 10\r\n", TEXT[:10])
        assert c.reply() == 250
        assert c.cmd(middle) == want
        c.send(f"BDAT {len(TEXT) - 10} LAST\r\n", TEXT[10:])
        assert c.reply() == 250
    got = peer.to(r)
    assert got.body == TEXT and got.to == [r] and got.sender == "a@b.test"


@pytest.mark.parametrize("how", ["RSET", "EHLO x", "HELO x"])
def test_reset_between_chunks(relay, peer, how):
    gone, r = to(), to()
    with relay.smtp() as c:
        c.envelope("a@b.test", gone)
        c.send("BDAT 10\r\n", TEXT[:10])
        assert c.reply() == 250
        c.ok(how)
        assert c.cmd("BDAT 0 LAST") == "503 5.5.1"
        assert c.cmd("DATA") == "503 5.5.1"
        c.mail("a@b.test", r, TEXT, bdat=100)
    assert peer.to(r).body == TEXT
    assert not [m for m in peer.messages if gone in m.to]


def test_too_large_then_next_message(relay, peer):
    """Over the limit in the second chunk: 552, then BDAT and DATA are 503
    until the next transaction, which starts clean."""
    r = to()
    chunk = b"Subject: x\r\n\r\n" + b"x" * 600000
    with relay.smtp() as c:
        for again in "RSET", None:
            c.envelope("a@b.test", to())
            c.send(f"BDAT {len(chunk)}\r\n", chunk)
            assert c.reply() == 250
            c.send(f"BDAT {len(chunk)}\r\n", chunk)
            assert c.reply() == "552 5.3.4"
            c.send("BDAT 6 LAST\r\nQUIT\r\n")
            assert c.reply() == "503 5.5.1"
            assert c.cmd("DATA") == "503 5.5.1"
            if again:
                c.ok(again)
        c.mail("a@b.test", r, TEXT, bdat=100)
    assert peer.to(r).body == TEXT


@pytest.mark.parametrize("first, want", [
    (b"a\nb\r\n", "550 5.5.2"), (b"a\0b\r\n", "550 5.6.0")])
def test_bad_octets_then_next_message(relay, peer, first, want):
    """The Postfix and Exim class: after a refusal at the end of data nothing
    of the transaction is left, for DATA and for BDAT."""
    with relay.smtp() as c:
        for way in "BDAT", "DATA":
            c.envelope("a@b.test", to())
            r = c.bdat(first, 2) if way == "BDAT" else c.data(first)
            assert r == want
            assert c.cmd("DATA") == "503 5.5.1"
            assert c.cmd("RCPT TO:<a@example.org>") == "503 5.5.1"
            assert c.cmd("BDAT 0 LAST") == "503 5.5.1"
            ok = to()
            c.mail("a@b.test", ok, TEXT, bdat=3)
            assert peer.to(ok).to == [ok]


def test_recipient_refused_then_chunks(relay, peer):
    r = to()
    with relay.smtp("inbound") as c:
        c.ok("MAIL FROM:<a@b.test>")
        assert c.cmd("RCPT TO:<x@elsewhere.test>") == "550 5.7.1"
        c.ok(f"RCPT TO:<{r}>")
        assert c.bdat(TEXT, 5) == 250
    assert peer.to(r).to == [r]


def rss(u):
    with open(f"/proc/{u.proc.pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def test_a_million_tiny_chunks(peer):
    """Memory is flat, and it ends (Postfix 20260805)."""
    conf = base(peer.port)
    conf["receive_connectors"][0]["limits"]["commands"] = 1000000
    n = 990000   # limits.commands ends at a million
    head = b"Subject: x\r\n\r\n"
    # AddressSanitizer keeps freed memory: not too much of it, to see growth.
    with Umbra(conf, env={"ASAN_OPTIONS": "quarantine_size_mb=1"}) as u, \
            u.smtp() as c:
        c.envelope("a@b.test", "million@example.org")
        c.send(f"BDAT {len(head)}\r\n", head)
        assert c.reply() == 250
        before = rss(u)
        block = b"BDAT 1\r\nx" * 10000
        for _ in range(n // 10000):
            c.send(block)
            got = 0
            while got < 10000:   # replies are counted, not parsed
                if b"\n" not in c.buf:
                    c.buf += c.sock.recv(1 << 20)
                k = c.buf.count(b"\n")
                assert c.buf.count(b"250 2.0.0 1 octets") >= k - 1
                got += k
                c.buf = c.buf[c.buf.rfind(b"\n") + 1:]
        assert rss(u) - before < 32 << 20
        assert c.cmd("BDAT 0 LAST") == "250 2.0.0"
        got = peer.to("million@example.org")
        assert got.body == head + b"x" * n


@pytest.mark.parametrize("tls, end", [
    (False, "close"), (False, "reset"), (True, "close"), (True, "reset"),
    (True, "notify")])
def test_lost_inside_a_chunk(relay, tls, end):
    """Closed, reset, or TLS close_notify and then one more octet in clear
    (CVE-2026-45185), after each number of octets of a chunk."""
    mark = relay.mark()
    sizes = [0, 1, 9, 10, 4096, 20000, 300000]
    for n in sizes:
        with relay.smtp() as c:
            if tls:
                c.starttls()
                c.ehlo()
            c.envelope("a@b.test", "lost@example.org")
            c.send(b"BDAT 10\r\n0123456789")
            assert c.reply() == 250
            c.send(f"BDAT {n + 1} LAST\r\n", b"x" * n)
            if end == "reset":
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  struct.pack("ii", 1, 0))
            if end == "notify":
                fd = os.dup(c.sock.fileno())
                c.sock.setblocking(False)
                try:
                    c.sock.unwrap()
                except OSError:
                    pass
                try:
                    os.write(fd, b"x")
                except OSError:
                    pass
                os.close(fd)
    relay.wait("session.close", since=mark, count=len(sizes))
    assert not relay.seen("message.accepted", since=mark,
                          to="<lost@example.org>")
    with relay.smtp() as c:
        c.ok("NOOP")


def test_random_chunks_model(relay, peer):
    """Random contents in random chunks, plain and TLS, with errors between
    them; a model says what must arrive."""
    rng = random.Random(20301)
    want = {}
    with relay.smtp() as plain, relay.smtp() as tls:
        tls.starttls()
        tls.ehlo()
        for _ in range(150):
            c = rng.choice((plain, tls))
            r = to()
            size = rng.choice((10, 100, 5000, 70000, 300000))
            body = b"X: y\r\n\r\n" + b"".join(
                rng.choice((b"ab\r\n", b".\r\n", b"..x\r\n", b"\r\n",
                            b"long line " * 20 + b"\r\n"))
                for _ in range(size // 20))
            c.envelope("a@b.test", r)
            at, alive = 0, True
            while alive:
                n = rng.choice((0, 1, 7, 1000, 40000, len(body)))
                part = body[at:at + n]
                at += len(part)
                last = at == len(body) and rng.random() < 0.7
                c.send(f"BDAT {len(part)}{' LAST' if last else ''}\r\n",
                       part)
                x = c.reply()
                assert x == 250, x
                if last:
                    want[r] = body
                    assert queued_as(x)
                    break
                what = rng.random()
                if what < 0.1:
                    assert c.cmd(rng.choice(("DATA", "BOGUS", "MAIL FROM:<>")
                                            )).code in (500, 503)
                elif what < 0.13:
                    c.ok("RSET")
                    alive = False
    for r, body in want.items():
        assert peer.to(r).body == body
    assert len(want) > 50


# --- as a client -------------------------------------------------------------


def test_client_uses_what_is_offered():
    """BDAT to who offers CHUNKING, DATA to the others, the same octets. What
    has no CRLF at its end gets one where DATA needs it."""
    with Peer(ext=ALL) as a, Peer(ext=without("CHUNKING")) as b:
        conf = base()
        conf["send_connectors"] = [
            {"name": n, "address_spaces": [f"{n}.test"],
             "smart_hosts": [f"127.0.0.1:{p.port}"], "tls": {"mode": "none"}}
            for n, p in (("bdat", a), ("data", b))]
        with Umbra(conf) as u:
            for text in TEXT, TEXT + b"\r\n", b"", b".", b"A: b\r\n\r\n.":
                n = len(a.messages)
                with u.smtp() as c:
                    c.mail("a@b.test", ["x@bdat.test", "x@data.test"], text,
                           bdat=1000)
                one, two = a.wait(n + 1), b.wait(n + 1)
                assert one.how == "BDAT" and one.body == text
                assert two.how == "DATA"
                end = b"" if text.endswith(b"\r\n") or not text else b"\r\n"
                assert two.body == text + end
            until(lambda: u.seen("message.done"))
