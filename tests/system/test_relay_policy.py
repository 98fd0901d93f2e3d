"""T16: who may send where: addresses that try to get around it.

Each row is a recipient as a client writes it, and what a client that may only
submit hears, and one that may relay. What is accepted is passed on as the
address that was judged, octet by octet: the column "routed", when it differs
from what was written.
"""
import pytest

from peer import Peer
from umbra import Umbra, base
from wait import until

OK, DENIED, SYNTAX, UTF8 = "250 2.1.5", "550 5.7.1", "501 5.1.3", "553 5.6.7"

#: For everybody.
GOOD = [
    "user@example.org", "USER@EXAMPLE.ORG", "User@Example.Org",
    "user@sub.example.org", "user@a.b.c.example.org", "user+tag@example.org",
    "first.last@example.org", '"quoted"@example.org', '"a b"@example.org',
    '"a,b"@example.org', '"a;b:c"@example.org', '"a<b>c"@example.org',
    r'"a\"b"@example.org', r'"a\\b"@example.org', "o'neil@example.org",
    "user=tag@example.org", "a/b@example.org", "a|b@example.org",
    "{x}@example.org", "$x*#^~`?&@example.org", "a-b_c@example.org",
    "1@example.org", "x" * 64 + "@example.org", "IMCEAEX-_O=A@example.org",
    "u@" + "a" * 63 + ".example.org",
    # No MX trick: these are names inside ours.
    "user@remote.test.example.org", "user@localhost.example.org",
    "user@127.0.0.1.example.org", "user@xn--bcher-kva.example.org",
]

#: The route is dropped and the rest judged.
ROUTES = [
    ("@a.test:user@example.org", OK, "user@example.org"),
    ("@a.test,@b.test:user@example.org", OK, "user@example.org"),
    ("@example.org:user@example.org", OK, "user@example.org"),
    ("@example.org:user@remote.test", DENIED, "user@remote.test"),
    ("@example.org,@example.org:user@remote.test", DENIED,
     "user@remote.test"),
    ("@remote.test,@example.org:user@remote.test", DENIED,
     "user@remote.test"),
    ("@example.org:user%remote.test@example.org", DENIED,
     "user%remote.test@example.org"),
]

#: Not for those who may only submit.
RELAY = [
    # Other domains, and names that look like ours.
    "user@remote.test", "user@example.com", "user@example.org.remote.test",
    "user@notexample.org", "user@xexample.org", "user@example.orgx",
    "user@org", "user@example", "user@localhost", "user@mx.umbra.test",
    "user@example_org.test", "user@xn--example-6q4e.org",
    # Routing in the local part: percent, bang, at, encapsulated.
    "user%remote.test@example.org", "user%remote.test%x@example.org",
    "%@example.org", "user%@example.org", "%remote.test@example.org",
    "remote.test!user@example.org", "!user@example.org",
    "a!b!user@example.org", "user!@example.org",
    '"user@remote.test"@example.org', '"user@"@example.org',
    '"@remote.test"@example.org', r'"user\@remote.test"@example.org',
    '"user%remote.test"@example.org', '"remote.test!user"@example.org',
    '"@a.test:user@remote.test"@example.org',
    '"<user@remote.test>"@example.org',
    "IMCEASMTP-user+40remote+2Etest@example.org",
    "imceasmtp-user+40remote@example.org", '"IMCEAX400-c=x"@example.org',
    # Programs, files, includes, options, odd ends.
    "|cmd@example.org", '"|/bin/sh"@example.org', "/etc/passwd@example.org",
    '"/etc/passwd"@example.org', '":include:/etc/passwd"@example.org',
    "-f@example.org", '"-oQ/tmp"@example.org', '" user"@example.org',
    '"user "@example.org', '".user"@example.org', '"user."@example.org',
    r'"\user"@example.org', r'"user\\"@example.org',
    # Address literals are nobody's domain.
    "user@[127.0.0.1]", "user@[192.0.2.1]", "user@[IPv6:::1]",
    "user@[IPv6:::ffff:127.0.0.1]", "user@[IPv6:2001:db8::1]",
]

#: Nobody may write these.
BAD = [
    "", "user", "@", "@example.org", "user@", "user@@example.org",
    "user@remote.test@example.org", "user@example.org@remote.test",
    "user@example.org.", "user@localhost.", "user@.", "user@.example.org",
    "user@example..org", "user@-x.example.org", "user@x-.example.org",
    "user@127.0.0.1", "user@1", "user@[127.0.0.1", "user@127.0.0.1]",
    "user@[127.0.0.1]x", "user@[300.1.1.1]", "user@[127.1]", "user@[]",
    "user@[example.org]", "user@[::1]", "user@[IPv6:zz]", "user@[IPv6:]",
    "user@[IPv6:::1%lo]", ".user@example.org", "user.@example.org",
    "us..er@example.org", "us er@example.org", "us(c)er@example.org",
    "user@exam(c)ple.org", "user@exa mple.org", "user@example.org(c)",
    '"user@example.org', '"user"x@example.org', 'x"user"@example.org',
    '""x@example.org', "user,other@example.org", "user;x@example.org",
    "user@example.org,other@remote.test", "user@example.org;remote.test",
    "<user@example.org>",
    "mailto:user@example.org", "user@example.org:25", "user@example.org/x",
    "user@example.org%remote.test", "remote.test!user@example.org!x",
    r"user\@remote.test@example.org", r"user@exa\mple.org",
    "@remote.test:", "@remote.test user@example.org", "@remote.test,:u@x.test",
    "@:user@example.org", ",@a.test:user@example.org",
    "u@" + "a" * 64 + ".example.org", "u@" + "a." * 130 + "example.org",
    "\tuser@example.org", "user@example.org\t",
]

