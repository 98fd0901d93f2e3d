"""Against programs that others wrote: clients (smtp-source, swaks, git
send-email), next hops (Postfix, smtp-sink, Dovecot's LMTP, aiosmtpd), names
(nsd behind unbound), and messages of the real world."""
import contextlib
import glob
import mailbox
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile

import pytest

import certs
import lab
from dsn import Dsn
from peer import Peer, server_tls, without
from umbra import Umbra, base, free_port
from wait import LONG, until

MESSAGE = (b"From: a@sender.test\r\nTo: b@postfix.test\r\nSubject: real\r\n"
           b"Message-ID: <real@sender.test>\r\n\r\n.dot\r\nbody\r\n")


def need(*programs):
    for p in programs:
        if not shutil.which(p) and not os.path.exists(p):
            pytest.skip(f"{p} is not installed")


def need_root(what):
    if os.getuid() != 0:
        pytest.skip(f"{what} has to be started by root")


def crlf(octets):
    """A file of text as a message: every line ends in CRLF."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", octets).replace(b"\0", b"")
    return text if text.endswith(b"\r\n") else text + b"\r\n"


@contextlib.contextmanager
def folder():
    """A directory that programs which drop their rights can reach."""
    path = tempfile.mkdtemp(prefix="umbra-real-", dir="/tmp")
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def program(*args, ready=None, **more):
    """A program that runs until the end of the block; ready: a port that it
    listens on, or a function."""
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         **more)

    def up():
        assert p.poll() is None, p.stdout.read().decode("utf-8", "replace")
        return ready() if callable(ready) else listening(ready)
    try:
        until(up, LONG)
        yield p
    finally:
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        p.stdout.close()


def listening(port):
    if not isinstance(port, tuple):
        port = ("127.0.0.1", port)
    try:
        socket.create_connection(port, timeout=1).close()
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def peer():
    with Peer(keep_wire=False) as p:
        yield p


@pytest.fixture(scope="module")
def relay(peer, pair):
    conf = base(peer.port)
    conf["receive_connectors"][0]["tls"] = {
        "mode": "offer", "cert": pair[0], "key": pair[1]}
    with Umbra(conf) as u:
        yield u


def run(*args, want=0, **more):
    p = subprocess.run(args, capture_output=True, text=True, timeout=120,
                       check=False, **more)
    assert p.returncode == want, p
    return p.stdout


# --- real messages -----------------------------------------------------------


def python_data():
    """Where a Python interpreter keeps its email test data."""
    for python in "python3", "/usr/bin/python3":
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            p = subprocess.run(
                [python, "-c", "import os, test.test_email as t;"
                 "print(os.path.dirname(t.__file__))"], capture_output=True,
                text=True, timeout=60, check=False)
            if p.returncode == 0:
                return os.path.join(p.stdout.strip(), "data")
    return None


def relayed(relay, peer, files):
    """Each file as a message, by DATA and by BDAT; all arrive unchanged."""
    want = {}
    with relay.smtp() as c:
        for i, name in enumerate(files):
            with open(name, "rb") as f:
                text = crlf(f.read())
            for chunk in 0, 1 << 20:
                to = f"real{i}-{chunk}-{os.path.basename(name)}@example.org"
                c.mail("a@b.test", to, text, bdat=chunk)
                want[to] = text
    for to, text in want.items():
        assert peer.to(to).body == text, to
    return len(want)


def test_spamassassin_samples(relay, peer):
    files = glob.glob("/usr/share/doc/spamassassin/examples/sample-*.txt")
    if not files:
        pytest.skip("Debian's spamassassin package with its samples in "
                    "/usr/share/doc is not installed")
    assert relayed(relay, peer, files) >= 4


def test_python_email_data(relay, peer):
    data = python_data()
    if not data:
        pytest.skip("no Python here has its test suite (on Debian: "
                    "libpython3.11-testsuite)")
    files = sorted(glob.glob(os.path.join(data, "msg_*.txt")))
    assert len(files) > 40
    assert relayed(relay, peer, files) >= 80


def test_swaks(relay, peer):
    """A message, pipelined, under TLS, and from a file octet by octet."""
    need("swaks")
    server = f"127.0.0.1:{relay.port('relay')}"
    out = run("swaks", "--server", server, "--from", "a@b.test", "--to",
              "swaks@example.org", "--h-Subject", "from swaks", "--attach",
              "some text", "--pipeline")
    assert "queued as" in out
    assert b"Subject: from swaks\r\n" in peer.to("swaks@example.org").body
    with tempfile.NamedTemporaryFile(suffix=".eml") as f:
        f.write(b"Subject: file\n\n.one\n..two\n.\nend\n")
        f.flush()
        out = run("swaks", "--server", server, "--from", "a@b.test", "--to",
                  "file@example.org", "--data", f"@{f.name}", "--tls")
    assert "TLS started" in out
    got = peer.to("file@example.org")
    assert got.body.rstrip(b"\r\n") == \
        b"Subject: file\r\n\r\n.one\r\n..two\r\n.\r\nend"
    assert b"with ESMTPS" in got.data


def test_git_send_email(relay, peer, tmp_path):
    """A patch arrives so that it can be applied."""
    need("git", "/usr/lib/git-core/git-send-email")
    env = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1",
           "GIT_AUTHOR_NAME": "J\u00f6rg Test",
           "GIT_AUTHOR_EMAIL": "joerg@b.test", "GIT_COMMITTER_NAME": "C",
           "GIT_COMMITTER_EMAIL": "c@b.test"}

    def git(*args, where="one", **more):
        return run("git", *args, cwd=tmp_path / where, env=env, **more)
    (tmp_path / "one").mkdir()
    git("init", "-q")
    for i, text in enumerate(["a\n.\n..b\n", "a\n.\n..b\nGr\u00fc\u00dfe\n"]):
        (tmp_path / "one" / "f").write_text(text)
        git("add", "f")
        git("commit", "-q", "-m", f"change {i}: \u00e4ndern\n\n.\nFrom here")
    git("format-patch", "-q", "--root", "-o", str(tmp_path / "patches"))
    patches = sorted(glob.glob(str(tmp_path / "patches" / "*")))
    git("send-email", "--smtp-server", "127.0.0.1", "--smtp-server-port",
        str(relay.port("relay")), "--from", "J <joerg@b.test>", "--to",
        "git@example.org", "--confirm=never", "--suppress-cc=all",
        "--no-validate", "--8bit-encoding=UTF-8", *patches)
    until(lambda: len([m for m in peer.messages
                       if "git@example.org" in m.to]) == 2)
    box = tmp_path / "box"
    box.mkdir()
    mails = [m for m in peer.messages if "git@example.org" in m.to]
    (tmp_path / "two").mkdir()
    git("init", "-q", where="two")
    for i, m in enumerate(sorted(mails, key=lambda m: re.search(
            rb"Subject: \[PATCH (\d)", m.data)[1])):
        (box / str(i)).write_bytes(m.body.replace(b"\r\n", b"\n"))
        git("am", "-q", str(box / str(i)), where="two")
    assert (tmp_path / "two" / "f").read_text() == \
        "a\n.\n..b\nGr\u00fc\u00dfe\n"


def test_python_smtplib(relay, peer):
    """The client that most scripts use."""
    for tls in False, True:
        with smtplib.SMTP("127.0.0.1", relay.port("relay")) as s:
            if tls:
                s.starttls()
            s.sendmail("a@b.test", [f"smtplib{tls}@example.org"],
                       MESSAGE, mail_options=["BODY=8BITMIME"],
                       rcpt_options=["NOTIFY=NEVER"])
        assert peer.to(f"smtplib{tls}@example.org").body == MESSAGE


# --- Postfix's load programs -------------------------------------------------


def test_smtp_source_to_smtp_sink():
    """500 messages through the relay; all accounted for."""
    need("smtp-source", "smtp-sink")
    need_root("smtp-sink -u")
    sink = free_port()
    with folder() as d, program(
            "smtp-sink", "-u", "nobody", "-R", d, f"127.0.0.1:{sink}", "100",
            ready=sink), Umbra(base(sink)) as u:
        run("smtp-source", "-s", "10", "-l", "4096", "-m", "500", "-f",
            "a@b.test", "-t", "b@example.org",
            f"127.0.0.1:{u.port('relay')}")
        u.wait("message.done", count=500)
        assert len(u.seen("message.accepted")) == 500
        assert len(u.seen("delivery.sent")) == 500
        # One connection for everything, several recipients.
        run("smtp-source", "-d", "-s", "5", "-r", "7", "-m", "100", "-f",
            "a@b.test", "-t", "b@example.org",
            f"127.0.0.1:{u.port('relay')}")
        u.wait("message.done", count=600)
        assert len(u.seen("delivery.sent")) == 500 + 700


@pytest.mark.parametrize("options", [
    ["-Q", "ehlo"], ["-q", "mail"], ["-q", "data"], ["-r", "rcpt"],
    ["-r", "."], ["-q", "."]], ids=lambda o: "".join(o))
def test_smtp_sink_in_a_bad_mood(options):
    """421, drops and 4xx from it: the mail waits, and goes to a good one."""
    need("smtp-sink")
    need_root("smtp-sink -u")
    port = free_port()
    with Umbra(base(port)) as u:
        with program("smtp-sink", "-u", "nobody", *options,
                     f"127.0.0.1:{port}", "100", ready=port):
            u.send("a@b.test", "b@example.org", MESSAGE)
            u.wait(("nexthop.delayed", "delivery.deferred",
                    "delivery.in_doubt"))
        with Peer(port=port) as p:
            assert p.wait().body == MESSAGE


# --- Postfix as a mail server ------------------------------------------------


POSTFIX_MASTER = """
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextlib.contextmanager
def postfix(pair):
    """A private Postfix that takes mail for users at postfix.test."""
    need("postfix")
    need_root("Postfix")
    port = free_port()
    with folder() as d:
        for sub in "etc", "spool", "lib", "mail":
            os.mkdir(f"{d}/{sub}")
        os.chown(f"{d}/mail", 65534, 65534)
        shutil.chown(f"{d}/lib", "postfix")
        with open(f"{d}/etc/master.cf", "w", encoding="ascii") as f:
            f.write(POSTFIX_MASTER.format(port=port))
        with open(f"{d}/etc/users", "w", encoding="ascii") as f:
            f.write("b@postfix.test b/\nc@postfix.test c/\n")
        with open(f"{d}/etc/main.cf", "w", encoding="ascii") as f:
            f.write(f"""compatibility_level = 3.6
queue_directory = {d}/spool
data_directory = {d}/lib
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = {d}/mail
virtual_mailbox_maps = texthash:{d}/etc/users
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
message_size_limit = 20000000
smtpd_tls_cert_file = {pair[0]}
smtpd_tls_key_file = {pair[1]}
smtpd_tls_security_level = may
smtpd_peername_lookup = no
local_header_rewrite_clients =
message_drop_headers =
smtpd_relay_restrictions = reject_unauth_destination
""")
        for what in "set-permissions", "create-missing":
            subprocess.run(["postfix", "-c", f"{d}/etc", "post-install",
                            what], capture_output=True, timeout=60,
                           check=False)
        p = subprocess.run(["postfix", "-c", f"{d}/etc", "start"],
                           capture_output=True, text=True, timeout=60,
                           check=False)
        if p.returncode != 0:
            pytest.skip("a private Postfix does not start here: "
                        + (p.stderr or p.stdout)[-300:])
        try:
            until(lambda: listening(port), LONG)
            yield port, f"{d}/mail"
        finally:
            subprocess.run(["postfix", "-c", f"{d}/etc", "stop"],
                           capture_output=True, timeout=60, check=False)
            # It says stopped when the master has been told so.
            until(lambda: not listening(port), LONG)


