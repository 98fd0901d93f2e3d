"""T2: STARTTLS, both directions.

Octets sent in clear behind STARTTLS, or behind the 220 to ours, end the
connection and are never looked at. A session starts from nothing after the
handshake. Modes, versions, reload of certificates, and what is said when a
pair cannot be used.
"""
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile

import pytest

import certs
from peer import DROP, Peer, server_tls
from smtp import Closed, Smtp, trusting
from umbra import UMBRAD, Umbra, base
from wait import LONG, until

MESSAGE = b"Subject: tls\r\n\r\nsecret\r\n"


def with_tls(conf, pair, mode="offer", also=()):
    for r in conf["receive_connectors"]:
        r["tls"] = {"mode": mode, "cert": pair[0], "key": pair[1]}
    for name, m in also:
        conf["receive_connectors"].append(
            {"name": name, "bind": ["127.0.0.1:{%s}" % name],
             "remote": ["127.0.0.0/8"], "permissions": ["submit", "relay"],
             "limits": {"connections_per_source": 100},
             "tls": {"mode": m, "cert": pair[0], "key": pair[1]}})
    return conf


@pytest.fixture(scope="module")
def peer():
    with Peer() as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer, pair):
    conf = with_tls(base(peer.port), pair,
                    also=[("require", "require"), ("implicit", "implicit")])
    with Umbra(conf) as u:
        yield u


# --- as a server -------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions(relay, peer, version):
    """1.2 and 1.3; the Received field says which, and the log too."""
    ctx = trusting()
    ctx.minimum_version = ctx.maximum_version = getattr(
        ssl.TLSVersion, version)
    to = f"{version.lower()}@example.org"
    mark = relay.mark()
    with relay.smtp() as c:
        assert "STARTTLS" in c.ext
        c.starttls(ctx)
        c.ehlo()
        assert "STARTTLS" not in c.ext
        c.mail("a@b.test", to, MESSAGE)
        name = c.sock.version()
        cipher = c.sock.cipher()[0]
    got = peer.to(to)
    assert f"with ESMTPS (" f"{name}:{cipher}) id " in re.sub(
        r"\s+", " ", got.data.decode())
    assert relay.wait("message.accepted", since=mark)["tls"] == name
    assert relay.wait("session.tls", since=mark)["version"] == name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_are_refused(relay, version):
    ctx = trusting()
    ctx.minimum_version = getattr(ssl.TLSVersion, version)
    ctx.maximum_version = getattr(ssl.TLSVersion, version)
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    with relay.smtp() as c:
        with pytest.raises((ssl.SSLError, OSError)):
            c.starttls(ctx)


@pytest.mark.parametrize("more", [
    b"NOOP\r\n", b"\r\n", b"x", b"EHLO x\r\nMAIL FROM:<evil@b.test>\r\n",
    b"RSET\r\nMAIL FROM:<evil@b.test>\r\nRCPT TO:<a@example.org>\r\n"])
def test_injected_commands_end_the_connection(relay, more):
    """CVE-2011-0411 and its many sisters: in one segment."""
    with relay.smtp() as c:
        c.send(b"STARTTLS\r\n" + more)
        r = c.reply()
        assert r.code in (501, 554), r
        assert c.eof()


@pytest.mark.parametrize("more", [b"NOOP\r\n", b"MAIL FROM:<evil@b.test>\r\n"])
@pytest.mark.parametrize("wait", [0, 1])
def test_injected_commands_in_a_segment_of_their_own(relay, more, wait):
    """What follows arrives separately: it is handshake material then, which
    it cannot be. Nothing is answered, inside TLS or outside."""
    with relay.smtp() as c:
        c.send(b"STARTTLS\r\n")
        if wait:
            assert c.reply() == 220
        c.send(more)
        rest = b""
        try:
            while True:
                got = c.sock.recv(65536)
                if not got:
                    break
                rest += got
        except OSError:
            pass
        rest = c.buf + rest
        # At most one reply in clear, and perhaps a TLS alert.
        assert len(re.findall(rb"^[245]\d\d ", rest, re.M)) <= 1, rest
        assert b"250" not in rest
    with relay.smtp() as c:
        c.ok("NOOP")


