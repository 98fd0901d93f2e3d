"""The relay from end to end: a session, a message, limits, life."""
import os
import re
import signal
import subprocess

import pytest

from lab import network
from peer import Peer
from smtp import Closed, Smtp, queued_as, stuff
from umbra import NODE, UMBRAD, Umbra, base
from wait import LONG, until

MESSAGE = (b"From: a@example.org\r\nTo: b@example.org\r\n"
           b"Subject: hello\r\nMessage-ID: <1@example.org>\r\n\r\n"
           b"first line\r\n.dot\r\n..two dots\r\n\r\nlast line\r\n")


@pytest.fixture(scope="module")
def peer():
    with Peer() as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer):
    with Umbra(base(peer.port)) as u:
        yield u


def unique(n=[0]):
    n[0] += 1
    return f"user{n[0]}@example.org"


# --- a session ---------------------------------------------------------------


def test_greeting_and_ehlo(relay):
    """RFC 5321 4.2, 4.1.1.1: what is offered, exactly."""
    with relay.smtp(hello=False) as c:
        assert c.greeting.code == 220
        assert c.greeting.text == f"{NODE} ESMTP Umbra"
        r = c.ehlo()
        assert r.lines[0].split()[0] == NODE
        assert c.ext == {
            "PIPELINING": "", "SIZE": str(36 << 20),
            "LIMITS": "RCPTMAX=200", "8BITMIME": "", "BINARYMIME": "",
            "CHUNKING": "", "SMTPUTF8": "", "DSN": "",
            "ENHANCEDSTATUSCODES": ""}


@pytest.mark.parametrize("line, want", [
    ("HELO client.test", 250), ("EHLO [127.0.0.1]", 250),
    ("EHLO [IPv6:::1]", 250), ("EHLO", "501 5.5.4"), ("HELO", "501 5.5.4"),
    ("EHLO a b", "501 5.5.4"), ("EHLO " + "x" * 300, "501 5.5.4"),
    ("NOOP", "250 2.0.0"), ("NOOP whatever it is", "250 2.0.0"),
    ("RSET", "250 2.0.0"), ("VRFY root", "252 2.5.0"), ("VRFY", "501 5.5.4"),
    ("HELP", "214 2.0.0"), ("HELP MAIL", "214 2.0.0"), ("QUIT", "221 2.0.0"),
    ("EXPN all", "502 5.5.1"), ("AUTH PLAIN", "502 5.5.1"),
    ("STARTTLS", "502 5.5.1"), ("LHLO x", "502 5.5.1"),
    ("XSHADOW", "500 5.5.1"), ("", "500 5.5.1"), ("GET / HTTP/1.1",
                                                  "500 5.5.1"),
    ("DATA", "503 5.5.1"), ("DATA x", "501 5.5.4"), ("RCPT TO:<a@example.org>",
                                                     "503 5.5.1"),
    ("BDAT 0 LAST", "503 5.5.1"), ("MAIL", "501 5.5.4"),
    ("MAIL TO:<a@b.test>", "501 5.5.4"), ("MAIL FROM:a@b.test", "501 5.5.4"),
    ("MAIL FROM:<a@b.test", "501 5.1.7"), ("MAIL FROM:<@>", "501 5.1.7"),
    ("MAIL FROM:<>", "250 2.1.0"), ("mail from: <a@b.test>", "250 2.1.0"),
    ("MAIL FROM:<a@b.test> SIZE=1 BODY=8BITMIME RET=HDRS ENVID=x SMTPUTF8",
     "250 2.1.0"),
    ("MAIL FROM:<a@b.test> SIZE=x", "501 5.5.4"),
    ("MAIL FROM:<a@b.test> SIZE=1 SIZE=1", "501 5.5.4"),
    ("MAIL FROM:<a@b.test> BODY=9BIT", "501 5.5.4"),
    ("MAIL FROM:<a@b.test> FOO=1", "555 5.5.4"),
    ("MAIL FROM:<\u00e4@b.test>", "553 5.6.7"),
    ("MAIL FROM:<\u00e4@b.test> SMTPUTF8", "250 2.1.0"),
])
def test_one_command(relay, line, want):
    """One command after EHLO: its reply with its enhanced code."""
    with relay.smtp() as c:
        assert c.cmd(line) == want