def stored(maildir, n):
    """n messages of a Maildir, as octets with CRLF."""
    def new():
        return sorted(glob.glob(f"{maildir}/new/*"))
    until(lambda: len(new()) >= n, LONG, text=f"{n} files in {maildir}")
    got = []
    for name in new():
        with open(name, "rb") as f:
            got.append(crlf(f.read()))
    return got


def test_postfix_as_next_hop(pair):
    """Real messages, stored by a real Postfix as they were sent; its refusals
    become notices; TLS as it offers it."""
    with postfix(pair) as (port, box), Peer(ext=without("SMTPUTF8")) as back:
        conf = base(back.port)
        conf["send_connectors"].append(
            {"name": "postfix", "address_spaces": ["postfix.test"],
             "smart_hosts": [f"127.0.0.1:{port}"],
             "tls": {"mode": "opportunistic"}})
        with Umbra(conf) as u:
            texts = [MESSAGE, b"A: b\r\n\r\n" + b".\r\n" * 50,
                     "Subject: 8\r\n\r\nGr\u00fc\u00dfe\r\n".encode(),
                     b"A: b\r\n\r\n" + b"0123456789\r\n" * 50000]
            for name in glob.glob("/usr/share/doc/spamassassin/examples/"
                                  "sample-*.txt"):
                with open(name, "rb") as f:
                    texts.append(crlf(f.read()))
            with u.smtp() as c:
                for t in texts:
                    c.mail("a@sender.test", "b@postfix.test", t)
            got = stored(f"{box}/b", len(texts))
            for t in texts:
                assert any(g.endswith(t) for g in got), t[:200]
            line = u.wait("delivery.sent", to="<b@postfix.test>")
            assert line["tls"].startswith("TLSv1.3:"), line.text
            assert re.search("250 .*queued as", line["said"])
            # Unknown there.
            u.send("a@sender.test", "nobody@postfix.test", MESSAGE)
            d = Dsn(back.to("a@sender.test"))
            r = d.rcpt("nobody@postfix.test")
            assert r["status"] == "5.1.1" and "nobody" in r["diagnostic-code"]
            # Several recipients, one of them unknown.
            u.send("s@sender.test", ["b@postfix.test", "x@postfix.test",
                                     "c@postfix.test"], MESSAGE)
            assert stored(f"{box}/c", 1)[0].endswith(MESSAGE)
            d = Dsn(back.to("s@sender.test"))
            assert [r["final-recipient"] for r in d.rcpts] == [
                "rfc822; x@postfix.test"]
            # DSN is Postfix's to do when it took NOTIFY.
            u.send("n@sender.test", "c@postfix.test", MESSAGE,
                   rcpt="NOTIFY=SUCCESS")
            stored(f"{box}/c", 2)
            assert not [m for m in back.messages if "n@sender.test" in m.to]


