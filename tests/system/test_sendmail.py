"""Local submission: the socket, who may send as whom, and the commands
sendmail, mailq and newaliases as programs call them.

A program is only told that mail was sent when it is in the queue, and when it
is told anything else nobody gets the mail.
"""
import contextlib
import errno
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from peer import Peer
from umbra import NODE, UMBRA, Umbra, base
from wait import until

EX_USAGE, EX_DATAERR, EX_NOUSER = 64, 65, 67
EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM = 69, 75, 77

root = pytest.mark.skipif(os.geteuid() != 0,
                          reason="needs root: it becomes another user")


@pytest.fixture(scope="module")
def peer():
    with Peer(keep_wire=False) as p:
        yield p


@pytest.fixture(scope="module")
def programs():
    """The names that other programs know, as `make install-sendmail` makes
    them, in a place that every user can reach."""
    d = tempfile.mkdtemp(prefix="umbra-bin-", dir="/tmp")
    os.chmod(d, 0o755)
    shutil.copy(UMBRA, d)
    for name in ("sendmail", "mailq", "newaliases"):
        os.symlink("umbra", os.path.join(d, name))
    yield d
    shutil.rmtree(d)


def conf_for(peer, **submission):
    conf = base(peer.port, submission={
        "socket": "{dir}/submit.sock", "domain": "local.example.org",
        **submission})
    return conf


class Local(Umbra):
    """With a submission socket in its directory, which users may enter."""

    def configure(self, conf):
        os.chmod(self.dir, 0o755)
        self.submit = os.path.join(self.dir, "submit.sock")
        if conf.get("submission", {}).get("socket"):
            conf["submission"]["socket"] = self.submit
        super().configure(conf)


@pytest.fixture(scope="module")
def relay(peer):
    with Local(conf_for(peer, trusted_users=["daemon"])) as u:
        yield u


@pytest.fixture
def run(relay, programs):
    """run("sendmail", "-t", stdin=b"...", user="nobody", want=0)"""
    def call(name, *args, stdin=b"", user=None, want=0, env=None):
        p = subprocess.run(
            [os.path.join(programs, name), *args], input=stdin, user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            capture_output=True, timeout=60, check=False, cwd="/",
            env={**relay.env, "UMBRA_SUBMISSION_SOCKET": relay.submit,
                 "UMBRA_SOCKET": relay.socket, **(env or {})})
        assert b"Sanitizer" not in p.stderr, p.stderr
        assert p.returncode == want, (p.returncode, p.stderr)
        return p
    return call


@pytest.fixture
def got(peer):
    """got(n): the n messages that arrived since the test began."""
    at = len(peer.messages)

    def wait(n=1):
        until(lambda: len(peer.messages) >= at + n)
        return peer.messages[at] if n == 1 else peer.messages[at:at + n]
    wait.all = lambda: peer.messages[at:]
    wait.none = lambda: len(peer.messages) == at
    return wait


def head_of(tx):
    return tx.body.split(b"\r\n\r\n")[0].decode().split("\r\n")


# --- as programs call it ----------------------------------------------------

def test_cron(run, got):
    """cron: LF lines, its own header, -FCronDaemon -i -B8BITMIME."""
    run("sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root",
        stdin=b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@h> x\n"
              b"Auto-Submitted: auto-generated\n\nline\n.\nafter \xc3\xbc\n")
    tx = got()
    assert tx.sender == "root@local.example.org"
    assert tx.to == ["root@local.example.org"]
    head, body = tx.body.split(b"\r\n\r\n", 1)
    assert body == b"line\r\n.\r\nafter \xc3\xbc\r\n"
    assert tx.param(tx.mail, "BODY") == "8BITMIME"
    head = head.decode().split("\r\n")
    assert head[:2] == ["From: root@local.example.org (Cron Daemon)",
                        "To: root@local.example.org"]
    assert re.fullmatch(r"Message-ID: <[0-9a-f]{32}@local\.example\.org>",
                        head[-1])
    assert re.fullmatch(r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000",
                        head[-2])
    trace = tx.data[:tx.data.index(b"From:")].decode()
    assert f"by {NODE} (local user root, uid 0)" in trace
    assert "from" not in trace.split(";")[0]


