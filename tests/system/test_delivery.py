"""Delivery: failing over, trying again, giving up, telling the sender; what a
next hop cannot take; LMTP; reuse of connections; and the `umbra` command that
shows it all."""
import email
import email.policy
import json
import re
import threading
import time

import pytest

from dsn import Dsn
from peer import ALL, DROP, PLAIN, Peer, without
from umbra import NODE, Umbra, base, free_port
from wait import LONG, until

MESSAGE = (b"From: a@sender.test\r\nTo: b@to.test\r\nSubject: the subject\r\n"
           b"Message-ID: <original@sender.test>\r\n\r\nthe body\r\n")


class Net:
    """A relay with one next hop per domain NAME.test, and one, `back`, for
    the rest: senders get their notices there."""

    def __init__(self, queue=None, back=None, **hops):
        self.back = back or Peer(ext=without("SMTPUTF8"))
        self.hops = {}
        conf = base(self.back.port)
        for name, hop in hops.items():
            options = {}
            if isinstance(hop, tuple):
                hop, options = hop
            self.hops[name] = hop
            hosts = hop if isinstance(hop, list) else [hop]
            conf["send_connectors"].append({
                "name": name, "address_spaces": [f"{name}.test"],
                "smart_hosts": [f"127.0.0.1:{getattr(h, 'port', h)}"
                                for h in hosts],
                "tls": {"mode": "none"}, **options})
        conf["queue"].update(expire_after="1h", delay_notice_after="0s",
                             **(queue or {}))
        self.conf = conf
        self.u = Umbra(conf)
        for name in ("smtp", "send", "wait", "seen", "mark"):
            setattr(self, name, getattr(self.u, name))

    def dsn(self, to="a@sender.test", n=1):
        until(lambda: len([m for m in self.back.messages if to in m.to]) >= n,
              text=f"no notice {n} to {to}")
        return Dsn([m for m in self.back.messages if to in m.to][n - 1],
                   utf8="SMTPUTF8" in " ".join(self.back.ext))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.u.__exit__(*exc)
        for hop in (*self.hops.values(), self.back):
            for h in hop if isinstance(hop, list) else [hop]:
                if isinstance(h, Peer):
                    h.close()


# --- failing over ------------------------------------------------------------


@pytest.mark.parametrize("trouble", [
    {"GREET": "421 4.3.2 busy"}, {"GREET": "554 5.3.2 not for you"},
    {"GREET": DROP}, {"EHLO": DROP}, {"EHLO": "421 4.3.2 busy"},
    {"MAIL": ["421 4.3.2 busy", DROP]}, {"RCPT": DROP}, {"DATA": DROP},
    {"DATA": ["421 4.3.2 busy", DROP]}], ids=range(9))
def test_next_smart_host(trouble):
    """On a connect failure, on 421 and on a lost connection the next of the
    list is tried at once; nothing is sent twice."""
    bad, good = Peer(on=trouble, ext=without("CHUNKING")), Peer()
    with Net(to=[free_port(), bad, good]) as net:
        began = time.monotonic()
        net.send("a@sender.test", "b@to.test", MESSAGE)
        assert good.wait().body == MESSAGE
        assert time.monotonic() - began < 0.9   # no retry time was waited for
        net.wait("message.done")
        assert len(good.messages) == 1 and not bad.messages
        assert net.seen("host.failed")


def test_recovered_host_is_used_again():
    """`listed`: the first host gets the mail again when it works again."""
    first, second = Peer(), Peer()
    with Net(to=([first, second], {"timeouts": {"idle": "0s"}})) as net:
        net.send("a@sender.test", "one@to.test", MESSAGE)
        assert first.to("one@to.test")
        first.down()
        net.send("a@sender.test", "two@to.test", MESSAGE)
        assert second.to("two@to.test")
        first.up()
        # Its pause can be ended by an administrator; a reload ends it too.
        net.u.reload()
        net.send("a@sender.test", "three@to.test", MESSAGE)
        assert first.to("three@to.test")


def test_spread():
    """`spread`: all hosts of the list get some."""
    peers = [Peer(), Peer()]
    with Net(to=(peers, {"order": "spread", "timeouts": {"idle": "0s"},
                         "limits": {"extra_connection_at": 1}})) as net:
        for p in peers:
            p.gate["END"] = threading.Event()
        for i in range(40):
            net.send("a@sender.test", f"u{i}@to.test", MESSAGE)
        until(lambda: all(p.conns for p in peers))
        for p in peers:
            p.gate["END"].set()
        until(lambda: sum(len(p.messages) for p in peers) == 40)
        assert all(p.messages for p in peers)