def test_notices_are_read_by_others():
    """Python's mailbox and email see three parts (and so do programs)."""
    with Peer(on={"RCPT": lambda c, x: "550 5.1.1 no" if "bad" in x else None},
              ext=without("SMTPUTF8")) as p, Umbra(base(p.port)) as u, \
            folder() as d:
        u.send("a@sender.test", "bad@example.org", MESSAGE)
        got = p.to("a@sender.test")
        box = mailbox.Maildir(f"{d}/m", create=True)
        box.add(got.data)
        m = next(iter(box))
        types = [x.get_content_type() for x in m.walk()]
        assert types[:2] == ["multipart/report", "text/plain"]
        assert "message/delivery-status" in types
        assert "message/rfc822" in types


# --- Dovecot -----------------------------------------------------------------


def test_dovecot_lmtp(pair):
    """LMTP to a real mailbox server: known and unknown recipients."""
    need("dovecot")
    need_root("Dovecot")
    port = free_port()
    with folder() as d:
        os.mkdir(f"{d}/mail")
        os.chown(f"{d}/mail", 65534, 65534)
        with open(f"{d}/users", "w", encoding="ascii") as f:
            for u in "b", "c":
                f.write(f"{u}@dovecot.test:{{PLAIN}}x:65534:65534::"
                        f"{d}/mail/{u}::\n")
        with open(f"{d}/dovecot.conf", "w", encoding="ascii") as f:
            f.write(f"""protocols = lmtp
base_dir = {d}/run
state_dir = {d}/state
log_path = {d}/log
ssl = no
listen = 127.0.0.1
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
first_valid_uid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
""")
        with program("dovecot", "-c", f"{d}/dovecot.conf", "-F", ready=port), \
                Peer(ext=without("SMTPUTF8")) as back:
            conf = base(back.port)
            conf["send_connectors"].append(
                {"name": "dovecot", "address_spaces": ["dovecot.test"],
                 "protocol": "lmtp", "smart_hosts": [f"127.0.0.1:{port}"],
                 "tls": {"mode": "none"}})
            with Umbra(conf) as u:
                u.send("a@sender.test", ["b@dovecot.test", "x@dovecot.test",
                                         "c@dovecot.test"], MESSAGE)
                for who in "b", "c":
                    got = stored(f"{d}/mail/{who}/Maildir", 1)
                    assert got[0].endswith(MESSAGE)
                r = Dsn(back.to("a@sender.test")).rcpt("x@dovecot.test")
                assert r["status"] == "5.1.1"
                assert "User doesn't exist" in r["diagnostic-code"]
                u.wait("delivery.sent", hop="dovecot", count=2)
                big = b"A: b\r\n\r\n" + b"0123456789\r\n" * 100000
                u.send("a@sender.test", "b@dovecot.test", big)
                assert any(g.endswith(big) for g in
                           stored(f"{d}/mail/b/Maildir", 2))