def test_php(run, got):
    """PHP: -t -i, CRLF in the header that it makes, LF in the rest."""
    run("sendmail", "-t", "-i", "-fapp@shop.example",
        stdin=b"To: A <a@x.example>, b@y.example\nSubject: s\n"
              b"From: app@shop.example\r\nCc: c@z.example\r\n"
              b"Bcc: hidden@z.example\r\n\nText\nmore\r\n")
    tx = got()
    assert tx.sender == "app@shop.example"
    assert tx.to == ["a@x.example", "b@y.example", "c@z.example",
                     "hidden@z.example"]
    assert b"hidden" not in tx.data.split(b"\r\n\r\n", 1)[0].split(
        b";\r\n", 1)[1] and b"Bcc" not in tx.data
    assert tx.body.endswith(b"\r\n\r\nText\r\nmore\r\n")


def test_mailx(run, got):
    """mail(1): recipients as arguments, no sender, no From."""
    run("sendmail", "-oi", "-m", "a@x.example", "b@x.example, <c@x.example>",
        stdin=b"Subject: hi\nTo: somebody\n\nhello\n")
    tx = got()
    assert tx.to == ["a@x.example", "b@x.example", "c@x.example"]
    assert any(re.match(r'From: ("root" )?<root@local\.example\.org>', h)
               for h in head_of(tx))
    assert "To: somebody@local.example.org" in head_of(tx)


def test_semicolons(run, got):
    """Between recipients, as Postfix takes it as well."""
    run("sendmail", "-t", stdin=b"To: a@x.example; B <b@x.example>;\n\n")
    assert got().to == ["a@x.example", "b@x.example"]


def test_no_header(run, got):
    run("sendmail", "a@x.example", stdin=b"just text\n.\nnot this\n")
    tx = got()
    assert tx.body.endswith(b"\r\n\r\njust text\r\n")
    assert head_of(tx)[0].startswith("From: ")


def test_empty(run, got):
    run("sendmail", "a@x.example", stdin=b"")
    assert got().body.endswith(b">\r\n\r\n")


def test_mbox_line(run, got):
    run("sendmail", "-i", "a@x.example",
        stdin=b"From u Mon Nov 23 10:00:00 2026\nSubject: x\n\nb\n")
    assert head_of(got())[0] == "Subject: x"


def test_dsn_options(run, got, peer):
    run("sendmail", "-i", "-N", "success,delay", "-R", "hdrs", "-V", "id77",
        "-F", "Jörg \"J\" X", "a@x.example", stdin=b"Subject: x\n\n")
    tx = got()
    assert tx.param(tx.mail, "RET") == "HDRS"
    assert tx.param(tx.mail, "ENVID") == "id77"
    assert tx.param(tx.rcpts[0], "NOTIFY") == "SUCCESS,DELAY"
    assert any(h.startswith("From: =?UTF-8?B?SsO2cmcgIkoiIFg=?= <root@")
               for h in head_of(tx))


def test_sender_beyond_ascii(run, got):
    """The sender alone wants SMTPUTF8."""
    run("sendmail", "-i", "-f", "j\u00f6rg@x.example", "a@x.example",
        stdin=b"Subject: x\n\n")
    assert got().sender == "j\u00f6rg@x.example"


def test_null_sender(run, got):
    run("sendmail", "-i", "-f", "<>", "a@x.example", stdin=b"Subject: x\n\n")
    tx = got()
    assert tx.sender == ""
    assert any("<MAILER-DAEMON@local.example.org>" in h for h in head_of(tx))


def test_dots(run, got):
    """Every line that begins with a dot arrives as it was."""
    body = b"".join(b"." * n + b"x\n" for n in range(4)) + b"..\n. \n.\n"
    run("sendmail", "-i", "a@x.example", stdin=b"S: x\n\n" + body)
    assert got().body.endswith(b"\r\n\r\n" + body.replace(b"\n", b"\r\n"))


def test_large(run, got):
    line = b"0123456789" * 7 + b"\n"
    run("sendmail", "-i", "a@x.example",
        stdin=b"Subject: big\n\n" + line * 100000)
    assert len(got().body) > 72 * 100000