def test_5xx_to_a_recipient_is_not_another_hosts_business():
    one, two = Peer(on={"RCPT": "550 5.1.1 unknown"}), Peer()
    with Net(to=[one, two]) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE)
        assert net.dsn().rcpt("b@to.test")["status"] == "5.1.1"
        assert not two.conns


# --- trying again ------------------------------------------------------------


def test_retry_after_a_dead_host():
    """All is kept while nobody answers, and goes when somebody does: the
    destination is delayed as a whole, not each message."""
    p = Peer()
    p.down()
    with Net(to=p) as net:
        for i in range(20):
            net.send("a@sender.test", f"u{i}@to.test", MESSAGE)
        line = net.wait("nexthop.delayed", hop="to")
        assert "refused" in line["said"]
        p.up()
        p.wait(20)
        net.wait("nexthop.recovered", hop="to")
        assert len(net.seen("nexthop.delayed")) < 10
        assert not net.back.messages


def test_4xx_for_one_recipient():
    """The others have theirs at once; this one is tried again by itself."""
    tries = []

    def greylist(conn, line):
        if "slow@" in line:
            tries.append(line)
            if len(tries) < 3:
                return "451 4.7.1 greylisted, come back"
        return None

    with Net(to=Peer(on={"RCPT": greylist})) as net:
        msg = net.send("a@sender.test", ["fast@to.test", "slow@to.test"],
                       MESSAGE)
        p = net.hops["to"]
        assert p.wait(1).to == ["fast@to.test"]
        assert p.wait(2, 10).to == ["slow@to.test"]
        deferred = net.seen("delivery.deferred", msg=msg)
        assert [x["to"] for x in deferred] == ["<slow@to.test>"] * 2
        assert deferred[0]["dsn"] == "4.7.1"
        assert "greylisted" in deferred[0]["said"]
        net.wait("message.done", msg=msg)
        assert len(p.messages) == 2 and not net.back.messages


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "END"])
def test_4xx_for_a_message(step):
    """At each step: deferred, and delivered once later. Another message to
    the same host is not held up."""
    def first(conn, line):
        t = conn.tx or getattr(conn, "tx_now", None)
        sender = line if step == "MAIL" else t.mail
        if "slow" in sender and not conn.peer.seen_once:
            conn.peer.seen_once = True
            return "451 4.3.0 not now"
        return None

    p = Peer(on={step: first}, ext=without("CHUNKING"))
    p.seen_once = False
    with Net(to=p) as net:
        net.send("slow@sender.test", "b@to.test", MESSAGE)
        net.wait("delivery.deferred", to="<b@to.test>")
        net.send("fast@sender.test", "c@to.test", MESSAGE)
        assert p.to("c@to.test") is p.messages[0]
        assert p.to("b@to.test").body == MESSAGE
        assert len(p.messages) == 2
        assert not net.seen("nexthop.delayed")


def test_reply_lost_after_the_end_of_data():
    """D1: the one case where a second copy may be made, and it is logged."""
    p = Peer(on={"END": lambda c, line: DROP if c.number == 0 else None})
    with Net(to=p) as net:
        msg = net.send("a@sender.test", "b@to.test", MESSAGE)
        net.wait("delivery.in_doubt", msg=msg)
        assert p.wait().body == MESSAGE


def test_too_many_recipients_go_in_another_transaction():
    """RFC 5321 4.5.3.1.10: 452 means the rest at once in the next one."""
    def limit(conn, line):
        if len(conn.tx.rcpts) >= 3:
            return "452 4.5.3 too many recipients"
        return None

    with Net(to=Peer(on={"RCPT": limit})) as net:
        to = [f"u{i}@to.test" for i in range(10)]
        net.send("a@sender.test", to, MESSAGE)
        p = net.hops["to"]
        p.wait(4)
        assert sorted(r for m in p.messages for r in m.to) == sorted(to)
        assert not net.seen("delivery.deferred")


def test_rcptmax_and_our_own_limit():
    """RFC 9422, and limits.recipients of the connector."""
    for ext, limit, most in [(ALL + ("LIMITS RCPTMAX=4",), 100, 4),
                             (ALL, 5, 5)]:
        p = Peer(ext=ext)
        with Net(to=(p, {"limits": {"recipients": limit}})) as net:
            to = [f"u{i}@to.test" for i in range(13)]
            net.send("a@sender.test", to, MESSAGE)
            until(lambda: sum(len(m.to) for m in p.messages) == 13)
            assert all(len(m.to) <= most for m in p.messages)


