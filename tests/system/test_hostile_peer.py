"""T7: next hops that lie.

Replies of 10,000 lines, of a megabyte, with NUL, CR, escapes, header fields,
codes that are none. Nothing of it may end the daemon, take memory without
bound, lose the message or get into a notice, a log line or the next hop's
transaction as anything but text.
"""
import re
import time

from dsn import Dsn
from peer import ALL, DROP, RESET, Peer, without
from umbra import Umbra, base
from wait import until

MESSAGE = b"From: a@good.test\r\nSubject: original\r\n\r\nbody\r\n"

ESC = b"\x1b[2J\x1b]0;owned\x07"
TEXTS = {  # as the text of a 550 line: how the sender's notice must survive
    "header": b"no\r\n550-To: victim@x.test\r\n550-Subject: injected\r\n"
              b"550-\r\n550 end",
    "boundary": b"no --=_boundary Content-Type: text/html",
    "mime": b"no\r\n550---=_x\r\n550-Content-Type: text/html\r\n550-\r\n"
            b"550 <script>",
    "percent": b"%s%n%d%1000000s ${run{id}} $(id) `id` ;id|id",
    "quotes": b'"; DROP TABLE x; -- \\" \\x41 \\',
    "escape": ESC, "tab": b"a\tb\tc", "8bit": b"\xff\xfe\x80 \xc3\xa4 \xc2\x85",
    "utf8": "nein, \u00e4\u00f6\u00fc \u202e\u200b \U0001f4a9".encode(),
    "long": b"x" * 1900, "empty": b"", "blanks": b" " * 200,
    "enhanced": b"5.1.1 5.2.2 4.4.4 2.0.0 no", "wrong class": b"2.1.5 fine",
    "huge code": b"5.999.999 no", "bad code": b"5.1 no", "dots": b"...",
    "many": b"no\r\n" + b"550-line\r\n" * 120 + b"550 end",
    "fields": b"5.1.1 no\r\n550-Action: delivered\r\n550-Status: 2.0.0\r\n"
              b"550 Final-Recipient: rfc822; x@y.test",
    "words": b" ".join(b"w%d" % i for i in range(250)),
    "angle": b"<a@b.test>, =?utf-8?q?x?= ;:@()",
}

#: Octets that are no reply at all: what they are answered to matters less
#: than that mail waits and nothing breaks.
BROKEN = {
    "10000 lines": b"550-no\r\n" * 10000 + b"550 no\r\n",
    "10000 lines ok": b"250-yes\r\n" * 10000 + b"250 yes\r\n",
    "1 MB line": b"550 " + b"x" * 1000000 + b"\r\n",
    "1 MB line, no end": b"550 " + b"x" * 1000000,
    "1 MB of nothing": b"x" * 1000000, "1 MB of lf": b"\n" * 1000000,
    "1 MB of crlf": b"\r\n" * 500000, "nul": b"550 a\0b\r\n",
    "nul code": b"\x00\x00\x00 \r\n", "cr": b"550 a\rb\r\n",
    "lf": b"550 a\n", "lf inside": b"550-a\n550 b\r\n",
    "no code": b"hello\r\n", "two digits": b"55 no\r\n",
    "four digits": b"5500 no\r\n", "code only cr": b"550\r", "empty": b"\r\n",
    "600": b"600 what\r\n", "000": b"000 what\r\n", "199": b"199 what\r\n",
    "minus": b"-50 what\r\n", "mixed": b"250-a\r\n550 b\r\n",
    "mixed 4": b"550-a\r\n450 b\r\n", "separator": b"550_no\r\n",
    "three": b"354 go\r\n", "tls": b"\x16\x03\x01\x02\x00\x01\x00" * 100,
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n<html>\r\n",
    "drop": DROP, "reset": RESET, "half": [b"25", DROP],
    "half line": [b"250 2.1", DROP], "half reply": [b"250-yes\r\n", DROP],
}
STEPS = ("GREET", "EHLO", "MAIL", "RCPT", "DATA", "END")


def rss(u):
    with open(f"/proc/{u.proc.pid}/status", encoding="ascii") as f:
        return next(int(x.split()[1]) for x in f
                    if x.startswith("VmRSS:")) * 1024


