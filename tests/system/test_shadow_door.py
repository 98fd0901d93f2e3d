"""Who may speak on the shadow listener, and what an admitted peer can break.

T15: nobody but a configured peer gets as far as a verb. And a peer that is
admitted, with the right certificate, may say what it likes: the node answers,
stays up, keeps what it holds and delivers nothing that it should not."""
import contextlib
import hashlib
import re
import socket
import ssl
import subprocess
import time

import pytest

import certs
from pair import NAMES, Pair, certificates
from peer import Peer
from smtp import Closed
from wait import LONG, until
from xshadow import (FakePeer, Link, crc32c, field, identity, payload, record,
                     seal, tls)

A, B, C = NAMES[:3]
BODY = b"Subject: s\r\n\r\nkept for a peer\r\n"
SID = "00112233445566778899aabbccddeeff"
MID = f"{SID}:0011223344556677:1"
VERBS = [
    f"XSHADOW HELLO V=1 SID={SID} INC=0011223344556677 NEXT=1 LINK=1 "
    "TAKEOVER=1000",
    f"XSHADOW STORE MID={MID} GEN=1 ENV=10 SIZE=10\r\n{'x' * 52}",
    f"XSHADOW DONE {MID}", f"XSHADOW STATUS {MID}",
    f"XSHADOW CLAIM MID={MID} GEN=2", "XSHADOW PING NEXT=1", "NOOP",
    "EHLO x", "MAIL FROM:<a@b.test>", "x" * 5000, "\0\xff\r",
]


@contextlib.contextmanager
def alone(**shadow):
    """One node whose only peer is what the test makes it: node, sink, Pair."""
    with Peer() as sink, Pair(
            sink=sink, start=False, shadow={
                "heartbeat": "200ms", "takeover_after": "1h", **shadow}) as p:
        p.node(0).start()
        yield p.node(0), sink, p


@pytest.fixture(scope="module")
def node():
    with alone() as (a, _, _):
        yield a


# --- who ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Certificates: of another authority, of this one for a stranger, and one
    that has expired."""
    d = str(tmp_path_factory.mktemp("papers"))
    ca = [f"{certificates()}/shadow-ca.{e}" for e in ("pem", "key")]
    other = certs.self_signed(d, "Other CA", "other-ca")
    return {
        "wrong-ca": certs.signed(d, other, B, "wrong-ca"),
        "self-signed": certs.self_signed(d, B, "self"),
        "wrong-name": certs.signed(d, ca, "stranger.umbra.test", "stranger"),
        "itself": (f"{certificates()}/{A}.pem", f"{certificates()}/{A}.key"),
        "expired": expired(d, ca, B),
    }


def expired(d, ca, name):
    key, req, conf = f"{d}/old.key", f"{d}/old.csr", f"{d}/old.cnf"
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"""[ca]\ndefault_ca=c\n[c]\ndatabase={d}/db\n
new_certs_dir={d}\nserial={d}/serial\ndefault_md=sha256\npolicy=p\n
copy_extensions=copy\n[p]\ncommonName=supplied\n""")
    for n, text in (("db", ""), ("serial", "1234\n")):
        with open(f"{d}/{n}", "w", encoding="ascii") as f:
            f.write(text)
    for args in (
            ["req", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
             req, "-subj", f"/CN={name}", "-addext",
             f"subjectAltName=DNS:{name}"],
            ["ca", "-batch", "-config", conf, "-cert", ca[0], "-keyfile",
             ca[1], "-in", req, "-out", f"{d}/old.pem", "-startdate",
             "20200101000000Z", "-enddate", "20210101000000Z"]):
        subprocess.run(["openssl", *args], check=True, capture_output=True,
                       timeout=60)
    return f"{d}/old.pem", key


def tells(port, ctx, what):
    """All that the listener answers to these octets until it hangs up, or
    the alert that it sends."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=LONG) as s:
        try:
            if ctx:
                s = ctx.wrap_socket(s)
            s.sendall(what)
            while True:
                more = s.recv(65536)
                if not more:
                    return got
                got += more
        except (ssl.SSLError, ConnectionError) as e:
            return got or str(e)
        finally:
            s.close()


def old_tls(ctx):
    ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    return ctx


WHO = ["nobody", "wrong-ca", "self-signed", "wrong-name", "itself", "expired",
       "tls12", "plain"]


