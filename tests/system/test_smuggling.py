"""T1: where a message ends, and what is passed on.

32 forms of "almost the end of data", {CRLF, LF, CR, CR CR LF} x {., ..} x
{CRLF, LF, CR, NUL LF}, each followed by commands that must not be taken for
commands, in DATA and BDAT, at the beginning, in the middle and across the
edges of every buffer size, octet by octet, in clear and under TLS.

The rules: only CRLF.CRLF ends a message. A message with bare CR, bare LF or
NUL is refused with 5xx. All others arrive octet by octet, also at a next hop
without CHUNKING; and no next hop ever sees a bare CR, bare LF or NUL.
"""
import re

import pytest

from peer import ALL, Peer, without
from umbra import Umbra, base

BEFORE = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n"}
AFTER = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "NULLF": b"\0\n"}
DOTS = {"dot": b".", "dots": b".."}
FORMS = {f"{b}-{d}-{a}": before + dots + after
         for b, before in BEFORE.items() for d, dots in DOTS.items()
         for a, after in AFTER.items()}
EDGES = (4096, 8192, 16384, 65536)
#: Where a form begins: at an offset of the message, and how it is written.
PLACES = {"first": 0, "middle": 150, "octets": 151}
PLACES.update({f"edge{e}-{k}": e - k for e in EDGES for k in (1, 2, 3, 5)})


@pytest.fixture(scope="module")
def net(pair):
    cert, key = pair
    with Peer(ext=ALL) as bdat, Peer(ext=without("CHUNKING")) as data:
        conf = base()
        for r in conf["receive_connectors"]:
            r["limits"].update(errors=1000, commands=100000)
            r["tls"] = {"mode": "offer", "cert": cert, "key": key}
        conf["send_connectors"] = [
            {"name": "bdat", "address_spaces": ["bdat.test"],
             "smart_hosts": [f"127.0.0.1:{bdat.port}"],
             "tls": {"mode": "none"}},
            {"name": "data", "address_spaces": ["*"],
             "smart_hosts": [f"127.0.0.1:{data.port}"],
             "tls": {"mode": "none"}}]
        with Umbra(conf) as u:
            u.to = {"bdat.test": bdat, "data.test": data}
            yield u


def bare(data):
    """Has it a NUL, a CR without LF or an LF without CR?"""
    return bool(re.search(rb"\0|\r(?!\n)|(?<!\r)\n", data))