def test_many_recipients(run, got):
    rcpts = [f"u{i}@x.example" for i in range(1000)]
    run("sendmail", "-i", *rcpts, stdin=b"Subject: x\n\n")
    until(lambda: sum(len(t.to) for t in got.all()) == 1000)


def test_ignored_options(run, got):
    run("sendmail", "-oem", "-oi", "-odb", "-O", "DeliveryMode=b", "-G", "-U",
        "-n", "-m", "-L", "tag", "-h", "3", "-Am", "-C", "/etc/mail/x.cf",
        "-X", "/dev/null", "--", "a@x.example", stdin=b"Subject: x\n\n")
    got()


def test_verbose(run, got):
    p = run("sendmail", "-v", "-i", "a@x.example", stdin=b"Subject: x\n\n")
    assert b">>> RCPT TO:<a@x.example>" in p.stdout
    assert re.search(rb"<<< 250 .*queued as", p.stdout)
    got()


def test_smtp_on_stdin(run, got):
    p = run("sendmail", "-bs",
            stdin=b"EHLO me\r\nMAIL FROM:<a@x.example>\r\n"
                  b"RCPT TO:<b@y.example>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n"
                  b".\r\nQUIT\r\n")
    codes = re.findall(rb"^(\d{3}) ", p.stdout, re.M)
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert got().sender == "a@x.example"


def test_by_umbra(relay, got):
    """umbra sendmail, with the socket from the configuration."""
    subprocess.run([UMBRA, "-c", relay.file, "sendmail", "-i", "a@x.example"],
                   input=b"Subject: x\n\n", env=relay.env, check=True,
                   timeout=60)
    got()


# --- refusals ---------------------------------------------------------------

def test_usage(run):
    assert b"to whom?" in run("sendmail", want=EX_USAGE).stderr
    assert b"no recipients" in run("sendmail", "-t", want=EX_USAGE,
                                   stdin=b"Subject: x\n\n").stderr
    run("sendmail", "-Z", want=EX_USAGE)
    run("sendmail", "-N", "always", "a@x.example", want=EX_USAGE)
    run("sendmail", "-R", "some", "a@x.example", want=EX_USAGE)
    assert b"umbrad" in run("sendmail", "-bd", want=EX_USAGE).stderr
    assert b"route test" in run("sendmail", "-bv", "a", want=EX_USAGE).stderr


def test_bad_address(run, got):
    """One that is none: nobody gets the message."""
    p = run("sendmail", "-i", "a@x.example", "b..c@x.example",
            stdin=b"Subject: x\n\n", want=EX_DATAERR)
    assert b"b..c@x.example" in p.stderr
    p = run("sendmail", "-t", stdin=b"To: a@x.example, b c@x.example\n\n",
            want=EX_DATAERR)
    assert b"blanks inside an address" in p.stderr
    for sender in ("b..c@x.example", "a" * 5000 + "@x.example"):
        p = run("sendmail", "-f", sender, "a@x.example",
                stdin=b"Subject: x\n\n", want=EX_USAGE)
        assert p.stderr.startswith(b"sendmail: -f ")
    assert got.none()


def test_refused_by_relay(run, got, relay):
    """In the relay's words; all or nobody."""
    p = run("sendmail", "-i", "a@x.example", "-f", "a@x.example",
            stdin=b"Subject: x\ry\n\nb\n", want=EX_DATAERR)
    assert b"550 5.5.2 bare <CR>" in p.stderr
    p = run("sendmail", "-i", "a@x.example", "-f", "a@x.example",
            stdin=b"Subject: x\0y\n\nb\n", want=EX_DATAERR)
    assert b"NUL" in p.stderr
    many = [f"u{i}@x.example" for i in range(1001)]
    p = run("sendmail", "-i", *many, stdin=b"Subject: x\n\n",
            want=EX_TEMPFAIL)
    assert b"<u1000@x.example>: 452 4.5.3 too many recipients" in p.stderr
    assert b"nobody gets the message" in p.stderr
    assert got.none()