def test_injection_before_the_handshake_in_its_segment(relay):
    """NOOP and a ClientHello in one write behind STARTTLS."""
    out = ssl.MemoryBIO()
    obj = trusting().wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        obj.do_handshake()
    with relay.smtp() as c:
        c.send(b"STARTTLS\r\nNOOP\r\n", out.read())
        assert c.reply().code in (501, 554)
        assert c.eof()


def test_client_hello_sent_ahead_is_not_taken_either(relay):
    """RFC 3207: the client waits for the 220."""
    out = ssl.MemoryBIO()
    obj = trusting().wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        obj.do_handshake()
    with relay.smtp() as c:
        c.send(b"STARTTLS\r\n", out.read())
        assert c.reply().code in (501, 554)
        assert c.eof()


def test_session_starts_from_nothing(relay, peer):
    """RFC 3207 4.2: EHLO, sender and recipients are forgotten."""
    with relay.smtp() as c:
        c.envelope("old@b.test", "old@example.org")
        c.starttls()
        for line in "MAIL FROM:<x@b.test>", "DATA", "RCPT TO:<a@example.org>":
            assert c.cmd(line) == "503 5.5.1", line
        c.ehlo("second.test")
        assert c.cmd("DATA") == "503 5.5.1"
        assert c.cmd("RCPT TO:<a@example.org>") == "503 5.5.1"
        assert c.cmd("STARTTLS") == "503 5.5.1"
        c.mail("new@b.test", "new@example.org", MESSAGE)
    got = peer.to("new@example.org")
    assert got.to == ["new@example.org"] and got.sender == "new@b.test"
    assert b"from second.test" in got.data


def test_starttls_in_the_middle_of_chunks(relay):
    with relay.smtp() as c:
        c.envelope("a@b.test", "chunk@example.org")
        c.send("BDAT 5\r\nabcde")
        assert c.reply() == 250
        c.starttls()
        c.ehlo()
        assert c.cmd("BDAT 0 LAST") == "503 5.5.1"


@pytest.mark.parametrize("arg, want", [
    ("STARTTLS now", "501 5.5.4"), ("STARTTLS", 220), ("starttls", 220)])
def test_starttls_argument(relay, arg, want):
    with relay.smtp() as c:
        assert c.cmd(arg) == want


def test_require(relay, peer):
    """Before TLS: 530 to all that carries mail."""
    with relay.smtp("require") as c:
        for line in ("MAIL FROM:<a@b.test>", "RCPT TO:<a@example.org>",
                     "DATA", "VRFY x", "HELP"):
            assert c.cmd(line) == "530 5.7.0", line
        # The octets of a chunk are not commands either.
        c.send("BDAT 6 LAST\r\nQUIT\r\n")
        assert c.reply() == "530 5.7.0"
        for line in "NOOP", "RSET", "EHLO again":
            c.ok(line)
        c.starttls()
        c.ehlo()
        c.mail("a@b.test", "require@example.org", MESSAGE)
    assert peer.to("require@example.org").body == MESSAGE


def test_implicit(relay, peer):
    """TLS from the first octet, as on port 465."""
    with relay.smtp("implicit", tls=trusting()) as c:
        assert "STARTTLS" not in c.ext
        assert c.cmd("STARTTLS") == "503 5.5.1"
        c.mail("a@b.test", "implicit@example.org", MESSAGE)
    assert b"with ESMTPS" in peer.to("implicit@example.org").data


def test_clear_text_to_implicit(relay):
    mark = relay.mark()
    with Smtp("127.0.0.1", relay.port("implicit"), greet=False) as c:
        c.send("EHLO x\r\n")
        c.eof()
    relay.wait("session.tls", since=mark)
    with relay.smtp("implicit", tls=trusting()) as c:
        c.ok("NOOP")


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\xff\xff" + b"\0" * 70000, b"\x80\x2e\x01\x03\x01",
    b"\x16\x03\x01\x00\x00", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100])
def test_garbage_instead_of_a_handshake(relay, garbage):
    with relay.smtp() as c:
        c.ok("STARTTLS", 220)
        try:
            c.send(garbage)
            c.sock.shutdown(socket.SHUT_WR)
            while c.sock.recv(65536):
                pass
        except OSError:
            pass
    with relay.smtp() as c:
        c.ok("NOOP")