class Net:
    """One relay; a domain and a connector per scripted peer."""

    def __init__(self, peers, **queue):
        self.good = Peer(ext=without("SMTPUTF8"))
        self.peers = peers
        conf = base(self.good.port)
        conf["send_connectors"] += [
            {"name": f"to-{n}", "address_spaces": [f"{n}.test"],
             "smart_hosts": [f"127.0.0.1:{p.port}"], "tls": {"mode": "none"},
             "timeouts": {"greeting": "1s", "command": "1s",
                          "data_start": "1s", "data_done": "1s",
                          "connect": "1s"}}
            for n, p in peers.items()]
        conf["queue"].update(expire_after="5s", delay_notice_after="0s",
                             **queue)
        # Instrumented frees are kept back; memory is asserted here.
        self.u = Umbra(conf, env={"ASAN_OPTIONS": "quarantine_size_mb=1"})

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.u.__exit__(*exc)
        for p in (*self.peers.values(), self.good):
            p.close()


def test_texts_in_notices():
    """Whatever a 550 says, the notice is a well-formed one about the right
    recipient, and nothing of the text became structure."""
    peers = {f"t{i}": Peer(on={"RCPT": (b"550-" if b"\r\n" in t else b"550 ")
                               + t + b"\r\n"})
             for i, t in enumerate(TEXTS.values())}
    with Net(peers) as net:
        for n in peers:
            net.u.send(f"{n}@good.test", f"victim@{n}.test", MESSAGE)
        for n, text in zip(peers, TEXTS.values()):
            d = Dsn(net.good.to(f"{n}@good.test"))
            assert len(d.rcpts) == 1, text
            r = d.rcpt(f"victim@{n}.test")
            assert r["action"] == "failed", (text, r)
            assert r["status"].startswith("5."), (text, r)
            assert r["diagnostic-code"].startswith("smtp;"), (text, r)
            assert d.message["to"] == f"<{n}@good.test>" or \
                d.message["to"] == f"{n}@good.test"
            assert d.original.get_payload()[0]["subject"] == "original"
            assert "victim@x.test" not in (d.message["to"] or "")
            line = net.u.wait("delivery.failed", to=f"<victim@{n}.test>")
            assert line["status"] == "failed", line.text
            assert not re.search(r"[\x00-\x1f\x7f]", line.text), line.text
            assert line["dsn"] == r["status"]
        # One notice each, no more.
        assert len(net.good.messages) == len(peers)


#: Where the daemon may go on all the same: it is told so, if strangely.
FINE = {
    # 5xx to EHLO: HELO is tried.
    ("EHLO", "cr"), ("EHLO", "nul"),
    ("DATA", "three"),
}


def test_broken_replies():
    """At each step: the message is kept, tried again and in the end given
    back with a clean notice. Nothing was delivered twice or by a lie."""
    cases = [(step, what) for step in STEPS for what in BROKEN]
    peers = {f"b{i}": Peer(on={step: BROKEN[what]}, ext=without("CHUNKING"))
             for i, (step, what) in enumerate(cases)}
    wrong = []
    with Net(peers) as net:
        before = rss(net.u)
        for n in peers:
            net.u.send(f"{n}@good.test", f"victim@{n}.test", MESSAGE)
        for (n, p), case in zip(peers.items(), cases):
            me = f"{n}@good.test"
            until(lambda: p.messages or
                  any(me in m.to for m in list(net.good.messages)),
                  text=lambda: f"{case}: neither sent nor given back")
            if any(me in m.to for m in list(net.good.messages)):
                r = Dsn(net.good.to(me)).rcpt(f"victim@{n}.test")
                if r["action"] != "failed" or r["status"][0] != "5":
                    wrong.append((case, r))
            elif case not in FINE:
                wrong.append((case, "was delivered"))
        assert not wrong
        assert rss(net.u) - before < 128 << 20
        for line in list(net.u.lines):
            assert not re.search(r"[\x00-\x1f\x7f]", line.text), line.text


def test_injected_replies():
    """A reply that nobody asked for ends the connection; the message goes
    another time, once."""
    usual = {"GREET": b"220 hi\r\n", "EHLO": b"250-p\r\n250 8BITMIME\r\n",
             "RCPT": b"250 ok\r\n", "END": b"250 ok\r\n"}

    def once(octets):
        return lambda c, line: octets if c.number == 0 else None

    peers = {}
    for step, reply in usual.items():
        for more in (b"250 2.0.0 taken\r\n", b"550 no\r\n", b"354 go\r\n",
                     b"x", b"\r\n"):
            peers[f"i{len(peers)}"] = Peer(on={step: once(reply + more)},
                                           ext=("8BITMIME",))
    with Net(peers) as net:
        for n in peers:
            net.u.send("a@good.test", f"v@{n}.test", MESSAGE)
        for n, p in peers.items():
            assert p.wait().body == MESSAGE
            net.u.wait("delivery.sent", to=f"<v@{n}.test>")
            assert len(p.messages) == 1
        assert not net.good.messages