def call(port, papers, who, line):
    ctx = {"plain": lambda: None, "nobody": tls,
           "tls12": lambda: old_tls(tls(name=B))}.get(
               who, lambda: tls(cert=papers[who]))()
    return tells(port, ctx, line.encode("latin-1") + b"\r\n")


@pytest.mark.parametrize("verb", range(len(VERBS)))
@pytest.mark.parametrize("who", WHO)
def test_refused_before_any_verb(node, papers, who, verb):
    got = call(node.shadow_port, papers, who, VERBS[verb])
    if who in ("wrong-name", "itself"):
        assert got == b"550 5.7.1 you are not a configured peer\r\n" or \
            isinstance(got, str), got
    elif who == "plain":
        assert b"220" not in bytes(got if isinstance(got, bytes) else b"")
    else:
        assert isinstance(got, str) or got == b"", got
    assert not node.seen("shadow.identity")


@pytest.mark.parametrize("who", WHO)
def test_callers_are_in_the_log(papers, who):
    """The first one is; those that call again and again are not."""
    with alone() as (a, _, _):
        since = time.monotonic()
        for _ in range(20):
            call(a.shadow_port, papers, who, "NOOP")
        assert a.wait("shadow.refused_caller")["client"] == "127.0.0.1"
        with Link(a.shadow_port, B) as k:
            k.hello()
            a.wait("shadow.identity")
        lines = len(a.seen("shadow.refused_caller"))
        assert lines <= 1 + (time.monotonic() - since) / 10
        (counts,) = a.ctl("shadow", "status")
        assert counts["refused_callers"] == 20


def test_nothing_came_of_it(node):
    """All those callers have left nothing behind."""
    assert node.running()
    with Link(node.shadow_port, B, IDENT) as k:
        assert "HELD=0" in k.hello().text
        assert k.status(MID)[-1] == "NONE"


@pytest.mark.parametrize("door", ["relay", "inbound"])
def test_not_on_other_listeners(node, door):
    with node.smtp(door, hello=False) as c:
        r = c.ehlo()
        assert "XSHADOW" not in r.text.upper()
        for verb in VERBS[:1] + VERBS[2:6]:
            assert c.cmd(verb).code == 500, verb
        c.ok("NOOP")


def test_waiting_room_is_limited(node):
    """Callers that do not even begin a handshake cannot keep peers out."""
    idle = [socket.create_connection(("127.0.0.1", node.shadow_port))
            for _ in range(200)]
    try:
        with pytest.raises((Closed, OSError)):
            Link(node.shadow_port, B)
    finally:
        for s in idle:
            s.close()

    def again():
        with contextlib.suppress(Closed, OSError), \
                Link(node.shadow_port, B, IDENT) as k:
            return k.hello()
    until(again)


# --- an admitted peer --------------------------------------------------------


#: The database that the peer of these tests has: a node remembers only some.
IDENT = identity()


@pytest.fixture
def link(node):
    with Link(node.shadow_port, B, IDENT) as k:
        yield k


def still_good(k, node):
    """A new link works, and the node is what it was."""
    with Link(node.shadow_port, B, IDENT) as n:
        n.hello()
        assert n.ping()["FREE"] in ("ok", "low", "full")


@pytest.mark.parametrize("verb", VERBS[1:6])
def test_hello_comes_first(node, link, verb):
    """503 for everything else; what would be a payload is no command."""
    assert link.cmd(verb.partition("\r")[0]) == "503 5.5.1"
    link.hello()
    assert link.alive()
    still_good(link, node)


@pytest.mark.parametrize("line, code", [
    ("", 500), (" ", 500), ("GARBAGE", 500), ("XSHADOW", 500),
    ("XSHADOW HELP", 500), ("xshadow\tping next=1", 500),
    ("XSHADOW PING", 501), ("XSHADOW PING NEXT=0", 501),
    ("XSHADOW PING NEXT=1 NEXT=2", 501), ("XSHADOW PING  NEXT=1", 501),
    ("XSHADOW PING NEXT=11112222333344445", 501),
    ("XSHADOW PING NEXT=1 SEEN=" + "x" * 300 + ":1", 501),
    ("XSHADOW STATUS", 451), ("XSHADOW STATUS x", 501),
    ("XSHADOW DONE x", 501), ("XSHADOW DONE " + MID + "/0", 250),
    ("XSHADOW CLAIM", 501), (f"XSHADOW CLAIM MID={MID} GEN=0", 501),
    (f"XSHADOW CLAIM MID={MID} GEN=4294967296", 501),
    (f"XSHADOW CLAIM MID={MID} GEN=2 DONE=3-1", 501),
    ("XSHADOW HELLO", 501), ("XSHADOW HELLO V=0", 501),
    ("\x80\xff\0", 500), ("EHLO x", 500),
])
def test_bad_lines(node, link, line, code):
    link.hello()
    link.send(line.encode("latin-1"), b"\r\n")
    r = link.reply()
    # What is not more than odd may be answered either way.
    assert r.code == code or (code == 250 and r.code == 501), r
    assert link.alive()


