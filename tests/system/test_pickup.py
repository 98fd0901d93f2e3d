"""The pickup and the replay directory: what is taken, what goes back to its
sender, what is set aside and why, and who may write there."""
import json
import os
import re
import shutil
import threading
import urllib.request

import pytest

from peer import Peer
from umbra import NODE, Umbra, base
from wait import until

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chown")


@pytest.fixture(scope="module")
def peer():
    with Peer(keep_wire=False) as p:
        yield p


class Dirs(Umbra):
    """With both directories."""

    def __init__(self, *ports, rate=20000, pickup=None, replay=None, **more):
        self.rate, self.more = rate, {"pickup": pickup or {},
                                      "replay": replay or {}}
        super().__init__(base(*ports, **more))

    def configure(self, conf):
        for name in ("pickup", "replay"):
            d = os.path.join(self.dir, name)
            os.makedirs(d, exist_ok=True)
            setattr(self, name, d)
            conf[name] = {"directory": d, "rate": self.rate,
                          "interval": "100ms",
                          **self.more[name]}
        super().configure(conf)

    def put(self, which, name, data):
        """As writers are to do it: another name first."""
        d = getattr(self, which)
        with open(os.path.join(d, name + ".part"), "wb") as f:
            f.write(data)
        os.rename(os.path.join(d, name + ".part"), os.path.join(d, name))

    def left(self, which):
        return sorted(os.listdir(getattr(self, which)))

    def gone(self, which):
        until(lambda: self.left(which) == [],
              text=lambda: f"{self.left(which)}\n{self.tail()}")


@pytest.fixture(scope="module")
def relay(peer):
    with Dirs(peer.port) as u:
        yield u


@pytest.fixture(autouse=True)
def clean(relay):
    yield
    for which in ("pickup", "replay"):
        for name in relay.left(which):
            p = os.path.join(getattr(relay, which), name)
            shutil.rmtree(p) if os.path.isdir(p) and not os.path.islink(p) \
                else os.unlink(p)


@pytest.fixture
def got(peer):
    at = len(peer.messages)

    def wait(n=1):
        until(lambda: len(peer.messages) >= at + n)
        return peer.messages[at] if n == 1 else peer.messages[at:at + n]
    wait.none = lambda: len(peer.messages) == at
    return wait


# --- pickup -----------------------------------------------------------------

def test_pickup(relay, got):
    at = relay.mark()
    relay.put("pickup", "one.eml",
              b"From: A <a@x.example>\nTo: B <b@y.example>, c@y.example\n"
              b"Bcc: hidden@y.example\nReceived: from elsewhere\n"
              b"Resent-To: no@y.example\nSubject: s\n\nText\n.\nmore")
    tx = got()
    assert tx.sender == "a@x.example"
    assert tx.to == ["b@y.example", "c@y.example", "hidden@y.example"]
    head, body = tx.body.split(b"\r\n\r\n", 1)
    assert body == b"Text\r\n.\r\nmore\r\n"
    lines = head.decode().split("\r\n")
    assert lines[:3] == ["From: A <a@x.example>",
                         "To: B <b@y.example>, c@y.example", "Subject: s"]
    assert re.match(r"Date: \w{3}, \d\d ", lines[3])
    assert re.fullmatch(rf"Message-ID: <[0-9a-f]{{32}}@{NODE}>", lines[4])
    assert len(lines) == 5
    trace = tx.data[:tx.data.index(b"From:")]
    assert f"Received: by {NODE} (pickup directory) id ".encode() in trace
    line = relay.wait("message.accepted", since=at)
    assert (line["connector"], line["client"], line["file"]) == (
        "pickup", "local", "one")
    relay.gone("pickup")


def test_many_and_large(relay, got):
    """More files than are in hand at a time, some of several pieces."""
    body = b"0123456789abcde\n" * 150000
    for i in range(30):
        relay.put("pickup", f"f{i}.eml",
                  b"From: a@x.example\nTo: b@y.example\nSubject: %d\n\n" % i
                  + (body if i % 10 == 0 else b"x\n"))
    txs = got(30)
    seen = {int(re.search(rb"Subject: (\d+)", t.body)[1]): t for t in txs}
    assert sorted(seen) == list(range(30))
    assert seen[10].body.split(b"\r\n\r\n", 1)[1] == \
        body.replace(b"\n", b"\r\n")
    relay.gone("pickup")