def test_421_at_every_step():
    """RFC 5321 3.8: 421 may come any time; the mail goes on elsewhere or
    later, once."""
    peers = {}
    for i, step in enumerate(STEPS):
        peers[f"s{i}"] = Peer(
            ext=without("CHUNKING"), on={step: lambda c, line: [
                "421 4.3.2 closing", DROP] if c.number == 0 else None})
    with Net(peers) as net:
        for n in peers:
            net.u.send(f"{n}@good.test", f"v@{n}.test", MESSAGE)
        for n, p in peers.items():
            assert p.wait().body == MESSAGE
            net.u.wait("delivery.sent", to=f"<v@{n}.test>")
            assert len(p.messages) == 1
        assert not net.good.messages


def test_endless_replies_do_not_hold_the_rest():
    """A peer that sends continuation lines for ever is cut off."""
    def forever(conn, line):
        for _ in range(3000):
            conn.send(b"250-more\r\n" * 100)
        return b""

    with Net({"x": Peer(on={"MAIL": forever})}) as net:
        before = rss(net.u)
        net.u.send("a@good.test", "v@x.test", MESSAGE)
        net.u.send("a@good.test", "b@good.test", MESSAGE)
        assert net.good.to("b@good.test")
        assert Dsn(net.good.to("a@good.test")).rcpt("v@x.test")
        assert rss(net.u) - before < 32 << 20


def test_slow_replies_are_cut_by_the_deadline():
    """An octet now and then does not move the deadline of a reply."""
    def dribble(conn, line):
        for _ in range(200):   # 20 s if nobody ends it
            conn.send(b"2")
            time.sleep(0.1)
        return b""

    with Net({"x": Peer(on={"MAIL": dribble})}) as net:
        net.u.send("a@good.test", "v@x.test", MESSAGE)
        line = net.u.wait("nexthop.delayed", timeout=10)
        assert "timed out" in line["said"] or "protocol" in line["said"], \
            line.text
        Dsn(net.good.to("a@good.test"))


def test_extensions_that_lie():
    """Strange EHLO keywords: numbers that are none, duplicates, garbage."""
    exts = [("SIZE 99999999999999999999999", "PIPELINING"),
            ("SIZE -1",), ("SIZE",), ("SIZE 0",), ("SIZE x",),
            ("LIMITS RCPTMAX=0 MAILMAX=0",), ("LIMITS RCPTMAX=1",),
            ("LIMITS RCPTMAX=99999999999999999999 MAILMAX=-1",),
            ("LIMITS",), ("BINARYMIME",), ("=?", "\u00e4", ""),
            ("CHUNKING", "CHUNKING", "CHUNKING"), ("starttls",),
            ("X" * 500,), ("8bitmime now",), tuple(ALL) * 7]
    peers = {f"e{i}": Peer(ext=e) for i, e in enumerate(exts)}
    with Net(peers) as net:
        for n in peers:
            net.u.send("a@good.test", [f"v@{n}.test", f"w@{n}.test"], MESSAGE)
        for n, p in peers.items():
            for who in "vw":
                assert p.to(f"{who}@{n}.test").body == MESSAGE
        assert not net.good.messages
        assert not [x for p in peers.values() for x in p.notes]


def test_size_that_is_offered_is_believed():
    with Net({"x": Peer(ext=("SIZE 100",))}) as net:
        net.u.send("a@good.test", "v@x.test", MESSAGE + b"y" * 200 + b"\r\n")
        d = Dsn(net.good.to("a@good.test"))
        assert d.rcpt("v@x.test")["status"] == "5.3.4"
        assert not net.peers["x"].messages


def test_null_sender_and_hostile_text_to_the_postmaster():
    with Net({"x": Peer(on={"RCPT": b"550 5.1.1 " + ESC + b"\r\n"})}) as net:
        net.u.send("", "v@x.test", MESSAGE)
        d = Dsn(net.good.to("postmaster@example.org"))
        assert d.rcpt("v@x.test")["status"] == "5.1.1"
        until(lambda: len(net.good.messages) == 1)