# --- aiosmtpd ----------------------------------------------------------------


def test_aiosmtpd(pair):
    """Another implementation in Python: good, rude, and under TLS."""
    controller = pytest.importorskip("aiosmtpd.controller")
    ctx = server_tls(*pair)

    class Handler:
        def __init__(self):
            self.got = []

        async def handle_RCPT(self, server, session, envelope, address,
                              options):
            if address.startswith("rude"):
                return "550 5.7.1 go away"
            if address.startswith("later") and not self.got:
                return "450 4.2.0 later"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):
            self.got.append((envelope.rcpt_tos, envelope.content,
                             session.ssl is not None))
            return "250 2.0.0 OK"

    handler = Handler()
    with Peer(ext=without("SMTPUTF8")) as back:
        server = controller.Controller(handler, hostname="127.0.0.1",
                                       port=free_port(), tls_context=ctx,
                                       decode_data=False)
        server.start()
        try:
            conf = base(back.port)
            conf["send_connectors"].append(
                {"name": "py", "address_spaces": ["py.test"],
                 "smart_hosts": [f"127.0.0.1:{server.port}"],
                 "tls": {"mode": "encrypt"}})
            with Umbra(conf) as u:
                u.send("a@sender.test", ["later@py.test", "ok@py.test",
                                         "rude@py.test"], MESSAGE)
                until(lambda: len(handler.got) == 2)
                assert handler.got[0][0] == ["ok@py.test"]
                assert handler.got[1][0] == ["later@py.test"]
                for _, content, tls in handler.got:
                    assert content.endswith(MESSAGE) and tls
                assert Dsn(back.to("a@sender.test")).rcpt("rude@py.test")[
                    "status"] == "5.7.1"
        finally:
            server.stop()