def test_helo_gives_plain_replies(relay, peer):
    """RFC 5321 4.1.1.1: after HELO no ESMTP parameters."""
    with relay.smtp(hello=False) as c:
        assert c.cmd("HELO old.test") == 250
        assert c.cmd("MAIL FROM:<a@b.test> SIZE=10") == "555 5.5.4"
        to = unique()
        c.mail("a@b.test", to, MESSAGE)
    assert b" with SMTP id " in peer.to(to).data.replace(b"\r\n\t", b" ")


def test_before_hello(relay):
    with relay.smtp(hello=False) as c:
        for line in "MAIL FROM:<>", "RCPT TO:<a@example.org>", "DATA":
            assert c.cmd(line) == "503 5.5.1", line
        assert c.cmd("VRFY x") == 252  # RFC 5321 4.1.4: at any time
        assert c.cmd("NOOP") == 250


def test_message_end_to_end(relay, peer):
    """One Received field on top, the rest octet by octet; the id of the 250
    is the id of the log and of the Received field."""
    to = unique()
    mark = relay.mark()
    msg = relay.send("a@sender.test", to, MESSAGE)
    got = peer.to(to)
    assert got.body == MESSAGE
    assert got.sender == "a@sender.test"
    field = got.data[:-len(MESSAGE)].decode()
    want = (r"Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n"
            rf"\tby {re.escape(NODE)} with ESMTP id {msg}\r\n"
            rf"\tfor <{re.escape(to)}>;\r\n"
            r"\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n")
    assert re.fullmatch(want, field), field
    took = relay.wait("message.accepted", since=mark, msg=msg)
    assert took["from"] == "<a@sender.test>" and took["rcpts"] == "1"
    assert took["message_id"] == "<1@example.org>"
    sent = relay.wait("delivery.sent", since=mark, msg=msg)
    assert sent["to"] == f"<{to}>" and sent["status"] == "sent"
    assert sent["said"] == "250 2.0.0 taken" or \
        sent["said"] == "250 taken", sent.text
    assert sent["dsn"] == "2.0.0" and sent["trace"] == took["trace"]
    for k in ("delay", "delay_queue", "delay_connect", "delay_transfer",
              "tls", "host"):
        assert k in sent, sent.text
    relay.wait("message.done", since=mark, msg=msg)


@pytest.mark.parametrize("body", [
    b"", b"\r\n", b".\r\n", b"..\r\n", b"\r\n.\r\n", b"x: y\r\n",
    b"no header at all\r\n\r\n.\r\n", b"Subject: s\r\n\r\n" + b"x" * 998 +
    b"\r\n", b"Subject: s\r\n\r\n" + b"x" * 20000 + b"\r\n",
    b"A: b\r\n\r\n" + b".\r\n" * 5000,
    b"A: b\r\n\r\n" + bytes(range(1, 10)) + b"\x0b\x0c" + bytes(
        range(14, 256)) + b"\r\n",
    b"A: b\r\n\r\n" + b"0123456789abcde\r\n" * 40000,
], ids=range(12))
@pytest.mark.parametrize("chunk", [0, 1 << 30, 1000])
def test_shapes_of_messages(relay, peer, body, chunk):
    """Whatever CRLF lines there are: delivered as they came."""
    if chunk == 1000 and len(body) > 300000:
        chunk = 100000
    to = unique()
    with relay.smtp() as c:
        c.mail("a@b.test", to, body, bdat=chunk)
    assert peer.to(to).body == body


def test_several_recipients_one_transaction(relay, peer):
    to = [unique() for _ in range(20)]
    relay.send("a@b.test", to, MESSAGE)
    got = peer.to(to[0])
    assert got.to == to and got.body == MESSAGE
    assert b"\r\n\tfor <" not in got.data