PROGRESS = [
    (b"sent 1\rsent 2\r\r\nend\n", b"sent 1\r\nsent 2\r\nend\r\n"),
    (b"a\0b\0\r\0\nc\n", b"ab\r\nc\r\n"),
    (b"\r.\r.\n..\n", b"\r\n.\r\n.\r\n..\r\n"),
    (b"50%\r100%\r", b"50%\r\n100%\r\n"),
    (b"\0\r\r\0x", b"\r\nx\r\n"),
]


@pytest.mark.parametrize("which", range(len(PROGRESS)))
def test_progress(run, got, which):
    """What rsync and wget print, in the mail that cron makes of it: a CR
    without LF ends a line, a NUL is left out."""
    raw, body = PROGRESS[which]
    run("sendmail", "-i", "a@x.example",
        stdin=b"From: root (Cron Daemon)\nTo: root\n\n" + raw)
    assert got().body.split(b"\r\n\r\n", 1)[1] == body


def test_progress_without_a_header(run, got):
    run("sendmail", "-i", "a@x.example", stdin=b"10 %\r20 %\0\n")
    assert got().body.endswith(b"\r\n\r\n10 %\r\n20 %\r\n")


def test_header_injection(run, got):
    """A program that keeps LF out of a value but not CR: the relay refuses
    the message, it does not make a field of it."""
    run("sendmail", "-t", stdin=b"To: a@x.example\nSubject: x\rBcc: "
        b"evil@z.example\n\n", want=EX_DATAERR)
    assert got.none()


def test_not_running(run):
    p = run("sendmail", "a@x.example", stdin=b"x", want=EX_TEMPFAIL,
            env={"UMBRA_SUBMISSION_SOCKET": "/nonexistent/submit.sock"})
    assert b"umbrad is not running" in p.stderr
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "s")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        p = run("sendmail", "a@x.example", stdin=b"x", want=EX_TEMPFAIL,
                env={"UMBRA_SUBMISSION_SOCKET": path})
        assert b"umbrad is not running" in p.stderr


def test_stopped(peer, programs):
    """A relay that does not answer is not waited for without end: neither
    before it greets, nor when no more connections fit."""
    with Local(conf_for(peer)) as u, contextlib.ExitStack() as rest:
        u.proc.send_signal(signal.SIGSTOP)
        rest.callback(u.proc.send_signal, signal.SIGCONT)

        def run(mode):
            p = subprocess.run(
                [os.path.join(programs, "sendmail"), mode, "a@x.example"],
                input=b"Subject: x\n\n", timeout=60, check=False,
                capture_output=True,
                env={**u.env, "UMBRA_SUBMISSION_SOCKET": u.submit,
                     "UMBRA_SUBMISSION_TIMEOUT": "1"})
            assert p.returncode == EX_TEMPFAIL, p
            return p.stderr
        assert b"was not sent" in run("-i")
        full = False
        while not full:
            c = rest.enter_context(socket.socket(socket.AF_UNIX))
            c.setblocking(False)
            full = c.connect_ex(u.submit) == errno.EAGAIN
        assert b"umbrad does not answer" in run("-i")
        assert b"umbrad does not answer" in run("-bs")


# --- who --------------------------------------------------------------------

@root
def test_own_sender(run, got, relay):
    """A user that is not trusted sends as itself, whatever it asks for."""
    at = relay.mark()
    run("sendmail", "-i", "-f", "boss@example.org", "a@x.example",
        stdin=b"From: boss@example.org\nSubject: x\n\n", user="nobody")
    tx = got()
    assert tx.sender == "nobody@local.example.org"
    uid = pwd.getpwnam("nobody").pw_uid
    assert f"(local user nobody, uid {uid})".encode() in tx.data
    line = relay.wait("session.sender_set", since=at, user="nobody")
    assert line["wanted"] == "<boss@example.org>"
    line = relay.wait("message.accepted", since=at)
    assert line["client"] == "local:nobody"
    assert line["connector"] == "local-submission"


@root
def test_null_sender_of_all(run, got):
    run("sendmail", "-i", "-f", "", "a@x.example", stdin=b"Subject: x\n\n",
        user="nobody")
    assert got().sender == ""