def lines(n):
    """n octets of CRLF lines and of a line that is still open."""
    return b"abcdefgh0123456789ABCDEFGH-=\r\n" * (n // 30) + b"y" * (n % 30)


def smuggled(case):
    """What an attacker puts behind: a message of its own, if these were
    commands. A NOOP argument makes the replies tell them apart."""
    return (b"MAIL FROM:<evil@b.test>\r\n"
            b"RCPT TO:<smuggled-%s@data.test>\r\n"
            b"DATA\r\nSubject: smuggled\r\n\r\nevil\r\n" % case.encode())


def split(wire):
    """By the one rule there is: (message, rest) of what was sent in DATA."""
    i = (b"\r\n" + wire).find(b"\r\n.\r\n")
    assert i >= 0
    return re.sub(rb"(^|\r\n)\.", rb"\1", wire[:i]), wire[i + 3:]


class Case:
    def __init__(self, how, place, form):
        self.name = f"{how}-{place}-{form}".lower()
        self.how, self.place, self.form = how, place, FORMS[form]
        at = PLACES[place]
        head = b"Subject: s\r\n\r\n"
        if place == "first":
            self.before = b""
        else:
            self.before = head + lines(at - len(head))
        self.text = self.before + self.form + smuggled(self.name)

    def rcpts(self):
        return [f"{self.name}@{d}" for d in ("bdat.test", "data.test")]

    def write(self, c, wire):
        """As the place wants it: the form's neighbourhood in single octets,
        or everything at once, or cut at the edges."""
        if self.place == "octets":
            near = max(0, len(self.before) - 6)
            far = len(self.before) + len(self.form) + 8
            c.send(wire[:near])
            c.dribble(wire[near:far])
            c.send(wire[far:])
        else:
            c.send(wire)

    def run(self, c):
        """Sends it; returns what must arrive, as {recipient: message}, and
        the recipients that must get nothing."""
        c.envelope("a@b.test", self.rcpts())
        if self.how == "BDAT":
            return self.bdat(c)
        c.ok("DATA", 354)
        wire = self.text + b"\r\n.\r\n"
        self.write(c, wire)
        message, rest = split(wire)
        replies = [c.reply()]
        want, never = {}, []
        evil = f"smuggled-{self.name}@data.test"
        if rest:
            # The form was a true end of data: what follows are commands.
            replies += c.replies(4)
            inner = rest.partition(b"DATA\r\n")[2]
            want[evil] = split(inner)[0]
            assert [r.code for r in replies[1:]] == [250, 250, 354, 250]
        else:
            never.append(evil)
        self.judge(message, replies[0], want, never)
        return want, never

    def bdat(self, c):
        """There is no end of data in BDAT, and no dot is special."""
        cut = len(self.before) + 1   # a chunk ends inside the form
        a, b = self.text[:cut], self.text[cut:]
        c.send(f"BDAT {len(a)}\r\n", a)
        self.write(c, f"BDAT {len(b)} LAST\r\n".encode() + b)
        assert c.reply() == 250
        r = c.reply()
        want, never = {}, [f"smuggled-{self.name}@data.test"]
        self.judge(self.text, r, want, never)
        return want, never

    def judge(self, message, reply, want, never):
        if bare(message):
            assert reply.code // 100 == 5, (self.name, reply)
            never += self.rcpts()
        else:
            assert reply == 250, (self.name, reply)
            want.update({r: message for r in self.rcpts()})


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["DATA", "BDAT"])
@pytest.mark.parametrize("place", PLACES)
def test_end_of_data(net, how, place, tls):
    want, never = {}, []
    for p in net.to.values():
        p.messages.clear()
    with net.smtp() as c:
        if tls:
            c.starttls()
            c.ehlo()
        for form in FORMS:
            w, n = Case(how, place, form).run(c)
            want.update(w)
            never += n
        # Nothing was answered that was not waited for.
        assert c.cmd("NOOP") == 250
        assert c.cmd("QUIT") == 221
        assert c.eof()
    for to, text in want.items():
        got = net.to[to.partition("@")[2]].to(to)
        assert got.body == text, to
        assert got.to == [to], got.to
    for p in net.to.values():
        assert not [m.to for m in p.messages if set(m.to) & set(never)]
        assert not [n for n in p.notes if n[0] in ("broken", "protocol")]
        for conn in p.conns:
            assert not bare(conn.wire), "bare CR, LF or NUL went out"
    assert len(want) >= 2


def test_no_exemption_by_network(net):
    """The connector that may relay is as strict as the other."""
    for door in "relay", "inbound":
        with net.smtp(door) as c:
            c.envelope("a@b.test", "x@example.org")
            c.ok("DATA", 354)
            c.send(b"Subject: x\r\n\r\nx\n.\nMAIL FROM:<>\r\n.\r\n")
            r = c.reply()
            assert r == "550 5.5.2", r
            assert c.cmd("NOOP") == 250


@pytest.mark.parametrize("body, want", [
    (b"a\rb\r\n", "550 5.5.2"), (b"a\nb\r\n", "550 5.5.2"),
    (b"a\0b\r\n", "550 5.6.0"), (b"a\r\r\n", "550 5.5.2"),
    (b"\r\r\n", "550 5.5.2"), (b"\n\r\n", "550 5.5.2"),
    (b"a\r", "550 5.5.2"), (b"A: b\n\nbody\r\n", "550 5.5.2"),
])
def test_reply_says_what_is_wrong(net, body, want):
    for size in 1, 1000:
        with net.smtp() as c:
            c.envelope("a@b.test", "x@example.org")
            r = c.bdat(body, size)
            assert r == want
            assert {"550 5.5.2": "bare", "550 5.6.0": "NUL"}[want] in r.text


def test_binarymime_takes_everything(net):
    """RFC 3030: with BODY=BINARYMIME bare octets are content; a next hop that
    offers BINARYMIME gets them in BDAT, unchanged."""
    text = (b"MIME-Version: 1.0\r\n"
            b"Content-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: binary\r\n\r\n" +
            bytes(range(256)) + b"\n.\r\n.\r\r\n\0")
    peer = net.to["bdat.test"]
    with net.smtp() as c:
        c.mail("a@b.test", "binary@bdat.test", text,
               mail="BODY=BINARYMIME", bdat=100)
        # DATA cannot carry it.
        c.envelope("a@b.test", "binary@bdat.test", "BODY=BINARYMIME")
        assert c.cmd("DATA") == "503 5.5.1"
    got = peer.to("binary@bdat.test")
    assert got.body == text and got.how == "BDAT"
    assert " BODY=BINARYMIME" in got.mail
    peer.conns.clear()  # their wire is binary, rightly