@pytest.mark.parametrize("octets", [
    b"NOOP\n", b"NOOP" + b" " * 4091 + b"\r\n", b"x" * 100000,
    b"XSHADOW PING NEXT=1" + b"\r" * 5000, b"\n", b"\r\n" * 20],
    ids=range(6))
def test_bad_ends_of_lines(node, link, octets):
    link.hello()
    with contextlib.suppress(OSError):
        link.send(octets)
    with contextlib.suppress(Closed):
        while True:
            assert link.reply().code == 500
    still_good(link, node)


def test_errors_are_counted(node, link):
    link.hello()
    with pytest.raises(Closed):
        for _ in range(50):
            link.send("XSHADOW PING NEXT=0\r\n")
            link.reply()
    still_good(link, node)


def test_hello_twice(node, link):
    link.hello()
    r = link.cmd(link.hello_line(link=Link.number))
    assert r == "550 5.7.1" and "LINK" in r.text
    assert link.eof()
    with Link(node.shadow_port, B, IDENT) as k:
        k.hello()
        k.hello()   # a higher LINK: nothing is wrong with it
        assert k.alive()


def test_link_goes_backwards(node, link):
    """An old link cannot come after a newer one (R4)."""
    Link.number += 10
    top = Link.number
    link.hello(link=top)
    for n in (top, top - 1, 1):
        with Link(node.shadow_port, B, IDENT) as k:
            assert k.cmd(k.hello_line(link=n)) == "550 5.7.1"
            assert k.eof()
    assert link.alive()
    with Link(node.shadow_port, B, IDENT) as k:
        k.hello()
        # The newest one ends those before it.
        with pytest.raises((Closed, OSError)):
            link.cmd("NOOP")
        assert k.alive()


def test_store_and_the_same_again(node, link):
    link.hello()
    m = link.mid(1)
    rec = record(m, BODY)
    first = link.store(m, rec, BODY)
    assert first == "250 2.0.0" and f"held MID={m}" in first.text
    assert link.store(m, rec, BODY).text == first.text
    assert link.status(m)[-1].startswith("HELD/1/")
    r = link.cmd(f"XSHADOW DONE {m}")
    assert r.text == "2.0.0 noted 1"
    # Busy until its end is durable.
    r = until(lambda: [x for x in [link.store(m, rec, BODY)]
                       if x != "451 4.3.2"])[0]
    assert r.text == f"2.0.0 gone MID={m}"
    assert link.status(m)[-1] == "GONE"


def test_same_identity_other_octets(node, link):
    link.hello()
    at = node.mark()
    m = link.mid(2)
    rec = record(m, BODY)
    assert link.store(m, rec, BODY).code == 250
    other = BODY.replace(b"kept", b"kepT")
    assert link.store(m, record(m, other), other) == "554 5.6.0"
    node.wait("shadow.digest", since=at)
    # Only the envelope is another one: that is another message, too.
    assert link.store(m, record(m, BODY, sender="x@y.test"), BODY) == \
        "554 5.6.0"
    assert link.store(m, rec, BODY).code == 250
    link.cmd(f"XSHADOW DONE {m}")


@pytest.mark.parametrize("change", [
    "digest", "crc", "mid", "size", "header", "no-rcpt", "garbage", "empty",
    "critical", "version", "owner", "twice", "status"])