def test_closed_in_the_middle_of_a_handshake(relay):
    mark = relay.mark()
    for n in 1, 5, 50, 200:
        out = ssl.MemoryBIO()
        obj = trusting().wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
        with pytest.raises(ssl.SSLWantReadError):
            obj.do_handshake()
        with relay.smtp() as c:
            c.ok("STARTTLS", 220)
            c.send(out.read()[:n])
    relay.wait("session.close", since=mark, count=4)


def test_large_message_under_tls(relay, peer):
    text = b"A: b\r\n\r\n" + os.urandom(3000000).hex().encode()
    text = re.sub(rb"(.{900})", rb"\1\r\n", text) + b"\r\n"
    with relay.smtp() as c:
        c.starttls()
        c.ehlo()
        c.mail("a@b.test", "large@example.org", text)
    assert peer.to("large@example.org").body == text


def test_reset_inside_tls(relay):
    """A TCP reset in the middle of DATA under TLS: no message, no harm."""
    mark = relay.mark()
    with relay.smtp() as c:
        c.starttls()
        c.ehlo()
        c.envelope("a@b.test", "reset@example.org")
        c.ok("DATA", 354)
        c.send(b"Subject: x\r\n\r\n" + b"x" * 100000)
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack("ii", 1, 0))
    relay.wait("session.close", since=mark)
    assert not relay.seen("message.accepted", since=mark)


# --- certificates: reload, and pairs that cannot be used ---------------------


def shown_cert(u, door="relay"):
    with u.smtp(door) as c:
        c.starttls()
        return c.sock.getpeercert(True)


def test_reload_takes_a_new_certificate(peer, tmp_path):
    """SIGHUP: new connections see the new one, old ones go on; a pair that
    cannot be used changes nothing and says why."""
    pair = certs.self_signed(str(tmp_path), "one.test", "live")
    with Umbra(with_tls(base(peer.port), pair)) as u:
        first = shown_cert(u)
        old = u.smtp()
        old.starttls()
        old.ehlo()
        new = certs.self_signed(str(tmp_path), "two.test", "new")
        for i in range(2):
            shutil.copy(new[i], pair[i])
        assert u.reload().event == "config.loaded"
        second = shown_cert(u)
        assert second != first
        old.mail("a@b.test", "old@example.org", MESSAGE)
        old.close()
        # The key of another pair.
        other = certs.self_signed(str(tmp_path), "three.test", "other")
        shutil.copy(other[1], pair[1])
        line = u.reload()
        assert line.event == "config.refused"
        assert "does not match" in line["text"] and pair[1] in line["text"]
        assert shown_cert(u) == second


def break_missing(cert, key):
    os.unlink(key)
    return key, r"No such file"


def break_mode(cert, key):
    os.chmod(key, 0)
    return key, r"denied|permission"


def break_empty(cert, key):
    open(cert, "w").close()
    return cert, r"certificate"


def break_garbage(cert, key):
    with open(key, "w", encoding="ascii") as f:
        f.write("-----BEGIN PRIVATE KEY-----\nAAAA\n"
                "-----END PRIVATE KEY-----\n")
    return key, r"key"


def break_swapped(cert, key):
    shutil.copy(cert, key)
    return key, r"key"


def break_pair(cert, key):
    other = certs.self_signed(os.path.dirname(key), "else.test")
    shutil.copy(other[1], key)
    return key, r"does not match certificate .*SHA-256"


def break_directory(cert, key):
    os.unlink(cert)
    os.mkdir(cert)
    return cert, r"directory"


@pytest.mark.parametrize("how", [
    break_missing, break_mode, break_empty, break_garbage, break_swapped,
    break_pair, break_directory])
@pytest.mark.parametrize("check", [True, False], ids=["check", "start"])
def test_pairs_that_cannot_be_used(how, check):
    """The file, the reason and the connector are named, and it is 78."""
    with tempfile.TemporaryDirectory(prefix="umbra-", dir="/tmp") as folder:
        pair_cannot_be_used(folder, how, check)