# --- giving up and telling ---------------------------------------------------


def test_5xx_gives_a_notice():
    """RFC 3461-3464: readable first, then for programs, then the original."""
    with Net(to=Peer(on={"RCPT": "550 5.1.1 No such user here"})) as net:
        msg = net.send("a@sender.test", "b@to.test", MESSAGE,
                       mail="ENVID=env+2B1 RET=FULL",
                       rcpt="ORCPT=rfc822;orig+40x.test")
        d = net.dsn()
        assert "b@to.test" in d.text and "No such user here" in d.text
        assert msg in d.text
        assert d.fields["reporting-mta"] == f"dns; {NODE}"
        assert d.fields["original-envelope-id"] == "env+1"
        r = d.rcpt("b@to.test")
        assert r["action"] == "failed" and r["status"] == "5.1.1"
        assert r["original-recipient"] == "rfc822; orig@x.test"
        assert r["diagnostic-code"] == "smtp; 550 5.1.1 No such user here"
        assert d.message["to"] == "a@sender.test"
        assert "postmaster@example.org" in d.message["from"]
        assert d.message["in-reply-to"] == "<original@sender.test>"
        assert d.original_type == "message/rfc822"
        assert d.original_raw.endswith(MESSAGE.rstrip(b"\r\n")) or \
            MESSAGE in d.original_raw + b"\r\n"
        line = net.wait("report.queued", msg=msg)
        assert line["kind"] == "failed" and line["to"] == "<a@sender.test>"
        net.wait("message.done", msg=msg)
        # The notice was durable before the recipient was final.
        order = [x.event for x in net.u.lines
                 if x.event in ("report.queued", "message.done")
                 and x["msg"] == msg]
        assert order == ["report.queued", "message.done"]


def test_one_notice_for_several_recipients():
    def some(conn, line):
        return "550 5.1.1 no " + line if "bad" in line else None

    with Net(to=Peer(on={"RCPT": some})) as net:
        net.send("a@sender.test", ["bad1@to.test", "good@to.test",
                                   "bad2@to.test"], MESSAGE)
        d = net.dsn()
        assert len(d.rcpts) == 2
        assert d.rcpt("bad1@to.test") and d.rcpt("bad2@to.test")
        assert net.hops["to"].wait().to == ["good@to.test"]
        net.wait("message.done", count=2)
        assert len(net.back.messages) == 1


@pytest.mark.parametrize("ret, want", [
    ("RET=HDRS", "text/rfc822-headers"), ("RET=FULL", "message/rfc822"),
    ("", "message/rfc822")])
def test_ret(ret, want):
    with Net(to=Peer(on={"RCPT": "550 5.1.1 no"})) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE, mail=ret)
        d = net.dsn()
        assert d.original_type == want
        assert (b"the body" in d.original_raw) == (want == "message/rfc822")
        assert b"Subject: the subject" in d.original_raw


def test_large_original_is_not_returned_whole():
    with Net(to=Peer(on={"END": "554 5.6.0 no"})) as net:
        net.send("a@sender.test", "b@to.test",
                 MESSAGE + b"0123456789\r\n" * 100000)
        d = net.dsn()
        assert d.original_type == "text/rfc822-headers"
        assert b"0123456789" not in d.original_raw


NOTIFY = {  # NOTIFY, what the next hop does -> actions of the notices
    ("", "fail"): ["failed"], ("NEVER", "fail"): [], ("FAILURE", "fail"):
    ["failed"], ("SUCCESS", "fail"): [], ("DELAY", "fail"): [],
    ("SUCCESS,FAILURE", "fail"): ["failed"],
    ("", "take"): [], ("NEVER", "take"): [], ("FAILURE", "take"): [],
    # Handed to a host without DSN: that is where our duty ends.
    ("SUCCESS", "take"): ["relayed"], ("SUCCESS,DELAY", "take"): ["relayed"],
    # Handed to one with DSN: it is its duty.
    ("SUCCESS", "pass"): [],
}