def test_bad_payloads(node, link, change):
    """554, nothing is held, and the link is in step."""
    link.hello()
    at = node.mark()
    m = link.mid(3)
    rec, digest = record(m, BODY), None
    if change == "digest":
        digest = bytes(32)
    elif change == "crc":
        rec = record(m, BODY, f15=crc32c(BODY) ^ 1)
    elif change == "mid":
        rec = record(link.mid(4), BODY)
    elif change == "size":
        rec = record(m, BODY, f13=len(BODY) + 1)
    elif change == "header":
        rec = record(m, BODY, f14=len(BODY) + 1)
    elif change == "no-rcpt":
        rec = record(m, BODY, rcpts=())
    elif change == "garbage":
        rec = bytes(range(256)) * 4
    elif change == "empty":
        rec = b"E"
    elif change == "critical":
        rec = record(m, BODY, f200="?")
    elif change == "version":
        rec = seal(rec[8:], version=9)
    elif change == "owner":
        rec = record(m, BODY, f130="short")
    elif change == "twice":
        rec = seal(rec[8:] + field(4, "again@sender.test"))
    elif change == "status":
        rec = seal(rec[8:], magic=b"S")
    r = link.store(m, rec, BODY, digest=digest)
    assert r == "554 5.6.0", r
    assert link.status(m)[-1] == "NONE"
    assert link.alive()
    assert not node.seen("shadow.held", since=at)


@pytest.mark.parametrize("line", [
    "ENV=0 SIZE=10", "ENV=99999999999 SIZE=10", "ENV=4611686018427387905 "
    "SIZE=1", "ENV=10 SIZE=99999999999999999999", "ENV=-1 SIZE=1", "SIZE=1",
    "ENV=10", "ENV=10 SIZE=10 DONE=0", "ENV=10 SIZE=10 DONE=3-2",
    "ENV=67108865 SIZE=0"])
def test_bad_sizes(node, link, line):
    """How much follows is not known or too much: an answer, and the end."""
    link.hello()
    link.send(f"XSHADOW STORE MID={link.mid(5)} GEN=1 {line}\r\n")
    assert link.reply().code in (501, 552)
    assert link.eof()
    still_good(link, node)


def test_a_body_that_never_fits(node, link):
    """A size beyond every disk is refused; what comes is read over."""
    link.hello()
    m = link.mid(6)
    link.send(f"XSHADOW STORE MID={m} GEN=1 ENV=10 SIZE={1 << 61}\r\n")
    with contextlib.suppress(OSError):
        for _ in range(64):
            link.send(b"x" * 65536)
    link.close()
    still_good(link, node)


@pytest.mark.parametrize("cut", [1, 40, 300, -33, -32, -1])
def test_half_a_payload(node, link, cut):
    """Closed in the envelope, the body, the digest: nothing is held."""
    link.hello()
    at = node.mark()
    m = link.mid(0x700 + cut)
    body = BODY * 20
    rec = record(m, body)
    link.send(f"XSHADOW STORE MID={m} GEN=1 ENV={len(rec)} "
              f"SIZE={len(body)}\r\n", payload(rec, body)[:cut])
    link.close()
    node.wait("shadow.served", since=at, peer=B)
    with Link(node.shadow_port, B, IDENT) as k:
        k.hello()
        assert k.status(m)[-1] == "NONE"
        assert k.store(m, rec, body).code == 250
        k.cmd(f"XSHADOW DONE {m}")


def test_many_stores_in_one_write(node, link):
    """Answers come in the order of the questions, whatever waits for the
    disk."""
    link.hello()
    parts = []
    for i in range(50):
        m = link.mid(0x100 + i)
        rec = record(m, BODY)
        parts.append(f"XSHADOW STORE MID={m} GEN=1 ENV={len(rec)} "
                     f"SIZE={len(BODY)}\r\n".encode() + payload(rec, BODY) +
                     f"XSHADOW STATUS {m}\r\nNOOP\r\n".encode())
    link.send(*parts)
    for i in range(50):
        assert f"MID={link.mid(0x100 + i)}" in link.reply().text
        assert link.reply().code == 250
        assert link.reply().text == "2.0.0 ok"
    link.send(*[f"XSHADOW DONE {link.mid(0x100 + i)}\r\n" for i in range(50)])
    for _ in range(50):
        assert link.reply().text == "2.0.0 noted 1"


def test_unknown_identities(node, link):
    link.hello()
    ours = until(lambda: link.ping())["SID"]
    inc = link.ping()["INC"]
    for m, want in ((link.mid(99), "NONE"),
                    (f"{SID}:{inc}:1", "NONE"),
                    (f"{ours}:{inc}:ffffffff", "UNKNOWN"),
                    (f"{ours}:0123456789abcdef:1", "UNKNOWN")):
        assert link.status(m)[-1] == want, m
        assert link.cmd(f"XSHADOW DONE {m}").text == "2.0.0 noted 1"
        assert link.cmd(f"XSHADOW DONE {m}/1-5").text == "2.0.0 noted 1"
        r = link.cmd(f"XSHADOW CLAIM MID={m} GEN=7")
        assert r == "250 2.0.0" and r.text.endswith("none"), r
        assert link.status(m)[-1] == want