# --- names: nsd behind unbound -----------------------------------------------


def nsd_files(d):
    zones = {
        "good.test": "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 192.0.2.10\n"
                     "mx2 A 192.0.2.11\n",
        "null.test": "@ MX 0 .\n@ A 192.0.2.10\n",
        "plain.test": "@ A 192.0.2.11\n@ AAAA 2001:db8::5\n",
        "alias.test": "@ MX 10 www\nwww CNAME mx1.good.test.\n",
        "loop.test": "@ MX 10 here\nhere A 127.0.0.1\n"}
    conf = (f"server:\n  ip-address: 127.0.0.1@5300\n  username: \"\"\n"
            f"  database: \"\"\n  zonesdir: {d}\n  pidfile: {d}/nsd.pid\n"
            f"  xfrdfile: {d}/xfrd\n  zonelistfile: {d}/zones\n"
            "remote-control:\n  control-enable: no\n")
    for name, records in zones.items():
        with open(f"{d}/{name}", "w", encoding="ascii") as f:
            f.write(f"$ORIGIN {name}.\n$TTL 60\n"
                    "@ SOA ns root 1 3600 600 86400 5\n@ NS ns\n"
                    "ns A 127.0.0.1\n" + records)
        conf += f"zone:\n  name: {name}\n  zonefile: {d}/{name}\n"
    with open(f"{d}/nsd.conf", "w", encoding="ascii") as f:
        f.write(conf)
    stubs = "".join(
        f"stub-zone:\n  name: {n}\n  stub-addr: 127.0.0.1@{port}\n"
        for n, port in [(z, 5300) for z in zones] + [("dead.test", 5301)])
    with open(f"{d}/unbound.conf", "w", encoding="ascii") as f:
        f.write(f"""server:
  interface: 127.0.0.1
  port: 53
  chroot: ""
  username: ""
  pidfile: {d}/unbound.pid
  directory: {d}
  do-daemonize: no
  use-syslog: no
  logfile: {d}/unbound.log
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
remote-control:
  control-enable: no
{stubs}""")
    return zones