def test_partly_refused_recipients(relay, peer):
    """The good ones are served; the others have heard why."""
    to = unique()
    with relay.smtp("inbound") as c:
        c.ok("MAIL FROM:<a@b.test>")
        assert c.cmd("RCPT TO:<x@elsewhere.test>") == "550 5.7.1"
        assert c.cmd("RCPT TO:<x y@example.org>") == "501 5.1.3"
        c.ok(f"RCPT TO:<{to}>")
        assert c.data(MESSAGE) == 250
    assert peer.to(to).to == [to]


def test_no_valid_recipients(relay):
    with relay.smtp("inbound") as c:
        c.ok("MAIL FROM:<a@b.test>")
        assert c.cmd("DATA") == "503 5.5.1"
        assert c.cmd("RCPT TO:<x@elsewhere.test>") == "550 5.7.1"
        assert c.cmd("DATA") == "554 5.5.1"


def test_whole_session_in_one_write(relay, peer):
    """RFC 2920: two transactions and QUIT, written at once."""
    one, two = unique(), unique()
    with relay.smtp(hello=False) as c:
        c.send("EHLO c.test\r\n",
               "MAIL FROM:<a@b.test>\r\n", f"RCPT TO:<{one}>\r\n", "DATA\r\n",
               stuff(MESSAGE),
               "MAIL FROM:<a@b.test>\r\n", f"RCPT TO:<{two}>\r\n",
               f"BDAT {len(MESSAGE)} LAST\r\n", MESSAGE,
               "NOOP\r\nQUIT\r\n")
        codes = [r.code for r in c.replies(10)]
        assert codes == [250, 250, 250, 354, 250, 250, 250, 250, 250, 221]
        assert c.eof()
    assert peer.to(one).body == MESSAGE
    assert peer.to(two).body == MESSAGE


def test_session_octet_by_octet(relay, peer):
    to = unique()
    with relay.smtp(hello=False) as c:
        c.dribble("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\n"
                  f"RCPT TO:<{to}>\r\nDATA\r\n")
        c.dribble(stuff(MESSAGE))
        assert [r.code for r in c.replies(5)] == [250, 250, 250, 354, 250]
    assert peer.to(to).body == MESSAGE


def test_rset_forgets(relay, peer):
    gone, to = unique(), unique()
    with relay.smtp() as c:
        c.envelope("old@b.test", gone)
        c.ok("RSET")
        assert c.cmd("DATA") == "503 5.5.1"
        c.mail("new@b.test", to, MESSAGE)
    got = peer.to(to)
    assert got.sender == "new@b.test" and got.to == [to]
    assert not [m for m in peer.messages if gone in m.to]


def test_nested_mail_and_ehlo_in_between(relay):
    with relay.smtp() as c:
        c.ok("MAIL FROM:<a@b.test>")
        assert c.cmd("MAIL FROM:<b@b.test>") == "503 5.5.1"
        c.ehlo()
        assert c.cmd("RCPT TO:<a@example.org>") == "503 5.5.1"
        c.ok("MAIL FROM:<b@b.test>")


def test_smtputf8_and_8bitmime(relay, peer):
    """RFC 6531, 6152: what was declared goes on with the message."""
    to = "\u00fcser@example.org"
    text = "Subject: gr\u00fc\u00df dich\r\n\r\n\u4f60\u597d\r\n".encode()
    relay.send("j\u00f6rg@b.test", to, text, mail="SMTPUTF8 BODY=8BITMIME")
    got = peer.to(to)
    assert got.body == text and got.sender == "j\u00f6rg@b.test"
    assert " SMTPUTF8" in got.mail and " BODY=8BITMIME" in got.mail
    assert b" with UTF8SMTP id " in got.data.replace(b"\r\n\t", b" ")


def test_dsn_parameters_pass_through(relay, peer):
    """RFC 3461 5.2.1: RET, ENVID, NOTIFY and ORCPT as they were given."""
    to = unique()
    relay.send("a@b.test", to, MESSAGE, mail="RET=HDRS ENVID=QQ+2B1",
               rcpt="NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+40x.test")
    got = peer.to(to)
    assert got.param(got.mail, "RET") == "HDRS"
    assert got.param(got.mail, "ENVID") == "QQ+2B1"
    notify = got.param(got.rcpts[0], "NOTIFY")
    assert set(notify.split(",")) == {"SUCCESS", "DELAY"}
    assert got.param(got.rcpts[0], "ORCPT") == "rfc822;bob+40x.test"