@root
def test_trusted(run, got):
    run("sendmail", "-i", "-f", "boss@example.org", "a@x.example",
        stdin=b"Subject: x\n\n", user="daemon")
    assert got().sender == "boss@example.org"


@root
def test_access_group(peer, relay, run):
    """submission.access is changed by a reload."""
    conf = conf_for(peer, access="group")
    assert relay.reload(conf).event == "config.loaded"
    p = run("sendmail", "a@x.example", stdin=b"x", user="nobody",
            want=EX_NOPERM)
    assert b"submission.access" in p.stderr
    conf = conf_for(peer, trusted_users=["daemon"])
    assert relay.reload(conf).event == "config.loaded"
    run("sendmail", "a@x.example", stdin=b"x", user="nobody")


def test_closed_by_reload(peer):
    """Taken out of the configuration, the socket is gone; put back, there."""
    with Local(conf_for(peer)) as u:
        assert os.path.exists(u.submit)
        plain = conf_for(peer)
        del plain["submission"]
        assert u.reload(plain).event == "config.loaded"
        assert not os.path.exists(u.submit)
        assert u.reload(conf_for(peer)).event == "config.loaded"
        assert os.path.exists(u.submit)


def test_only_submission(peer):
    """A machine that only sends needs no receive connector."""
    conf = conf_for(peer)
    del conf["receive_connectors"]
    with Local(conf) as u:
        p = subprocess.run(
            [UMBRA, "-c", u.file, "sendmail", "a@x.example"], input=b"x",
            env=u.env, check=False, timeout=60, capture_output=True)
        assert p.returncode == 0, p.stderr


def test_stop_with_a_client(peer):
    """A local session that says nothing does not hold up the end."""
    with Local(conf_for(peer)) as u:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(u.submit)
            assert s.recv(100).startswith(b"220 ")
            u.stop()


# --- mailq, newaliases, -q --------------------------------------------------

def test_mailq(programs):
    with Local(base(submission={"socket": "x"})) as u:
        env = {**u.env, "UMBRA_SOCKET": u.socket}

        def mailq():
            return subprocess.run([os.path.join(programs, "mailq")], env=env,
                                  capture_output=True, text=True, check=True,
                                  timeout=60).stdout
        assert mailq() == "Mail queue is empty\n"
        p = subprocess.run([os.path.join(programs, "mailq")], text=True,
                           env={**env, "UMBRA_SOCKET": u.dir + "/none"},
                           capture_output=True, timeout=60, check=False)
        assert p.returncode == 69 and not p.stdout
        assert p.stderr.startswith("umbra: umbrad is not running"), p
        qid = u.send("a@x.example", ["b@y.example", "c@y.example"],
                     b"Subject: x\r\n\r\n")
        u.wait("nexthop.delayed")
        out = mailq().split("\n")
        assert out[0].startswith("-Queue ID-")
        assert re.match(rf"{qid} +\d+ \w{{3}} \w{{3}} [ \d]\d "
                        r"\d\d:\d\d:\d\d  a@x\.example$", out[1]), out
        assert out[-2] == "-- 1 Kbytes in 1 Request."
        assert any(x.strip() == "b@y.example" for x in out)
        assert any(x.strip() == "(and 1 more)" for x in out)
        for args in ([os.path.join(programs, "mailq"), "--json"],
                     [UMBRA, "--json", "mailq"],
                     [UMBRA, "--socket", u.socket, "--json", "mailq"]):
            p = subprocess.run(args, env=env, capture_output=True, text=True,
                               check=True, timeout=60)
            assert json.loads(p.stdout)["id"] == qid
        p = subprocess.run([os.path.join(programs, "sendmail"), "--json",
                            "a@x.example"], env=env, input="", text=True,
                           capture_output=True, check=False, timeout=60)
        assert (p.returncode, p.stderr) == (
            64, "sendmail: only mailq has --json\n")
        for args in (["newaliases"], ["sendmail", "-bi"], ["sendmail", "-q"],
                     ["sendmail", "-bp"]):
            subprocess.run([os.path.join(programs, args[0]), *args[1:]],
                           env=env, check=True, timeout=60,
                           stdout=subprocess.DEVNULL)