def test_nsd_behind_unbound():
    """MX, implicit MX, CNAME, null MX, a dead zone, no such name: by a real
    authoritative server and a real resolver."""
    need("nsd", "unbound")
    with lab.network(), folder() as d, contextlib.ExitStack() as stack:
        nsd_files(d)
        stack.enter_context(program("nsd", "-d", "-c", f"{d}/nsd.conf",
                                    ready=("127.0.0.1", 5300)))
        stack.enter_context(program("unbound", "-d", "-c",
                                    f"{d}/unbound.conf",
                                    ready=("127.0.0.1", 53)))
        one = stack.enter_context(Peer(host="192.0.2.10", port=25))
        two = stack.enter_context(Peer(host="192.0.2.11", port=25))
        six = stack.enter_context(Peer(host="2001:db8::5", port=25))
        back = stack.enter_context(Peer(host="192.0.2.1", port=2500))
        conf = base()
        conf["send_connectors"] = [
            {"name": "mx", "address_spaces": ["*"], "tls": {"mode": "none"}},
            {"name": "back", "address_spaces": ["sender.test"],
             "smart_hosts": ["192.0.2.1:2500"], "tls": {"mode": "none"}}]
        conf["dns"] = {"servers": ["127.0.0.1"], "timeout": "2s", "tries": 2}
        u = stack.enter_context(Umbra(conf))
        u.send("dead@sender.test", "x@dead.test", MESSAGE)
        u.send("a@sender.test", "x@good.test", MESSAGE)
        u.send("a@sender.test", "x@plain.test", MESSAGE)
        u.send("a@sender.test", "x@alias.test", MESSAGE)
        assert one.to("x@good.test").body == MESSAGE
        assert one.to("x@alias.test").body == MESSAGE
        until(lambda: any("x@plain.test" in m.to
                          for p in (two, six) for m in p.messages))
        for name, status in [("null.test", "5.1.10"), ("loop.test", "5.4.6"),
                             ("nothere.good.test", "5.1.2")]:
            u.send(f"{name}@sender.test", f"x@{name}", MESSAGE)
            r = Dsn(back.to(f"{name}@sender.test")).rcpt(f"x@{name}")
            assert r["status"] == status, (name, r)
        # The best one down: the next.
        one.down()
        u.reload()
        u.send("a@sender.test", "y@good.test", MESSAGE)
        assert two.to("y@good.test")
        line = u.wait("dns.trouble", timeout=LONG)
        assert "dead.test" in line["text"], line.text
        assert not [m for m in back.messages if "dead@sender.test" in m.to]


def test_certificate_helpers(tmp_path):
    """The chain that the other tests rely on is one."""
    ca = certs.self_signed(str(tmp_path), "ca.test")
    leaf = certs.signed(str(tmp_path), ca, "leaf.test")
    run("openssl", "verify", "-CAfile", ca[0], leaf[0])