def test_other_names_stay(relay, got):
    """Hidden files, other suffixes, directories."""
    relay.put("pickup", "a.txt", b"x")
    relay.put("pickup", ".b.eml", b"x")
    relay.put("pickup", "c.tmp", b"x")
    relay.put("pickup", "d.eml", b"From: a@x.example\nTo: b@y.example\n\n")
    got()
    until(lambda: relay.left("pickup") == [".b.eml", "a.txt", "c.tmp"])


BAD = {
    "no-from": (b"To: b@y.example\n\nx\n", "no From field"),
    "no-end": (b"From: a@x.example\nTo: b@y.example\n",
               "no empty line behind the header"),
    "no-header": (b"hello\n\nworld\n", "a line of the header is no field"),
    "bad-from": (b"From: nobody\nTo: b@y.example\n\n", "has no domain"),
    "huge": (b"From: a@x.example\nTo: b@y.example\nX: " + b"y" * 70000 +
             b"\n\n", "larger than 65536 octets"),
    "empty": (b"", "no empty line"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(relay, got, name):
    """Nobody can be told: X.bad, and the log says why."""
    data, why = BAD[name]
    at = relay.mark()
    relay.put("pickup", name + ".eml", data)
    line = relay.wait("pickup.bad", since=at, file=name + ".bad")
    assert why in line["reason"]
    with open(os.path.join(relay.pickup, name + ".bad"), "rb") as f:
        assert f.read() == data
    assert got.none()


RETURNED = {
    "no-rcpt": (b"From: a@x.example\nSubject: zz\n\n",
                "no recipients in To, Cc or Bcc"),
    "bad-rcpt": (b"From: a@x.example\nTo: b..c@y.example\nSubject: zz\n\n",
                 "b..c@y.example"),
    "101": (b"From: a@x.example\nSubject: zz\nTo: " +
            b", ".join(b"u%d@y.example" % i for i in range(101)) + b"\n\n",
            "too many recipients"),
    "cr": (b"From: a@x.example\nTo: b@y.example\nSubject: zz\n\na\rb\n",
           "bare <CR>"),
    "nul": (b"From: a@x.example\nTo: b@y.example\nSubject: zz\n\na\0b\n",
            "NUL octet"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_returned(relay, got, name):
    """A notice to the sender with the message in it, and the file goes."""
    data, why = RETURNED[name]
    at = relay.mark()
    relay.put("pickup", name + ".eml", data)
    tx = got()
    assert (tx.sender, tx.to) == ("", ["a@x.example"])
    assert why.encode() in tx.data
    assert b"multipart/report" in tx.data and b"Subject: zz" in tx.data
    line = relay.wait("pickup.returned", since=at)
    assert line["from"] == "<a@x.example>"
    relay.gone("pickup")


def test_a_notice_names_the_file():
    """By which a start after a crash knows that the file was dealt with."""
    with Dirs() as u:
        u.put("pickup", "a.eml", b"From: a@x.example\nSubject: x\n\n")
        report = u.wait("pickup.returned")["report"]
        m = json.loads(u.cli("message", "show", report, "--json"))
        assert m["connector"] == "pickup"
        assert re.fullmatch(r"file:[0-9a-f]+\.[0-9a-f]+\.1e", m["helo"]), m


def test_metrics(peer, got):
    with Dirs(peer.port, http={"bind": "127.0.0.1:{http}"}) as u:
        u.put("pickup", "a.eml", b"nobody")
        u.wait("pickup.bad")
        u.put("replay", "b.eml", b"X-Sender: <>\nX-Receiver: <a@x.example>\n"
              b"Subject: x\n\n")
        got()
        with urllib.request.urlopen(
                f"http://127.0.0.1:{u.port('http')}/metrics",
                timeout=60) as r:
            text = r.read().decode()
        assert 'umbra_pickup_files_total{result="taken"} 1\n' in text
        assert 'umbra_pickup_files_total{result="bad"} 1\n' in text
        assert 'umbra_pickup_files_total{result="returned"} 0\n' in text


def test_too_large(peer, got):
    with Dirs(peer.port, pickup={"message_size": "2KiB"}) as u:
        u.put("pickup", "l.eml", b"From: a@x.example\nTo: b@y.example\n\n" +
              b"x" * 3000 + b"\n")
        assert b"message too large" in got().data
        u.gone("pickup")


# --- replay -----------------------------------------------------------------

def test_replay(relay, got):
    at = relay.mark()
    trace = "94356e33742e90324814d0e5b02527f4"
    message = b"Subject: r\r\nBcc: stays\r\n\r\n.x\r\n"
    relay.put("replay", "r.eml",
              b"X-Sender: <a@x.example> BODY=8BITMIME RET=HDRS ENVID=e1\r\n"
              b"X-Receiver: <b@y.example> NOTIFY=NEVER\r\n"
              b"X-Receiver: <c@y.example> ORCPT=rfc822;d@y.example\r\n"
              b"X-CreatedBy: Umbra\r\nX-Umbra-Trace: " + trace.encode() +
              b"\r\nX-EndOfInjectedXHeaders: %d\r\n" % len(message) + message)
    tx = got()
    assert tx.sender == "a@x.example"
    assert tx.to == ["b@y.example", "c@y.example"]
    assert tx.param(tx.mail, "RET") == "HDRS"
    assert tx.param(tx.mail, "ENVID") == "e1"
    assert tx.param(tx.rcpts[0], "NOTIFY") == "NEVER"
    assert tx.param(tx.rcpts[1], "ORCPT") == "rfc822;d@y.example"
    assert tx.body == message
    assert b"(replay directory)" in tx.data
    assert relay.wait("message.accepted", since=at)["trace"] == trace
    relay.gone("replay")


def test_replay_foreign(relay, got):
    """As other systems write it, LF and all."""
    relay.put("replay", "f.eml", b"x-sender: a@x.example\n"
              b"x-receiver: b@y.example\nSubject: f\n\nx\n")
    tx = got()
    assert (tx.sender, tx.to) == ("a@x.example", ["b@y.example"])
    assert tx.body == b"Subject: f\r\n\r\nx\r\n"


def test_replay_binary(relay, got):
    body = bytes(range(256)) * 5
    relay.put("replay", "b.eml",
              b"X-Sender: <a@x.example> BODY=BINARYMIME\r\n"
              b"X-Receiver: <b@y.example>\r\n"
              b"Content-Type: application/octet-stream\r\n"
              b"MIME-Version: 1.0\r\n"
              b"Content-Transfer-Encoding: binary\r\n\r\n" + body)
    assert got().body.endswith(b"\r\n\r\n" + body)


REPLAY_BAD = {
    "no-sender": (b"Subject: x\n\n", "line 1: no X-Sender"),
    "bad-receiver": (b"X-Sender: <a@x.example>\nX-Receiver: <b>\n\n",
                     "line 2: "),
    "short": (b"X-Sender: <a@x.example>\nX-Receiver: <b@y.example>\n"
              b"X-CreatedBy: Umbra\nX-EndOfInjectedXHeaders: 100\n"
              b"Subject: x\n\n", "not complete"),
}


@pytest.mark.parametrize("name", REPLAY_BAD)
def test_replay_bad(relay, got, name):
    data, why = REPLAY_BAD[name]
    at = relay.mark()
    relay.put("replay", name + ".eml", data)
    assert why in relay.wait("pickup.bad", since=at)["reason"]
    assert relay.left("replay") == [name + ".bad"]
    assert got.none()


def test_replay_loop(relay, got):
    """A message that runs in a circle goes back; a notice that does is set
    aside, for nobody can be told."""
    hops = b"Received: x\n" * 61 + b"Subject: zz\n\n"
    at = relay.mark()
    relay.put("replay", "l.eml", b"X-Sender: <a@x.example>\n"
              b"X-Receiver: <b@y.example>\n" + hops)
    assert b"mail loop" in got().data
    relay.put("replay", "n.eml", b"X-Sender: <>\n"
              b"X-Receiver: <b@y.example>\n" + hops)
    assert "mail loop" in relay.wait("pickup.bad", since=at)["reason"]


def test_export_and_replay(peer, got):
    """What one relay has exported another one sends, under the same trace."""
    with Dirs() as a, Dirs(peer.port) as b:
        message = b"Subject: moved\r\n\r\n.dot\r\n"
        qid = a.send("a@x.example", ["b@y.example", "c@y.example"], message)
        trace = a.wait("message.accepted")["trace"]
        out = os.path.join(a.dir, "out")
        os.mkdir(out)
        a.cli("message", "export", qid, "--dir", out)
        (name,) = os.listdir(out)
        with open(os.path.join(out, name), "rb") as f:
            b.put("replay", name, f.read())
        tx = got()
        assert tx.to == ["b@y.example", "c@y.example"]
        assert tx.body.endswith(message)
        assert tx.data.count(b"Received: ") == 2
        assert b.wait("message.accepted", connector="replay")["trace"] == \
            trace


# --- files that are none of ours ---------------------------------------------

def test_links(relay, got):
    """A link would let a writer send a file that only umbrad may read."""
    secret = os.path.join(relay.dir, "secret")
    with open(secret, "wb") as f:
        f.write(b"From: a@x.example\nTo: b@y.example\n\nsecret\n")
    at = relay.mark()
    os.symlink(secret, os.path.join(relay.pickup, "s.eml"))
    assert "symbolic link" in relay.wait("pickup.bad", since=at)["reason"]
    at = relay.mark()
    os.link(secret, os.path.join(relay.pickup, "h.eml"))
    assert "several names" in relay.wait("pickup.bad", since=at)["reason"]
    at = relay.mark()
    os.mkfifo(os.path.join(relay.pickup, "p.eml"))
    assert "regular" in relay.wait("pickup.bad", since=at)["reason"]
    at = relay.mark()
    os.mkdir(os.path.join(relay.pickup, "d.eml"))
    assert "regular" in relay.wait("pickup.bad", since=at)["reason"]
    assert got.none()


def test_bad_never_over_another(relay):
    """What is set aside does not replace what was."""
    for i in range(3):
        at = relay.mark()
        relay.put("pickup", "x.eml", b"number %d" % i)
        relay.wait("pickup.bad", since=at)
    assert relay.left("pickup") == ["x-1.bad", "x-2.bad", "x.bad"]


# --- directories ------------------------------------------------------------

def test_everybody_may_write(peer, got):
    with Dirs(peer.port) as u:
        os.chmod(u.pickup, 0o1777)
        line = u.wait("pickup.refused")
        assert "chmod o-w" in line["text"]
        u.put("pickup", "a.eml", b"From: a@x.example\nTo: b@y.example\n\n")
        at = u.mark()
        u.put("replay", "b.eml", b"X-Sender: <>\nX-Receiver: <c@y.example>\n"
              b"Subject: x\n\n")
        u.wait("message.accepted", since=at, connector="replay")
        assert u.left("pickup") == ["a.eml"]
        os.chmod(u.pickup, 0o770)
        u.wait("pickup.open", since=at, source="pickup")
        u.gone("pickup")
        # One line when it changes, not one per poll.
        assert len(u.seen("pickup.refused")) == 1


@root
def test_foreign_owner(peer):
    with Dirs(peer.port) as u:
        os.chown(u.pickup, 65534, 65534)
        assert "belongs to neither" in u.wait("pickup.refused")["text"]


def test_missing_directory(peer, got):
    """It may be made later, and replaced by another one."""
    with Dirs(peer.port) as u:
        os.rmdir(u.pickup)
        assert "mkdir" in u.wait("pickup.refused")["text"]
        for _ in range(2):
            os.mkdir(u.pickup)
            u.put("pickup", "a.eml",
                  b"From: a@x.example\nTo: b@y.example\n\n")
            u.gone("pickup")
            os.rmdir(u.pickup)
        got(2)


def test_one_process_at_a_time(peer, got):
    with Dirs(peer.port) as a, Umbra(base(
            peer.port, pickup={"directory": a.pickup,
                               "interval": "100ms"})) as b:
        a.wait("pickup.open", source="pickup")
        assert "another process" in b.wait("pickup.refused")["text"]
        a.stop()
        b.wait("pickup.open")
        with open(os.path.join(a.pickup, "x.part"), "wb") as f:
            f.write(b"From: a@x.example\nTo: b@y.example\n\n")
        os.rename(f.name, os.path.join(a.pickup, "x.eml"))
        got()


def test_reload(peer, got):
    """Another directory, and none."""
    with Dirs(peer.port) as u:
        u.wait("pickup.open", source="pickup")
        new = os.path.join(u.dir, "new")
        os.mkdir(new)
        conf = base(peer.port, pickup={"directory": new, "rate": 20000,
                                       "interval": "100ms"})
        Umbra.configure(u, conf)
        assert u.reload().event == "config.loaded"
        u.pickup = new
        u.put("pickup", "a.eml", b"From: a@x.example\nTo: b@y.example\n\n")
        got()
        u.gone("pickup")
        Umbra.configure(u, base(peer.port))
        assert u.reload().event == "config.loaded"
        u.put("pickup", "b.eml", b"From: a@x.example\nTo: b@y.example\n\n")
    assert u.seen("message.accepted")[-1]["file"] == "a"


# --- when the relay takes nothing --------------------------------------------

def test_draining(peer, got):
    """A node that is drained takes none, and all of it afterwards."""
    with Dirs(peer.port) as u:
        u.cli("drain", "--no-wait")
        u.put("pickup", "a.eml", b"From: a@x.example\nTo: b@y.example\n\n")
        assert "drain" in u.wait("pickup.later")["reason"]
        assert u.left("pickup") == ["a.eml"]
        u.cli("undrain")
        got()
        u.gone("pickup")


def test_back_pressure():
    """Files wait while something is short, and are taken when it is over."""
    hold = threading.Event()
    with Peer(keep_wire=False) as hop:
        hop.gate["MAIL"] = hold
        sends = base(hop.port)["send_connectors"]
        sends[0]["limits"] = {"connections": 1}
        with Dirs(hop.port, send_connectors=sends, back_pressure={
                "interval": "100ms",
                "queue": {"medium": 2, "high": 100, "history": 1}}) as u:
            for _ in range(5):
                u.send("a@x.example", ["r@example.org"], b"S: x\r\n\r\n")
            u.wait("pressure.changed", to="medium")
            u.put("pickup", "a.eml",
                  b"From: a@x.example\nTo: b@y.example\n\n")
            assert "length of the queue" in u.wait("pickup.later")["reason"]
            assert u.left("pickup") == ["a.eml"]
            hold.set()
            until(lambda: len(hop.messages) == 6, text=u.tail)
            u.gone("pickup")


def test_rate(peer, got):
    """Two messages a second: seven take two seconds or more (one is free at
    the start, and one may be ready)."""
    with Dirs(peer.port, rate=120) as u:
        u.stop()
        for i in range(7):
            u.put("pickup", f"{i}.eml",
                  b"From: a@x.example\nTo: b@y.example\n\n")
        u.start()
        u.wait("message.accepted", count=7)
        sec = [float(x.text[17:23]) for x in u.seen("message.accepted")]
        assert 2 <= (sec[-1] - sec[0]) % 60 < 20, sec


def test_claimed_by_an_earlier_run(peer, got):
    """What was in hand when the relay died is taken, and the log says so."""
    with Dirs(peer.port) as u:
        u.stop()
        with open(os.path.join(u.pickup, "a.claimed"), "wb") as f:
            f.write(b"From: a@x.example\nTo: b@y.example\n\n")
        u.start()
        got()
        u.wait("pickup.again", file="a.claimed")
        u.gone("pickup")


def test_only_a_directory(peer, got):
    """A machine without receive connectors."""
    with Dirs(peer.port, receive_connectors=[]) as u:
        u.put("pickup", "a.eml", b"From: a@x.example\nTo: b@y.example\n\n")
        got()


def test_configuration(peer):
    u = Dirs(peer.port)
    try:
        for conf, why in (
                ({"pickup": {"directory": "/x"},
                  "replay": {"directory": "/x/y"}}, "must be apart"),
                ({"pickup": {"directory": u.data}}, "must be apart"),
                ({"pickup": {"directory": "/x", "rate": 0}}, "1 to 20000")):
            Umbra.configure(u, base(peer.port, **conf))
            p = u.check()
            assert p.returncode == 78 and why in p.stderr, p.stderr
        u.stop()
    finally:
        u.discard()