def test_no_dsn_parameters_of_our_own(relay, peer):
    to = unique()
    relay.send("a@b.test", to, MESSAGE)
    got = peer.to(to)
    assert "NOTIFY" not in got.rcpts[0] and "ORCPT" not in got.rcpts[0]
    assert "RET" not in got.mail and "ENVID" not in got.mail


def test_postmaster_without_domain(relay, peer):
    """RFC 5321 4.5.1: <Postmaster> is ours, for everybody."""
    before = len(peer.messages)
    relay.send("", "PostMaster", MESSAGE, door="inbound")
    got = peer.wait(before + 1)
    assert got.to == ["postmaster@example.org"] and got.sender == ""


@pytest.mark.parametrize("raw", [
    b"NOOP\n", b"\n", b"NOOP\rX\r\n", b"NO\0OP\r\n", b"NOOP \x01\r\n",
    b"NOOP\r\r\n", b"\r\r\n"])
def test_bad_line_ends_in_commands(relay, raw):
    """Bare CR, bare LF, NUL, controls: 500 and the end (T1)."""
    with relay.smtp() as c:
        c.send(raw, "NOOP\r\n")
        assert c.reply() == "500 5.5.2"
        assert c.eof()


# --- limits: limit-1, limit, limit+1 (T6) ------------------------------------


@pytest.fixture(scope="module")
def tight(peer):
    """Small limits on one connector each, so that they do not meet."""
    conf = base(peer.port)
    doors = {
        "plain": {}, "rcpts": {"recipients": 100},
        "size": {"message_size": "10KiB"},
        "header": {"header_size": "2KiB"}, "commands": {"commands": 30},
        "errors": {"errors": 5}, "conns": {"connections": 3},
        "source": {"connections_per_source": 3}, "hops": {"hops": 5},
        "many": {"errors": 1000, "commands": 100000},
    }
    conf["receive_connectors"] = [
        {"name": name, "bind": ["127.0.0.1:{%s}" % name],
         "remote": ["127.0.0.0/8"], "permissions": ["submit", "relay"],
         "limits": {"connections_per_source": 100, **limits}}
        for name, limits in doors.items()]
    with Umbra(conf) as u:
        yield u


def sized(n):
    """A message of n octets."""
    text = b"Subject: size\r\n\r\n"
    line = b"x" * 70 + b"\r\n"
    left = n - len(text)
    while left > 144:
        text += line
        left -= 72
    return text + b"y" * (left - 2) + b"\r\n"


@pytest.mark.parametrize("n, want", [(99, 250), (100, 250), (101, 452)])
def test_limit_recipients(tight, n, want):
    """RFC 5321 4.5.3.1.10: 452, and the ones before it are served."""
    with tight.smtp("rcpts") as c:
        c.ok("MAIL FROM:<a@b.test>")
        got = [c.cmd(f"RCPT TO:<u{i}@example.org>") for i in range(n)]
        assert all(r == 250 for r in got[:100])
        assert got[-1].code == want
        if want != 250:
            assert got[-1] == "452 4.5.3"
        assert c.data(MESSAGE) == 250


@pytest.mark.parametrize("size, want", [
    (10239, 250), (10240, 250), (10241, "552 5.3.4"), (2**31 - 1, "552 5.3.4"),
    (2**31, "552 5.3.4"), (2**32 + 1, "552 5.3.4"), (2**63, "552 5.3.4"),
    (10**19, "552 5.3.4"), (99999999999999999999, "552 5.3.4")])
def test_limit_size_announced(tight, size, want):
    with tight.smtp("size") as c:
        assert c.cmd(f"MAIL FROM:<a@b.test> SIZE={size}") == want


@pytest.mark.parametrize("chunk", [0, 1000, 1 << 20])
@pytest.mark.parametrize("size, ok", [
    (10239, 1), (10240, 1), (10241, 0), (100000, 0)])