def test_huge_lines(node, link):
    """As many items, and recipients in a set, as a line can carry."""
    link.hello()
    mids = [link.mid(0x300 + i) for i in range(50)]
    got = link.status(*mids)
    assert got.count("NONE") == 50
    m = link.mid(0x200)
    rcpts = [f"r{i}@one.test" for i in range(2000)]
    rec = record(m, BODY, rcpts=rcpts)
    odd = ",".join(str(i) for i in range(1, 700, 2))[:1900].rpartition(",")[0]
    assert link.store(m, rec, BODY, done=odd).code == 250
    for s in ("1-2000", "2001", "1-100000", "100001", "4294967297",
              "1,1", "5,4", ",".join(["2"] * 500)):
        r = link.cmd(f"XSHADOW DONE {m}/{s}")
        assert r.code in (250, 501), (s, r)
    assert link.alive()
    # All recipients were done with the first of these.
    assert link.status(m)[-1] == "GONE"


def test_copied_database():
    """A second node with the same database is refused while the first one is
    connected."""
    with alone() as (a, _, _), Link(a.shadow_port, B) as first:
        first.hello()
        with Link(a.shadow_port, B, (first.sid, identity()[1])) as k:
            r = k.cmd(k.hello_line())
            assert r == "550 5.7.1" and "copied" in r.text
            assert k.eof()
        a.wait("shadow.clone", peer=B)
        assert first.alive()
        # One that knows of the first is its restart.
        with Link(a.shadow_port, B, (first.sid, identity()[1])) as k:
            k.hello(prev=[first.inc])
            assert k.alive()


def test_our_own_database(node, link):
    """Somebody says that its database is this node's."""
    link.hello()
    sid = link.ping()["SID"]
    at = node.mark()
    with Link(node.shadow_port, B, ident=(sid, identity()[1])) as k:
        assert k.cmd(k.hello_line()) == "550 5.7.1"
    node.wait("shadow.clone", since=at)


def test_what_a_peer_stores_is_delivered_when_it_is_lost():
    """The records made here are good ones: the node takes them over, and
    only what is not done."""
    with alone(start_barrier="0s") as (a, sink, _):
        ident = identity()
        with Link(a.shadow_port, B, ident=ident) as k:
            k.hello()
            for i, done in ((1, None), (2, "1"), (3, "1-2")):
                m = k.mid(i)
                rec = record(m, BODY, sender=f"m{i}@sender.test",
                             rcpts=["x@one.test", "y@one.test"])
                assert k.store(m, rec, BODY, done=done).code == 250
            assert k.status(k.mid(3))[-1] == "GONE"
        with Link(a.shadow_port, B) as k:   # another database
            k.hello()
            a.wait("shadow.takeover", count=2, reason="new database")
            sink.wait(2)
        got = {m.sender[:2]: sorted(m.to) for m in sink.messages}
        assert got == {"m1": ["x@one.test", "y@one.test"],
                       "m2": ["y@one.test"]}
        assert all(m.data == BODY for m in sink.messages)
        until(lambda: not a.ctl("message", "list"))


def test_a_peer_that_loses_its_disk_again_and_again():
    """More often than a node remembers at a time."""
    with alone(start_barrier="0s") as (a, sink, _):
        for i in range(70):
            with Link(a.shadow_port, B) as k:
                k.hello()
                if i % 10 == 0:
                    m = k.mid(1)
                    rec = record(m, BODY, sender=f"m{i}@sender.test")
                    assert k.store(m, rec, BODY).code == 250
        sink.wait(7)
        until(lambda: not a.ctl("message", "list"))
        assert len(sink.messages) == 7


# --- a lying server ----------------------------------------------------------


@contextlib.contextmanager
def against(**shadow):
    """A node whose peer is a FakePeer: node, sink, fake."""
    with FakePeer(B) as f, Peer() as sink, Pair(
            sink=sink, start=False, receive={"shadow": "require"}, shadow={
                "heartbeat": "200ms", "solo_after": "0s", **shadow}) as p:
        p.via[0, 1] = f.port
        p.configure()
        p.node(0).start()
        f.wait("PING")
        yield p.node(0), sink, f


def end_of_data(node, mark):
    with node.smtp() as c:
        c.envelope(f"{mark}@sender.test", "x@example.org")
        return c.data(BODY)