#: With SMTPUTF8: (address, inbound, relay). Without it: 553 or 501.
WIDE = [
    ("us\u00e9r@example.org", OK, OK),
    ("\u7528\u6237@example.org", OK, OK),
    # NFC and NFD twins are different mailboxes of ours, passed on as they are.
    ("use\u0301r@example.org", OK, OK),
    # Full-width and small at, percent, bang: what a next hop may fold.
    ("user\uff20remote.test@example.org", DENIED, OK),
    ("user\ufe6bremote.test@example.org", DENIED, OK),
    ("user\uff05remote.test@example.org", DENIED, OK),
    ("user\ufe6aremote.test@example.org", DENIED, OK),
    ("remote.test\uff01user@example.org", DENIED, OK),
    ("remote.test\ufe57user@example.org", DENIED, OK),
    ('"user\uff20remote.test"@example.org', DENIED, OK),
    ("user@remote.test\uff20example.org", None, None),
    ("user@\u0435xample.org", DENIED, None),       # a Cyrillic e
    ("user@remote\uff0etest", SYNTAX, SYNTAX),      # a full-width dot
    ("user@xn--bcher-kva.test", OK, OK),
    ("user@bucher.test", DENIED, OK),
    ("user@xn--bcher-kva.remote.test", DENIED, OK),
]
#: The accepted domain b\u00fccher.test, as people write it.
U_LABELS = ["user@b\u00fccher.test", "user@B\u00dcCHER.test",
            "user@bu\u0308cher.test"]
INVALID = [b"us\xe9r@example.org", b"\xff@example.org", b"a\xc0\xaf@example.org",
           b"user@ex\xe4mple.org", b"a\xc2\x85b@example.org",
           b"\xed\xa0\x80@example.org", b"a\xc0\x80@example.org"]


@pytest.fixture(scope="module")
def peer():
    with Peer() as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer):
    conf = base(peer.port)
    conf["accepted_domains"].append({"name": "b\u00fccher.test"})
    for r in conf["receive_connectors"]:
        r["limits"].update(errors=1000)
    conf["receive_connectors"].append(
        {"name": "nothing", "bind": ["127.0.0.1:{nothing}"],
         "remote": ["127.0.0.0/8"], "permissions": ["any_sender"],
         "limits": {"connections_per_source": 100}})
    with Umbra(conf) as u:
        yield u


def rows():
    for a in GOOD:
        yield a, OK, OK, a
    for a, want, routed in ROUTES:
        yield a, want, OK, routed
    for a in RELAY:
        yield a, DENIED, OK, a
    for a in BAD:
        yield a, SYNTAX, SYNTAX, None


ROWS = list(rows())
ids = iter(range(10000))


def deliver(relay, peer, c, routed):
    """Sends the message; the address as the next hop hears it."""
    n = next(ids)
    r = c.data(f"Subject: {n}\r\n\r\n{routed}\r\n")
    assert r == 250, r
    got = peer.find(lambda m: m.data.find(f"Subject: {n}\r\n".encode()) > 0)
    assert got.to == [routed]


def test_the_table_is_large():
    assert len(ROWS) + len(WIDE) >= 120
    assert len({r[0] for r in ROWS}) == len(ROWS)


@pytest.mark.parametrize("door", ["inbound", "relay"])
@pytest.mark.parametrize("sender", [
    "outside@b.test", "", "user@example.org", "postmaster@mx.umbra.test"])
@pytest.mark.parametrize("hello", [
    "client.test", "mx.umbra.test", "example.org", "[127.0.0.1]"])
def test_table(relay, door, sender, hello):
    """No sender and no HELO name changes what the connector permits."""
    wrong = []
    with relay.smtp(door, hello=False) as c:
        c.ehlo(hello)
        for address, inbound, relaying, _ in ROWS:
            c.ok(f"MAIL FROM:<{sender}>")
            r = c.cmd(f"RCPT TO:<{address}>")
            want = inbound if door == "inbound" else relaying
            if r != want:
                wrong.append((address, want, r))
            c.ok("RSET")
    assert not wrong