def test_notify_variants():
    """RFC 3461 4.1."""
    with Net(fail=Peer(on={"RCPT": "550 5.1.1 no"}),
             take=Peer(ext=without("DSN")), **{"pass": Peer()}) as net:
        for i, (notify, what) in enumerate(NOTIFY):
            net.send(f"s{i}@sender.test", f"b{i}@{what}.test", MESSAGE,
                     rcpt=notify and f"NOTIFY={notify}")
        for i, ((notify, what), want) in enumerate(NOTIFY.items()):
            for action in want:
                r = net.dsn(f"s{i}@sender.test").rcpt(f"b{i}@{what}.test")
                assert r["action"] == action, (notify, what)
                if action == "relayed":
                    assert r["status"][0] == "2"
        net.wait("message.done",
                 count=len(NOTIFY) + sum(map(len, NOTIFY.values())))
        for i, want in enumerate(NOTIFY.values()):
            got = [m for m in net.back.messages
                   if f"s{i}@sender.test" in m.to]
            assert len(got) == len(want), (list(NOTIFY)[i], got)


def test_delay_notice_and_expiry():
    """Once told that it is late, then told that it failed; NOTIFY counts."""
    queue = {"delay_notice_after": "2s", "expire_after": "5s"}
    with Net(to=free_port()) as net:
        net.conf["queue"].update(queue)
        net.u.reload(net.conf)
        net.send("a@sender.test", "b@to.test", MESSAGE)
        net.send("never@sender.test", "b@to.test", MESSAGE,
                 rcpt="NOTIFY=NEVER")
        net.send("late@sender.test", "b@to.test", MESSAGE,
                 rcpt="NOTIFY=DELAY")
        net.send("fail@sender.test", "b@to.test", MESSAGE,
                 rcpt="NOTIFY=FAILURE")
        r = net.dsn().rcpt("b@to.test")
        assert r["action"] == "delayed" and r["status"][0] == "4"
        assert "will-retry-until" in r
        late = net.dsn("late@sender.test")
        assert late.rcpt("b@to.test")["action"] == "delayed"
        assert "refused" in late.text
        gone = net.dsn(n=2)
        assert gone.rcpt("b@to.test")["action"] == "failed"
        assert gone.rcpt("b@to.test")["status"] == "5.4.7"
        assert "refused" in gone.text
        assert net.dsn("fail@sender.test").rcpt("b@to.test")[
            "action"] == "failed"
        net.wait("message.done", count=8)
        assert len(net.back.messages) == 4
        assert len(net.seen("message.expired")) == 4


def test_null_sender_is_never_answered():
    """It goes to the postmaster, once, and not around in circles."""
    with Net(to=Peer(on={"RCPT": "550 5.1.1 no"})) as net:
        msg = net.send("", "b@to.test", MESSAGE)
        d = net.dsn("postmaster@example.org")
        assert d.rcpt("b@to.test")["status"] == "5.1.1"
        net.wait("message.done", msg=msg)
        assert len(net.back.messages) == 1


def test_notice_that_cannot_be_delivered():
    """To the postmaster; and when that fails too it is dropped, counted."""
    def only_postmaster(conn, line):
        return None if "postmaster" in line else "550 5.1.1 no"

    back = Peer(on={"RCPT": only_postmaster})
    with Net(back=back, to=Peer(on={"RCPT": "550 5.1.1 no"})) as net:
        net.send("forged@sender.test", "b@to.test", MESSAGE)
        d = net.dsn("postmaster@example.org")
        assert d.rcpt("forged@sender.test")["status"] == "5.1.1"
        back.on["RCPT"] = "550 5.1.1 nobody at all"
        mark = net.mark()
        net.send("forged@sender.test", "c@to.test", MESSAGE)
        net.wait("report.dropped", since=mark)
        net.wait("message.done", since=mark, count=3)
        assert not net.seen("message.accepted", since=mark)[1:]
        assert len(back.messages) == 1


def test_loop_of_two_relays_ends():
    """T18: A sends to B, B to A: the hop limit ends it, with one notice to
    the sender."""
    with Peer() as back:
        ports = [free_port(), free_port()]
        confs = []
        for mine, other in (ports, ports[::-1]):
            conf = base(back.port)
            conf["receive_connectors"][0]["bind"] = [f"127.0.0.1:{mine}"]
            conf["receive_connectors"][0]["limits"]["hops"] = 10
            conf["send_connectors"].append(
                {"name": "loop", "address_spaces": ["loop.test"],
                 "smart_hosts": [f"127.0.0.1:{other}"],
                 "tls": {"mode": "none"}})
            confs.append(conf)
        with Umbra(confs[0]) as one, Umbra(confs[1]) as two:
            one.ports["relay"] = ports[0]
            one.send("a@sender.test", "b@loop.test", MESSAGE)
            d = Dsn(back.to("a@sender.test"))
            assert d.rcpt("b@loop.test")["status"] == "5.4.6"
            one.stop()
            two.stop()
            hops = len(one.seen("message.accepted")) + \
                len(two.seen("message.accepted"))
            assert 10 <= hops <= 11, hops
            assert len(back.messages) == 1