def pair_cannot_be_used(folder, how, check):
    cert, key = certs.self_signed(folder)
    file, want = how(cert, key)
    with Umbra(with_tls(base(), (cert, key)), start=False) as u:
        run = [UMBRAD, "-c", u.file] + (["--check"] if check else [])
        if how is break_mode and os.getuid() == 0:
            # root reads everything: somebody else must try.
            for path in u.dir, folder:
                os.chmod(path, 0o755)
            os.chmod(u.file, 0o644)
            run = ["setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups"] + run
            if subprocess.run(run[:4] + ["test", "-x", UMBRAD],
                              check=False).returncode or \
                    subprocess.run(run[:4] + ["test", "-e", key],
                                   check=False).returncode:
                pytest.skip("another user cannot reach the test's files")
        p = subprocess.run(run, capture_output=True, text=True, timeout=60,
                           check=False)
    assert p.returncode == 78, p
    assert file in p.stderr and re.search(want, p.stderr, re.I), p.stderr
    assert "relay" in p.stderr
    if how is break_mode:
        # Owner, mode, our uid, and what to type (reliability.md 5).
        assert "65534" in p.stderr and re.search(r"mode 0?000|0000", p.stderr)
        assert re.search(r"ch(mod|own|grp)|setfacl|install", p.stderr)


# --- as a client -------------------------------------------------------------


@pytest.fixture(scope="module")
def ctx(pair):
    return server_tls(*pair)


def out(peer, mode, **tls):
    conf = base(peer.port)
    conf["send_connectors"][0]["tls"] = {"mode": mode, **tls}
    conf["send_connectors"][0]["timeouts"] = {"idle": "0s"}
    return conf