def test_limit_size_in_octets(tight, size, ok, chunk):
    """Without SIZE= the octets themselves are counted; a lie about SIZE does
    not help."""
    for announce in ("", "SIZE=1"):
        with tight.smtp("size") as c:
            c.envelope("a@b.test", unique(), announce)
            text = sized(size)
            assert len(text) == size
            r = c.bdat(text, chunk) if chunk else c.data(text)
            assert r == ("250 2.0.0" if ok else "552 5.3.4")
            # The session goes on, from nothing, when all was read.
            if ok or not chunk:
                assert c.cmd("DATA") == "503 5.5.1"
                c.mail("a@b.test", unique(), MESSAGE)


def header(n):
    """A header block of n octets, its empty line included."""
    text = b""
    left = n - 2
    while left > 200:
        text += b"X: " + b"h" * 95 + b"\r\n"
        left -= 100
    return text + b"Y: " + b"h" * (left - 5) + b"\r\n\r\n"


@pytest.mark.parametrize("how", ["whole", "pieces", "bdat"])
@pytest.mark.parametrize("size, ok", [
    (2047, 1), (2048, 1), (2049, 0), (2100, 0), (60000, 0)])
def test_limit_header(tight, size, ok, how):
    text = header(size) + b"body\r\n"
    assert text.find(b"\r\n\r\n") + 4 == size
    with tight.smtp("header") as c:
        c.envelope("a@b.test", unique())
        if how == "bdat":
            r = c.bdat(text, 1 << 20)
        elif how == "whole":
            r = c.data(text)
        else:
            c.ok("DATA", 354)
            data = stuff(text)
            for i in range(0, len(data), 500):
                c.send(data[i:i + 500])
            r = c.reply()
        assert r == ("250 2.0.0" if ok else "552 5.3.4")


@pytest.mark.parametrize("n, ok", [(4093, 1), (4094, 1), (4095, 0), (9999, 0)])
def test_limit_command_line(tight, n, ok):
    """4096 octets with CRLF; longer ones end the session."""
    with tight.smtp("plain") as c:
        c.send("NOOP " + "x" * (n - 5) + "\r\n")
        r = c.reply()
        assert r == ("250 2.0.0" if ok else "500 5.5.2")
        if not ok:
            assert c.eof()


def test_limit_command_line_without_end(tight):
    """A line that never ends is not gathered for ever."""
    with tight.smtp("plain") as c:
        c.send("NOOP " + "x" * 4096)
        assert c.reply() == "500 5.5.2"
        assert c.eof()


def test_limit_commands(tight):
    with tight.smtp("commands") as c:       # EHLO is the first
        for _ in range(29):
            c.ok("NOOP")
        assert c.cmd("NOOP") == "421 4.7.0"
        assert c.eof()


def test_limit_commands_counts_from_the_last_message(tight):
    with tight.smtp("commands") as c:
        for _ in range(5):
            for _ in range(20):
                c.ok("NOOP")
            c.mail("a@b.test", unique(), MESSAGE)


def test_limit_errors(tight):
    with tight.smtp("errors") as c:
        for _ in range(4):
            assert c.cmd("WHAT") == "500 5.5.1"
        c.ok("NOOP")
        assert c.cmd("WHAT") == "500 5.5.1"
        assert c.reply() == "421 4.7.0"
        assert c.eof()


@pytest.mark.parametrize("door, want, reason", [
    ("conns", "421 4.3.2", "limits.connections"),
    ("source", "421 4.7.0", "limits.connections_per_source")])
def test_limit_connections(tight, door, want, reason):
    me = {"source": "127.0.0.7" if door == "conns" else "127.0.0.8"}
    held = [tight.smtp(door, **me) for _ in range(3)]
    mark = tight.mark()
    with tight.smtp(door, hello=False, **me) as c:
        assert c.greeting == want
        assert c.eof()
    tight.wait("session.refused", since=mark, reason=reason)
    held.pop().quit()
    # As soon as the server has seen the end there is room again.
    tight.wait("session.close", since=mark, reason="quit")
    with tight.smtp(door, **me) as c:
        c.ok("NOOP")
    for c in held:
        c.close()