# --- what the next hop cannot take -------------------------------------------

EIGHT = ("From: a@sender.test\r\nSubject: eight\r\nMIME-Version: 1.0\r\n"
         "Content-Type: text/plain; charset=utf-8\r\n"
         "Content-Transfer-Encoding: 8bit\r\n\r\n"
         "Gr\u00fc\u00dfe aus K\u00f6ln =3D = x\r\n.\r\ntrailing blank \r\n"
         "\u4f60\u597d\r\n" + "lang " * 30 + "\r\n").encode()


def decoded(octets):
    m = email.message_from_bytes(octets, policy=email.policy.SMTP)
    return m.get_payload(decode=True).replace(b"\n", b"\r\n").replace(
        b"\r\r\n", b"\r\n") if not m.is_multipart() else m


def test_8bitmime_to_an_old_host():
    """RFC 6152 3: converted, and equal when decoded; nothing above 127 and no
    long line goes out."""
    p = Peer(ext=PLAIN)
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", EIGHT, mail="BODY=8BITMIME")
        got = p.wait()
        assert max(got.data) < 128
        assert all(len(x) <= 998 for x in got.data.split(b"\r\n"))
        assert " BODY=" not in got.mail
        assert decoded(got.body) == EIGHT.partition(b"\r\n\r\n")[2]
        m = email.message_from_bytes(got.body)
        assert m["content-transfer-encoding"].lower() in (
            "quoted-printable", "base64")
        assert m["subject"] == "eight"


def test_8bit_multipart_to_an_old_host():
    """Each part by itself; 7-bit ones stay octet by octet."""
    seven = b"plain seven bit  \r\n.=\r\n"
    text = (b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
            b"boundary=\"=_b\"\r\n\r\npreamble\r\n--=_b\r\n"
            b"Content-Type: text/plain\r\n\r\n" + seven +
            b"\r\n--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" +
            "\u00e4\u00f6\u00fc\r\n".encode() * 20 +
            b"\r\n--=_b\r\nContent-Type: message/rfc822\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" + EIGHT +
            b"\r\n--=_b--\r\nepilogue\r\n")
    p = Peer(ext=PLAIN)
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", text, mail="BODY=8BITMIME")
        got = p.wait().body
        assert max(got) < 128 and seven in got
        m = email.message_from_bytes(got, policy=email.policy.SMTP)
        a, b, c = m.get_payload()
        assert not any(x.defects for x in (m, a, b, c))
        assert b.get_payload(decode=True).decode().split() == ["\u00e4\u00f6"
                                                              "\u00fc"] * 20
        inner = c.get_payload()[0]
        assert "K\u00f6ln" in inner.get_payload(decode=True).decode()


def test_8bit_without_mime_is_not_mangled():
    """No declaration to go by: converted or bounced, as the RFC allows."""
    text = "Subject: x\r\n\r\nGr\u00fc\u00dfe\r\n".encode()
    p = Peer(ext=PLAIN)
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", text)
        until(lambda: p.messages or net.back.messages)
        if p.messages:
            got = p.messages[0].body
            assert max(got) < 128
            assert decoded(got).rstrip() == "Gr\u00fc\u00dfe".encode()
        else:
            assert net.dsn().rcpt("b@to.test")["status"] == "5.6.3"


@pytest.mark.parametrize("ext", [
    without("BINARYMIME"), without("BINARYMIME", "CHUNKING"), PLAIN])
def test_binarymime_to_others(ext):
    """RFC 3030 3: base64, and equal when decoded."""
    octets = bytes(range(256)) * 20 + b"\r\n.\r\n\n\r\0"
    text = (b"MIME-Version: 1.0\r\nContent-Type: application/x-test\r\n"
            b"Content-Transfer-Encoding: binary\r\n\r\n" + octets)
    p = Peer(ext=ext)
    with Net(to=p) as net:
        with net.smtp() as c:
            c.mail("a@sender.test", "b@to.test", text,
                   mail="BODY=BINARYMIME", bdat=1000)
        got = p.wait()
        assert "BINARYMIME" not in got.mail
        assert not re.search(rb"\0|\r(?!\n)|(?<!\r)\n", got.wire)
        m = email.message_from_bytes(got.body)
        assert m["content-transfer-encoding"].lower() == "base64"
        assert m.get_payload(decode=True) == octets