def test_opportunistic(ctx):
    with Peer(tls=ctx) as p, Umbra(out(p, "opportunistic")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        got = p.wait()
        assert got.conn.tls == "TLSv1.3" and got.body == MESSAGE
        # EHLO again after the handshake, nothing else before it.
        assert [x.split()[0] for x in got.conn.log[:4]] == [
            "EHLO", "STARTTLS", "EHLO", "MAIL"]
        assert u.wait("delivery.sent")["tls"].startswith("TLSv1.3:")


def test_opportunistic_in_clear_when_not_offered():
    with Peer() as p, Umbra(out(p, "opportunistic")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        assert p.wait().conn.tls is None


@pytest.mark.parametrize("refusal", ["454 4.7.0 not now", "554 5.7.0 no"])
def test_opportunistic_when_starttls_is_refused(ctx, refusal):
    with Peer(tls=ctx, on={"STARTTLS": refusal}) as p, \
            Umbra(out(p, "opportunistic")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        assert p.wait().conn.tls is None


def test_opportunistic_when_the_handshake_fails():
    """A broken TLS stack does not keep mail that may go in clear."""
    def garbage(conn, line):
        return b"220 go\r\n"

    with Peer(on={"STARTTLS": garbage}) as p:
        p.ext = p.ext + ("STARTTLS",)
        with Umbra(out(p, "opportunistic")) as u:
            u.send("a@b.test", "x@example.org", MESSAGE)
            got = p.wait()
            assert got.conn.tls is None and got.conn.number >= 1


def test_none_never(ctx):
    with Peer(tls=ctx) as p, Umbra(out(p, "none")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        got = p.wait()
        assert got.conn.tls is None
        assert not [x for x in got.conn.log if x.startswith("STARTTLS")]


@pytest.mark.parametrize("mode", ["encrypt", "verify"])
@pytest.mark.parametrize("how", ["absent", "refused", "broken"])
def test_required_tls_is_not_given_up(ctx, mode, how):
    """No mail in clear: it waits, and the log says why."""
    on = {"refused": {"STARTTLS": "454 4.7.0 not now"},
          "broken": {"STARTTLS": [b"220 go\r\n", DROP]}}.get(how, {})
    with Peer(tls=None if how == "absent" else ctx, on=on) as p, \
            Umbra(out(p, mode)) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        line = u.wait("nexthop.delayed")
        assert re.search("TLS|STARTTLS|not now|lost", line["said"]), line.text
        assert not p.messages
        for c in p.conns:
            assert not [x for x in c.log if x.startswith(("MAIL", "RCPT"))]
        p.ext, p.on, p.tls = p.ext, {}, ctx
        if mode == "encrypt":
            assert p.wait().conn.tls


def test_verify(tmp_path):
    """The right authority and the right name, or nothing."""
    ca = certs.self_signed(str(tmp_path), "ca.test")
    good = certs.signed(str(tmp_path), ca, "mail.partner.test")
    wrong = certs.signed(str(tmp_path), ca, "mail.other.test")
    alien = certs.self_signed(str(tmp_path), "mail.partner.test", "alien")
    with Peer(tls=server_tls(*alien)) as p, \
            Umbra(out(p, "verify", name="mail.partner.test",
                      ca=ca[0])) as u:
        msg = u.send("a@b.test", "x@example.org", MESSAGE)
        u.wait("nexthop.delayed")
        p.tls = server_tls(*wrong)
        u.wait("host.failed", count=3)
        assert not p.messages
        for c in p.conns:
            assert not [x for x in c.log if x.startswith("MAIL")]
        p.tls = server_tls(*good)
        assert p.wait().conn.tls
        assert u.wait("delivery.sent", msg=msg)["tls"].endswith(":verified")


@pytest.mark.parametrize("inject", [
    b"250 ok\r\n", b"250-peer.test\r\n250 8BITMIME\r\n", b"x", b"\r\n",
    b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 taken\r\n"])
@pytest.mark.parametrize("mode", ["opportunistic", "encrypt"])
def test_response_injection(ctx, inject, mode):
    """CVE-2021-38371: octets behind the 220 to STARTTLS end the connection;
    they are never taken for replies inside TLS."""
    hit = []

    def reply(conn, line):
        if conn.number == 0:
            hit.append(conn)
            return b"220 2.0.0 go\r\n" + inject
        return None

    with Peer(tls=ctx, on={"STARTTLS": reply}) as p, \
            Umbra(out(p, mode)) as u:
        msg = u.send("a@b.test", "x@example.org", MESSAGE)
        got = p.wait()
        assert hit and got.conn is not hit[0]
        assert not [x for x in hit[0].log if x.startswith("MAIL")]
        assert got.body == MESSAGE
        u.wait("message.done", msg=msg)
        assert len(p.messages) == 1
        if mode == "encrypt":
            assert got.conn.tls


def test_extensions_of_the_clear_text_are_forgotten(ctx):
    """What EHLO said before TLS may come from somebody in between."""
    def second(conn, line):
        if conn.tls:
            return "250-peer.test\r\n250 SIZE 1000000"
        return None

    with Peer(tls=ctx, on={"EHLO": second}) as p, \
            Umbra(out(p, "opportunistic")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE, mail="RET=HDRS")
        got = p.wait()
        assert "RET" not in got.mail and got.how == "DATA"


def test_starttls_stripped_inside_is_not_said_twice(ctx):
    """A server that offers STARTTLS inside TLS is not asked again."""
    def again(conn, line):
        if conn.tls:
            return "250-peer.test\r\n250 STARTTLS"
        return None

    with Peer(tls=ctx, on={"EHLO": again}) as p, \
            Umbra(out(p, "encrypt")) as u:
        u.send("a@b.test", "x@example.org", MESSAGE)
        got = p.wait()
        assert [x for x in got.conn.log if x == "STARTTLS"] == ["STARTTLS"]


@pytest.mark.parametrize("step", ["GREET", "EHLO", "MAIL", "RCPT", "DATA"])
def test_unasked_octets_in_clear_end_the_connection(step):
    """The same rule without TLS: more than one reply to one command."""
    usual = {"GREET": b"220 hi\r\n", "EHLO": b"250-p\r\n250 PIPELINING\r\n"
             b"250 2.0.0 more\r\n", "MAIL": b"250 ok\r\n",
             "RCPT": b"250 ok\r\n", "DATA": b"354 go\r\n"}

    def twice(conn, line):
        if conn.number == 0:
            return usual[step] + b"250 2.0.0 taken\r\n"
        return None

    with Peer(ext=("8BITMIME",), on={step: twice}) as p, \
            Umbra(out(p, "none")) as u:
        msg = u.send("a@b.test", "x@example.org", MESSAGE)
        got = p.wait()
        u.wait("message.done", msg=msg)
        assert got.body == MESSAGE
        until(lambda: p.conns[0].ended, LONG)
        assert got.conn.number > 0 and len(p.messages) == 1


def test_peer_that_closes_in_the_handshake(ctx):
    with Peer(tls=ctx) as p, Umbra(out(p, "encrypt")) as u:
        p.on["STARTTLS"] = lambda c, line: \
            [b"220 go\r\n", DROP] if c.number < 2 else None
        u.send("a@b.test", "x@example.org", MESSAGE)
        assert p.wait().conn.tls


def test_closed_is_reported():
    """The helper of this file: a lost connection is an exception."""
    with Peer(on={"GREET": DROP}) as p:
        with pytest.raises(Closed):
            Smtp("127.0.0.1", p.port)