def test_limit_connections_per_source_is_per_source(tight):
    held = [tight.smtp("source", source="127.0.0.5") for _ in range(3)]
    with tight.smtp("source", source="127.0.0.6") as c:
        c.ok("NOOP")
    for c in held:
        c.close()


def test_limit_connections_per_source_is_per_network(peer):
    """Of IPv6: who has one address of a /64 has all of them."""
    one = ["2001:db8:1::%x" % i for i in range(1, 5)]
    with network(["2001:db8::25", "2001:db8:1:1::1", *one]):
        conf = base(peer.port)
        conf["receive_connectors"] = [
            {"name": "six", "bind": ["[2001:db8::25]:2525"],
             "remote": ["::/0"], "permissions": ["submit"],
             "limits": {"connections_per_source": 3}}]
        with Umbra(conf) as u:
            def dial(source):
                return Smtp("2001:db8::25", 2525, source=source)

            held = [dial(a) for a in one[:3]]
            assert {c.greeting.code for c in held} == {220}
            refused = dial(one[3])
            assert refused.greeting == "421 4.7.0"
            other = dial("2001:db8:1:1::1")
            assert other.greeting.code == 220
            for c in (*held, refused, other):
                c.close()


@pytest.mark.parametrize("n, want", [
    (4, "250 2.0.0"), (5, "250 2.0.0"), (6, "554 5.4.6"), (200, "554 5.4.6")])
def test_limit_hops(tight, n, want):
    text = b"Received: by x; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * n + MESSAGE
    with tight.smtp("hops") as c:
        c.envelope("a@b.test", unique())
        assert c.data(text) == want


def test_limit_hops_sixty_by_default(relay):
    for n, want in (60, "250 2.0.0"), (61, "554 5.4.6"):
        with relay.smtp() as c:
            c.envelope("a@b.test", unique())
            assert c.data(b"received: x\r\n" * n + MESSAGE) == want


def test_received_in_the_body_does_not_count(relay):
    with relay.smtp() as c:
        c.envelope("a@b.test", unique())
        assert c.data(MESSAGE + b"Received: x\r\n" * 100) == 250


def test_connections_without_a_word(tight):
    """A client may connect and leave; nothing happens."""
    for _ in range(50):
        Smtp("127.0.0.1", tight.port("plain"), greet=False).close()
    with tight.smtp("plain") as c:
        c.ok("NOOP")


# --- life --------------------------------------------------------------------


def test_restart_keeps_the_queue(peer):
    """What was answered 250 is delivered after a stop, and after kill -9."""
    with Umbra(base(1)) as u:   # nobody listens on port 1
        one = u.send("a@b.test", "r1@example.org", MESSAGE)
        big = b"A: b\r\n\r\n" + b"0123456789\r\n" * 100000
        two = u.send("a@b.test", "r2@example.org", big)
        u.wait("nexthop.delayed")
        u.stop()
        u.start()
        got = u.seen("queue.recovered")[-1]
        assert got["messages"] == "2", got.text
        u.kill9()
        u.configure(base(peer.port))
        u.start()
        assert peer.to("r1@example.org").body == MESSAGE
        assert peer.to("r2@example.org").body == big
        u.wait("message.done", msg=one)
        u.wait("message.done", msg=two)
        u.restart()
        assert u.seen("queue.recovered")[-1]["messages"] == "0"
        for folder, _, files in os.walk(os.path.join(u.data, "bodies")):
            assert not files, (folder, files)


def test_second_instance_on_the_same_data(relay):
    """A clear message, and the first one is not disturbed."""
    with Umbra(start=False) as second:
        conf = base()
        conf["node"]["data"] = relay.data
        second.configure(conf)
        second.launch()
        assert second.died() == 69
        text = "\n".join(second.stray)
        assert relay.data in text, text
        assert re.search(r"another|in use|already|second", text), text
    with relay.smtp() as c:
        c.ok("NOOP")


def test_port_in_use(relay):
    with Umbra(start=False) as second:
        second.ports["relay"] = relay.port("relay")
        second.configure(base())
        second.launch()
        assert second.died() == 69
        assert str(relay.port("relay")) in "\n".join(second.stray)