@pytest.mark.parametrize("says", [
    "250 2.0.0 held", "250 2.0.0 ok", "200 held", "354 go on", "HELLO?",
    "250 2.0.0 held MID={mid} DIG=" + "0" * 64,
    "250 2.0.0 held MID={other} DIG={dig}",
    "250 2.0.0 gone MID={mid}", "550 5.7.1 stale GEN=9",
    "554 5.6.0 no", "421 4.3.2 closing", b"\0\xff\r\n",
    b"250 2.0.0 " + b"x" * 100000 + b"\r\n"])
def test_a_peer_that_does_not_say_held(says):
    """Only "held", of this message with this digest, counts."""
    with against(store_timeout="1s") as (a, sink, f):
        def lie(peer, _line):
            x = peer.stored[-1]
            # From now on there is no room: nobody tries again.
            peer.free = "full"
            return says if isinstance(says, bytes) else says.format(
                mid=x.mid, other=x.mid + "1", dig=x.digest.hex())
        f.on["STORE"] = lie
        r = end_of_data(a, "lied")
        assert r == "451 4.3.0", r
        assert not a.ctl("message", "list") and not sink.messages
        f.on.pop("STORE")
        f.free = "ok"
        until(lambda: end_of_data(a, "true").code == 250)
        sink.wait()
        assert {m.sender for m in sink.messages} == {"true@sender.test"}
        assert all(x.good for x in f.stored)


@pytest.mark.parametrize("verb, says", [
    ("HELLO", "250 2.0.0 V=1"), ("HELLO", "250 2.0.0"), ("HELLO", "550 no"),
    ("HELLO", "250 2.0.0 V=9 SID={sid} INC={inc} HELD=0 WINDOW=64 "
     "BYTES=1000 FREE=ok"),
    ("PING", "250 2.0.0 what"), ("PING", "500 5.5.1 what"),
    ("DONE", "250 2.0.0 noted 77"), ("DONE", "501 5.5.4 bad")])
def test_odd_answers(verb, says):
    """The node is up, and all is well when the peer is."""
    with against() as (a, sink, f):
        f.on[verb] = says.format(sid=f.sid, inc=f.inc)
        n = len([x for x in f.said if verb in x])
        if verb == "HELLO":
            f.cut()
        elif verb == "DONE":
            assert end_of_data(a, "done").code == 250
        f.wait(verb, n + 2 if verb != "DONE" else 1)
        del f.on[verb]
        until(lambda: end_of_data(a, "well").code == 250)
        sink.find(lambda m: m.sender == "well@sender.test")


def test_another_name_at_the_address():
    """Who answers there has a certificate of the CA, for another node."""
    with FakePeer(C) as f, Pair(start=False) as p:
        p.via[0, 1] = f.port
        p.configure()
        p.node(0).start()
        p.node(0).wait("shadow.link_failed", peer=B, reason=re.compile(
            "not that of this peer|name"))
        assert not f.said


# --- pinned keys -------------------------------------------------------------


def pin(name):
    with open(f"{certificates()}/{name}.pem", "rb") as f:
        pem = f.read()
    der = subprocess.run("openssl x509 -noout -pubkey | openssl pkey -pubin "
                         "-outform DER", shell=True, input=pem, check=True,
                         capture_output=True, timeout=60).stdout
    return "sha256:" + hashlib.sha256(der).hexdigest()


def test_pins_instead_of_an_authority(papers):
    with Peer() as sink, Pair(sink=sink, start=False, receive={
            "shadow": "require"}) as p:
        for i in (0, 1):
            conf = p.conf(i)
            del conf["shadow"]["ca"]
            conf["shadow"]["peers"][0]["pin"] = pin(NAMES[1 - i])
            p.node(i).configure(conf)
        p.start()
        p.wait_up()
        assert ", copy on " in end_of_data(p.node(0), "pinned").text
        sink.wait()
        # The right name and another key.
        for who in ("self-signed", "wrong-ca"):
            got = tells(p.node(0).shadow_port, tls(cert=papers[who]),
                        b"NOOP\r\n")
            assert isinstance(got, str) or b"220" not in got
        p.node(0).wait("shadow.refused_caller")


def test_a_wrong_pin():
    with Pair(start=False) as p:
        conf = p.conf(0)
        conf["shadow"]["peers"][0]["pin"] = pin(NAMES[2])
        p.node(0).configure(conf)
        p.start()
        p.node(0).wait("shadow.link_failed", peer=B)
        p.node(0).wait("shadow.refused_caller")
        assert not p.node(0).seen("shadow.link_up")