def test_large_8bit_message_in_a_file_is_converted():
    line = ("Gr\u00fc\u00dfe " * 12 + "\r\n").encode()
    text = EIGHT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + line * 10000
    p = Peer(ext=PLAIN)
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", text, mail="BODY=8BITMIME")
        got = p.wait().body
        assert max(got) < 128
        assert decoded(got) == line * 10000


SMTPUTF8 = [  # sender, recipient, header, bounced by a host without it
    ("a@sender.test", "\u00fc@to.test", False, True),
    ("a@sender.test", "b@to.test", True, True),
    ("\u00fc@sender.test", "b@to.test", False, True),
    # Declared and not needed: it goes.
    ("a@sender.test", "b@to.test", False, False),
]


@pytest.mark.parametrize("sender, to, header, bounced", SMTPUTF8)
def test_smtputf8_to_an_old_host(sender, to, header, bounced):
    """RFC 6531 3.1, RFC 6533: 5.6.7 when it is needed."""
    text = ("Subject: " + ("gr\u00fcn" if header else "green") +
            "\r\n\r\nbody\r\n").encode()
    p = Peer(ext=without("SMTPUTF8"))
    with Net(back=Peer(), to=p) as net:
        net.send(sender, to, text, mail="SMTPUTF8")
        if not bounced:
            assert p.wait().body == text
            return
        d = net.dsn(sender)
        assert d.rcpts[0]["status"] == "5.6.7"
        assert not p.messages


def test_only_the_international_recipient_is_bounced():
    p = Peer(ext=without("SMTPUTF8"))
    with Net(to=p) as net:
        net.send("a@sender.test", ["b@to.test", "\u00fc@to.test"], MESSAGE,
                 mail="SMTPUTF8")
        assert p.wait().to == ["b@to.test"]
        assert len(net.dsn().rcpts) == 1


def test_size_is_checked_before_sending():
    """RFC 1870: 5.3.4 without a word to the host."""
    p = Peer(ext=("SIZE 1000", "PIPELINING"))
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE + b"x" * 900 + b"\r\n")
        r = net.dsn().rcpt("b@to.test")
        assert r["status"] == "5.3.4"
        assert not [x for c in p.conns for x in c.log
                    if x.startswith("MAIL")]


def test_size_limit_of_the_connector():
    with Net(to=(Peer(), {"limits": {"message_size": "4KiB"}})) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE)
        assert net.hops["to"].wait()
        msg = net.send("a@sender.test", "c@to.test",
                       MESSAGE + b"0123456789\r\n" * 1000)
        # It is not this connector's mail then: the next best takes it.
        assert net.back.to("c@to.test")
        net.wait("message.done", msg=msg)


def test_host_that_knows_only_helo():
    p = Peer(on={"EHLO": "502 5.5.1 what?"})
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE, mail="RET=HDRS")
        got = p.wait()
        assert got.body == MESSAGE and got.how == "DATA"
        assert got.mail == "MAIL FROM:<a@sender.test>"


# --- LMTP --------------------------------------------------------------------


def test_lmtp_replies_per_recipient():
    """RFC 2033: one reply each after the end of data."""
    def end(conn, line):
        if "full" in line:
            return "452 4.2.2 mailbox full"
        if "no" in line:
            return "550 5.2.1 disabled"
        return None

    for ext in ALL, without("CHUNKING"):
        p = Peer(lmtp=True, ext=ext, on={"END": end, "EHLO": "500 LHLO!",
                                         "RCPT": lambda c, x: "550 5.1.1 who"
                                         if "who" in x else None})
        with Net(to=(p, {"protocol": "lmtp"})) as net:
            msg = net.send("a@sender.test", [
                "ok@to.test", "who@to.test", "full@to.test", "no@to.test",
                "fine@to.test"], MESSAGE)
            d = net.dsn()
            assert sorted(r["status"] for r in d.rcpts) == ["5.1.1", "5.2.1"]
            line = net.wait("delivery.deferred", msg=msg)
            assert line["to"] == "<full@to.test>" and line["dsn"] == "4.2.2"
            sent = {x["to"] for x in net.seen("delivery.sent", msg=msg)}
            assert sent == {"<ok@to.test>", "<fine@to.test>"}
            assert p.conns[0].log[0].startswith("LHLO ")
            p.on["END"] = None
            net.wait("delivery.sent", msg=msg, to="<full@to.test>")
            net.wait("message.done", msg=msg)
            assert [m.to for m in p.messages[1:]] == [["full@to.test"]]