@pytest.mark.parametrize("edit, want", [
    (("recipients: 100", "recipient: 100"),
     r":10:\d+: error: .*recipient.*did you mean \"recipients\""),
    (("recipients: 100", "recipients: 0"), r":10:\d+: error: "),
    (("type: authoritative", "type: authorative"),
     r":6:\d+: error: .*authoritative"),
    (("permissions: [submit]", "permissions: [submit, relay]"),
     r":\d+:\d+: error: .*relay"),
    (("name: mx.umbra.test", "name: mx.umbra.test\n  name: x.test"),
     r":3:\d+: error: "),
    (("send_connectors:", "send_conectors:"), r":11:1: error: .*send_connec"),
    (("message_size: 1MiB", "message_size: 1Mi"), r":10:\d+: error: "),
    (("- name: out", "- name: [out"), r":\d+:\d+: error: "),
    (("bind: [\"127.0.0.1:2525\"]", "bind: [nonsense]"),
     r":8:\d+: error: .*nonsense"),
], ids=range(9))
def test_bad_configuration(tmp_path, edit, want):
    """Exit 78 and FILE:LINE:COL: error: ..., by --check and by a start."""
    good = f"""node:
  name: mx.umbra.test
  data: {tmp_path}/data
control: {{ socket: {tmp_path}/s }}
accepted_domains:
  - {{ name: example.org, type: authoritative }}
receive_connectors:
  - {{ name: in, bind: ["127.0.0.1:2525"], remote: ["0.0.0.0/0"],
      permissions: [submit],
      limits: {{ recipients: 100, message_size: 1MiB }} }}
send_connectors:
  - name: out
    address_spaces: ["*"]
"""
    file = tmp_path / "umbra.yaml"

    def run(text, *more):
        file.write_text(text)
        return subprocess.run([UMBRAD, "-c", str(file), *more], text=True,
                              capture_output=True, timeout=60, check=False)

    p = run(good, "--check")
    assert p.returncode == 0, p.stderr
    assert edit[0] in good
    for more in ["--check"], []:
        p = run(good.replace(*edit), *more)
        assert p.returncode == 78, p
        assert re.search("^" + re.escape(str(file)) + want, p.stderr, re.M), \
            p.stderr
        assert "Sanitizer" not in p.stderr


def test_all_errors_at_once(tmp_path):
    file = tmp_path / "umbra.yaml"
    file.write_text("node: { nam: x }\nbogus: 1\nqueue: { memory: lots }\n")
    p = subprocess.run([UMBRAD, "-c", str(file), "--check"], text=True,
                       capture_output=True, timeout=60, check=False)
    assert p.returncode == 78
    for line in 1, 2, 3:
        assert f"{file}:{line}:" in p.stderr, p.stderr


def test_missing_configuration_and_usage(tmp_path):
    for args, want in [(["-c", str(tmp_path / "no.yaml")], 78), ([], 64),
                       (["-c", "x", "y"], 64), (["--bogus"], 64),
                       (["--version"], 0), (["--help"], 0)]:
        p = subprocess.run([UMBRAD, *args], capture_output=True, text=True,
                           timeout=60, check=False)
        assert p.returncode == want, (args, p)