def test_denied_whatever_came_before(relay):
    """A refusal is one also after accepted recipients, and BDAT or DATA with
    nobody accepted does not work."""
    with relay.smtp("inbound") as c:
        for address in RELAY:
            c.envelope("a@b.test", "user@example.org")
            assert c.cmd(f"RCPT TO:<{address}>") == DENIED, address
            c.ok("RSET")
            c.ok("MAIL FROM:<a@b.test>")
            assert c.cmd(f"RCPT TO:<{address}>") == DENIED
            assert c.cmd("DATA") == "554 5.5.1"
            c.ok("RSET")


@pytest.mark.parametrize("door", ["inbound", "relay"])
def test_the_address_judged_is_the_address_routed(relay, peer, door):
    """Byte for byte, for each row that is accepted."""
    with relay.smtp(door) as c:
        for address, inbound, relaying, routed in ROWS:
            if (inbound if door == "inbound" else relaying) != OK:
                continue
            c.envelope("a@b.test", address)
            deliver(relay, peer, c, routed)


@pytest.mark.parametrize("door", ["inbound", "relay"])
def test_wide_characters(relay, peer, door):
    wrong = []
    with relay.smtp(door) as c:
        for address, inbound, relaying in WIDE:
            want = inbound if door == "inbound" else relaying
            c.ok("MAIL FROM:<a@b.test> SMTPUTF8")
            r = c.cmd(f"RCPT TO:<{address}>")
            if want and r != want or not want and door == "inbound" and \
                    r.code == 250:
                wrong.append((address, want, r))
            if want == OK and r == OK:
                deliver(relay, peer, c, address)
            else:
                c.ok("RSET")
            # Not without SMTPUTF8.
            if not address.isascii():
                c.ok("MAIL FROM:<a@b.test>")
                r = c.cmd(f"RCPT TO:<{address}>")
                if r != UTF8 and r != SYNTAX:
                    wrong.append((address, "without SMTPUTF8", r))
                c.ok("RSET")
    assert not wrong


@pytest.mark.parametrize("address", U_LABELS)
@pytest.mark.parametrize("door", ["inbound", "relay"])
def test_u_labels_are_the_domain_of_their_a_labels(relay, peer, door,
                                                   address):
    """RFC 5891: the same domain, so it is ours; the address goes on as it
    was written."""
    with relay.smtp(door) as c:
        c.envelope("a@b.test", address, "SMTPUTF8")
        deliver(relay, peer, c, address)


def test_invalid_utf8(relay):
    for door in "inbound", "relay":
        with relay.smtp(door) as c:
            for address in INVALID:
                c.ok("MAIL FROM:<a@b.test> SMTPUTF8")
                c.send(b"RCPT TO:<" + address + b">\r\n")
                assert c.reply() == SYNTAX, address
                c.ok("RSET")


@pytest.mark.parametrize("line", [
    "RCPT TO:user@example.org", "RCPT TO: user@example.org",
    "RCPT TO <user@example.org>", "RCPT TO:<user@example.org",
    "RCPT TO:user@example.org>", "RCPT TO:<user@example.org> <x@remote.test>",
    "RCPT TO:<user@example.org>,<x@remote.test>",
    "RCPT TO:<user@example.org>x", "RCPT <user@example.org>", "RCPT",
    "RCPT TO:", "RCPT TO:<user@example.org> TO:<x@remote.test>",
    'RCPT TO:"User" <user@example.org>'])
def test_syntax_of_the_command(relay, line):
    for door in "inbound", "relay":
        with relay.smtp(door) as c:
            c.ok("MAIL FROM:<a@b.test>")
            assert c.cmd(line).code in (501, 555)
            assert c.cmd("DATA").code in (503, 554)


def test_orcpt_and_auth_are_not_addresses_to_route(relay, peer):
    """What stands in ORCPT or AUTH= neither permits nor routes."""
    with relay.smtp("inbound") as c:
        c.ok("MAIL FROM:<a@b.test> AUTH=user@example.org")
        assert c.cmd("RCPT TO:<x@remote.test> ORCPT=rfc822;user@example.org"
                     ) == DENIED
        c.ok("RSET")
        c.envelope("a@b.test", "user@example.org", "AUTH=<>",
                   "ORCPT=rfc822;x@remote.test")
        deliver(relay, peer, c, "user@example.org")


def test_without_any_permission(relay):
    with relay.smtp("nothing") as c:
        for address in "user@example.org", "user@remote.test":
            c.ok("MAIL FROM:<a@b.test>")
            assert c.cmd(f"RCPT TO:<{address}>") == DENIED
            c.ok("RSET")


def test_refusals_are_logged(relay):
    mark = relay.mark()
    with relay.smtp("inbound") as c:
        c.ok("MAIL FROM:<spam\"@b.test>", 501)
        c.ok("MAIL FROM:<spam@b.test>")
        assert c.cmd("RCPT TO:<victim@remote.test>") == DENIED
    line = relay.wait("session.recipient_refused", since=mark,
                      to="<victim@remote.test>")
    assert line["code"] == "550"
    assert line["from"] == "<spam@b.test>" and line["client"] == "127.0.0.1"
    until(lambda: relay.running(), 1)