def test_lmtp_success_notice():
    """LMTP is final delivery."""
    p = Peer(lmtp=True, ext=without("DSN"))
    with Net(to=(p, {"protocol": "lmtp"})) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE,
                 rcpt="NOTIFY=SUCCESS")
        assert net.dsn().rcpt("b@to.test")["action"] == "delivered"


# --- connections -------------------------------------------------------------


def test_connection_is_reused():
    p = Peer()
    with Net(to=p) as net:
        with net.smtp() as c:
            for i in range(30):
                c.mail("a@sender.test", f"u{i}@to.test", MESSAGE)
        p.wait(30)
        assert len(p.conns) <= 5
        for c in p.conns:
            assert len([x for x in c.log if x.startswith("EHLO")]) == 1


def test_limit_of_messages_per_connection():
    p = Peer()
    with Net(to=(p, {"limits": {"messages_per_connection": 3,
                                "connections": 1}})) as net:
        with net.smtp() as c:
            for i in range(10):
                c.mail("a@sender.test", f"u{i}@to.test", MESSAGE)
        p.wait(10)
        assert len(p.conns) >= 4
        assert all(c.done <= 3 for c in p.conns)


def test_limit_of_connections():
    """Never more than this at a time, also with a long queue."""
    p = Peer(on={"GREET": None})
    p.gate["END"] = threading.Event()
    with Net(to=(p, {"limits": {"connections": 3,
                                "extra_connection_at": 1}})) as net:
        with net.smtp() as c:
            for i in range(60):
                c.mail("a@sender.test", f"u{i}@to.test", MESSAGE)
        p.gated("END")
        assert len(p.conns) <= 3
        p.gate["END"].set()
        p.wait(60)
        assert len([c for c in p.conns if not hasattr(c, "ended")]) <= 3


def test_idle_connection_is_closed_politely():
    p = Peer()
    with Net(to=(p, {"timeouts": {"idle": "1s"}})) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE)
        p.wait()
        until(lambda: p.conns[0].log[-1] == "QUIT")


def test_stop_closes_connections_politely():
    p = Peer()
    with Net(to=p) as net:
        net.send("a@sender.test", "b@to.test", MESSAGE)
        net.wait("message.done")
        net.u.stop()
        until(lambda: p.conns[0].log[-1] == "QUIT")


def test_forks_only_where_next_hops_differ():
    with Net(one=Peer(), two=Peer()) as net:
        net.send("a@sender.test", ["a@one.test", "b@two.test", "c@one.test",
                                   "d@two.test"], MESSAGE)
        one, two = net.hops["one"].wait(), net.hops["two"].wait()
        assert one.to == ["a@one.test", "c@one.test"]
        assert two.to == ["b@two.test", "d@two.test"]
        net.wait("message.done")
        assert len(net.hops["one"].messages) == 1


def test_pipelining_and_its_absence():
    """Without PIPELINING one command at a time."""
    waiting = []

    def alone(conn, line):
        if conn.buf:
            waiting.append(conn.buf)
        return None

    p = Peer(ext=("8BITMIME",), on={v: alone for v in (
        "EHLO", "MAIL", "RCPT", "DATA")})
    with Net(to=p) as net:
        for i in range(5):
            net.send("a@sender.test", ["b@to.test", "c@to.test"], MESSAGE)
        p.wait(5)
        assert not waiting


# --- no route, and routing ---------------------------------------------------


def test_unreachable_queue():
    """No connector takes it: it waits, and goes when one does."""
    p = Peer()
    conf = base()
    conf["send_connectors"] = [
        {"name": "out", "address_spaces": ["example.org"],
         "smart_hosts": [f"127.0.0.1:{p.port}"], "tls": {"mode": "none"}}]
    with p, Umbra(conf) as u:
        msg = u.send("a@b.test", "x@nowhere.test", MESSAGE)
        u.wait("message.unreachable")
        u.restart()
        conf["send_connectors"].append(
            {"name": "rest", "address_spaces": ["*"],
             "smart_hosts": [f"127.0.0.1:{p.port}"], "tls": {"mode": "none"}})
        u.reload(conf)
        assert p.to("x@nowhere.test").body == MESSAGE
        u.wait("message.done", msg=msg)