def test_reload(peer):
    """SIGHUP: a good file goes live, sessions keep theirs, listeners that stay
    are not closed; a bad one changes nothing."""
    conf = base(peer.port)
    with Umbra(conf) as u:
        old = u.smtp("inbound")
        conf["accepted_domains"].append({"name": "new.test"})
        conf["receive_connectors"][0]["limits"]["recipients"] = 150
        conf["receive_connectors"].append(
            {"name": "third", "bind": ["127.0.0.1:{third}"]})
        assert u.reload(conf).event == "config.loaded"
        with u.smtp("third") as c:
            c.ok("NOOP")
        with u.smtp() as c:
            assert c.ext["LIMITS"] == "RCPTMAX=150"
        u.send("a@b.test", "x@new.test", MESSAGE, door="inbound")
        assert peer.to("x@new.test").body == MESSAGE
        old.mail("a@b.test", unique(), MESSAGE)
        old.close()
        # A bad one.
        bad = dict(conf, accepted_domains=[{"name": "new.test", "typ": "x"}])
        line = u.reload(bad)
        assert line.event == "config.refused" and "typ" in line["text"]
        assert re.search(r"umbra\.yaml:\d+:\d+: error:", line["text"])
        with u.smtp("third") as c:
            c.ok("NOOP")
        # A bind that is taken: nothing changes either.
        with Peer() as other:
            taken = dict(conf, receive_connectors=conf["receive_connectors"] +
                         [{"name": "no",
                           "bind": [f"127.0.0.1:{other.port}"]}])
            line = u.reload(taken)
            assert line.event == "config.refused", line.text
            assert str(other.port) in line["text"]
        # A bind that goes away.
        del conf["receive_connectors"][2]
        assert u.reload(conf).event == "config.loaded"
        with pytest.raises(OSError):
            u.smtp("third")
        with u.smtp() as c:
            c.mail("a@b.test", unique(), MESSAGE)


def test_stop_says_421_to_idle_sessions(peer):
    with Umbra(base(peer.port)) as u:
        c = u.smtp()
        u.stop()
        assert c.reply() == "421 4.3.2"
        assert c.eof()


def test_stop_waits_for_a_message(peer):
    """A session in DATA may finish; its message is not lost."""
    with Umbra(base(peer.port)) as u:
        to = unique()
        c = u.smtp()
        c.envelope("a@b.test", to)
        c.ok("DATA", 354)
        c.send("Subject: x\r\n\r\nhalf")
        u.signal(signal.SIGTERM)
        u.wait("node.stopping")
        with pytest.raises((OSError, Closed)):
            u.smtp()
        assert u.running()
        c.send(" and half\r\n.\r\n")
        r = c.reply()
        assert r == 250
        msg = queued_as(r)
        assert c.cmd("NOOP") == 421
        assert u.died() == 0
        if not [m for m in peer.messages if to in m.to]:
            u.start()
            peer.to(to)
            u.wait("message.done", msg=msg)


def test_stop_cuts_who_does_not_finish(peer):
    conf = base(peer.port)
    conf["node"]["stop_timeout"] = "1s"
    with Umbra(conf) as u:
        c = u.smtp()
        c.envelope("a@b.test", unique())
        c.ok("DATA", 354)
        c.send("Subject: x\r\n\r\nhalf")
        u.stop()
        assert c.reply() == 421
        assert c.eof()
        u.start()
        assert u.seen("queue.recovered")[-1]["messages"] == "0"


def test_readiness_notification(peer):
    """sd_notify: READY=1 when it is, STOPPING=1 when it goes."""
    import socket
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(LONG)
            with Umbra(base(peer.port), env={"NOTIFY_SOCKET": path}) as u:
                assert s.recv(100) == b"READY=1"
                u.reload()
                assert s.recv(100).startswith(b"RELOADING=1")
                assert s.recv(100) == b"READY=1"
                u.stop()
                assert s.recv(100) == b"STOPPING=1"


def test_data_dir_that_cannot_be_made():
    with Umbra(start=False) as u:
        conf = base()
        conf["node"]["data"] = "/proc/umbra"
        u.configure(conf)
        u.launch()
        assert u.died() == 69
        assert "/proc/umbra" in "\n".join(u.stray), u.stray


def test_client_that_disappears(relay):
    """A lost connection in each state leaves nothing behind."""
    mark = relay.mark()
    steps = ["MAIL FROM:<a@b.test>\r\n", "RCPT TO:<gone@example.org>\r\n",
             "DATA\r\n", "Subject: x\r\n", "\r\nbody\r\n.\r"]
    for n in range(len(steps) + 1):
        with relay.smtp() as c:
            for s in steps[:n]:
                c.send(s)
    relay.wait("session.close", since=mark, count=len(steps) + 1)
    assert not relay.seen("message.accepted", since=mark)
    until(lambda: not relay.seen("node.fatal", since=mark), 1)