def test_choice_of_connector():
    """The most specific space, then cost, then name; disabled ones are not
    there."""
    names = ("star", "wild", "exact", "cheap", "dear", "alpha", "beta")
    peers = {n: Peer() for n in names}
    spaces = {"star": "*;1", "wild": "*.x.test;1", "exact": "a.x.test;100",
              "cheap": "cost.test;5", "dear": "cost.test;6",
              "beta": "name.test;7", "alpha": "name.test;7"}
    conf = base()
    conf["send_connectors"] = [
        {"name": n, "address_spaces": [s], "tls": {"mode": "none"},
         "smart_hosts": [f"127.0.0.1:{peers[n].port}"]}
        for n, s in spaces.items()] + [
        {"name": "off", "address_spaces": ["a.x.test;1"], "enabled": "false",
         "smart_hosts": ["127.0.0.1:9"]}]
    table = {"a.x.test": "exact", "b.x.test": "wild", "c.b.x.test": "wild",
             "x.test": "star", "A.X.TEST": "exact", "cost.test": "cheap",
             "name.test": "alpha", "other.test": "star"}
    with Umbra(conf) as u:
        for d, want in table.items():
            u.send("a@b.test", f"u@{d}", MESSAGE)
            assert peers[want].to(f"u@{d}")
            out = u.cli("route", "test", f"u@{d}")
            assert re.search(rf"\b{want}\b", out), out
    for p in peers.values():
        p.close()


# --- the umbra command -------------------------------------------------------


@pytest.fixture(scope="module")
def waiting():
    """A relay with mail that cannot go."""
    p = Peer()
    p.down()
    with Net(to=p, queue={"retry": {
            "glitch_interval": "1h", "transient_interval": "1h",
            "interval": "1h", "message_interval": "1h"}}) as net:
        net.ids = [net.send("a@sender.test", f"u{i}@to.test", MESSAGE)
                   for i in range(5)]
        net.wait("nexthop.delayed")
        yield net


def rows(text):
    return [json.loads(x) for x in text.splitlines()]


def test_cli_status(waiting):
    out = waiting.u.cli("status")
    assert NODE in out and "5" in out
    one = rows(waiting.u.cli("status", "--json"))[0]
    assert "5" in json.dumps(one)


def test_cli_queue_list(waiting):
    out = waiting.u.cli("queue", "list")
    assert re.search(r"^to\s+retry\s+5\b.*refused", out, re.M), out
    hop = next(r for r in rows(waiting.u.cli("queue", "list", "--json"))
               if r["next_hop"] == "to")
    assert hop["queued"] == 5 and hop["state"] == "retry"
    assert "refused" in hop["last_error"] and hop["next_try"]


def test_cli_message_list_and_show(waiting):
    out = waiting.u.cli("message", "list")
    assert all(i in out for i in waiting.ids), out
    assert len(rows(waiting.u.cli("message", "list", "--json"))) == 5
    show = waiting.u.cli("message", "show", waiting.ids[0])
    for want in ("a@sender.test", "u0@to.test", "original@sender.test"):
        assert want in show, show
    one = rows(waiting.u.cli("message", "show", waiting.ids[0], "--json"))[0]
    assert "u0@to.test" in json.dumps(one)
    waiting.u.cli("message", "show", "ZZZZZZZ", want=65)


def test_cli_route_test(waiting):
    out = waiting.u.cli("route", "test", "somebody@to.test")
    assert "to" in out and "127.0.0.1" in out
    out = waiting.u.cli("route", "test", "somebody@example.org")
    assert "example.org" in out and "out" in out


def test_cli_config(waiting):
    waiting.u.cli("config", "check", waiting.u.file)
    assert "glitch_interval" in waiting.u.cli("config", "show")


def test_cli_usage(waiting):
    for args in ([], ["queue"], ["queue", "lst"], ["message", "show"],
                 ["bogus"]):
        waiting.u.cli(*args, want=64)


def test_cli_retry(waiting):
    """Nothing is done without --yes; with it, mail goes now."""
    waiting.hops["to"].up()
    mark = waiting.mark()
    out = waiting.u.cli("queue", "retry", "to")
    assert "5" in out and not waiting.hops["to"].conns
    out = waiting.u.cli("queue", "retry", "to", "--yes")
    waiting.hops["to"].wait(5)
    waiting.wait("control.command", since=mark)
    waiting.wait("message.done", since=mark, count=5)
    until(lambda: waiting.u.cli("message", "list", "--json") == "", LONG)


def test_cli_without_a_daemon():
    with Umbra(start=False) as u:
        u.configure(base())
        u.cli("status", want=69)


def test_cli_reload_says_what_is_wrong():
    with Net() as net:
        good = net.conf
        bad = dict(good, bogus=1)
        net.u.configure(bad)
        net.u.cli("config", "reload", want=78)
        net.u.configure(good)
        net.u.cli("config", "reload")
        net.wait("config.loaded")
