"""umbra drain: a node out of service, and back; what clients, balancers, peers
and administrators see of it."""
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import threading

import pytest

from certs import self_signed
from pair import Pair
from peer import Peer
from smtp import Closed, Smtp, queued_as, stuff
from umbra import UMBRA, Umbra, base
from wait import LONG, until

MESSAGE = "Subject: x\r\n\r\nx\r\n"
LATER = {"END": "451 4.3.0 later"}
GONE = "421 4.3.2"


def rows(u, *args, want=0):
    return [json.loads(x)
            for x in u.cli("--json", *args, want=want).splitlines()]


def service(u):
    (row,) = rows(u, "status")
    return row["service"]


class Draining:
    """`umbra drain` in the background: its rows as they come."""

    def __init__(self, u, *args):
        self.rows = []
        self.proc = subprocess.Popen(
            [UMBRA, "-c", u.file, "--json", "drain", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A shell's background jobs ignore Ctrl-C, and their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.proc.stdout:
            self.rows.append(json.loads(line))

    def until(self, what):
        return until(lambda: next((r for r in self.rows if what(r)), None),
                     text=lambda: str(self.rows))

    def end(self):
        status = self.proc.wait(LONG)
        self.reader.join(LONG)
        self.proc.stderr.close()
        self.proc.stdout.close()
        return status


# --- clients ----------------------------------------------------------------

def test_connections_are_answered_and_nothing_is_taken():
    with Peer() as sink, Umbra(base(sink.port)) as u:
        *_, row = rows(u, "drain", "--reason", "new kernel")
        assert (row["state"], row["messages"], row["sessions"],
                row["reason"], row["recorded"]) == (
                    "drained", 0, 0, "new kernel", True)
        line = u.wait("node.draining")
        assert line.level == "warn" and line["reason"] == "new kernel"
        u.wait("node.drained")
        for _ in range(2):
            with u.smtp(hello=False) as c:
                assert c.greeting == GONE, c.greeting
                assert "mx.umbra.test is draining" in c.greeting.text
                c.eof()
        (row,) = rows(u, "status")
        assert (row["service"], row["drain_reason"]) == (
            "drained", "new kernel")
        assert row["drain_since"] and row["connections_refused"] == 2
        me = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
        assert line["by"] == row["drain_by"] == me
        line = u.wait("control.command", verb="drain")
        assert (line["by"], line["reason"], line["uid"]) == (
            me, "new kernel", str(os.getuid()))
        assert re.search(rf"\nservice              drained since \S+, by {me}: "
                         r"new kernel\n", u.cli("status"))
        u.cli("undrain", "--by", "the night shift")
        assert u.wait("node.undrained")["by"] == "the night shift"
        assert u.wait("control.command", verb="undrain")["uid"] == str(
            os.getuid())
        assert service(u) == "in service"
        u.send("s@example.org", ["r@example.org"], MESSAGE)
        sink.to("r@example.org")


def test_a_transaction_that_has_begun_is_finished():
    with Peer() as sink, Umbra(base(sink.port)) as u, u.smtp() as at_rest, \
            u.smtp() as at_mail, u.smtp() as in_data, u.smtp() as in_bdat:
        at_mail.ok("MAIL FROM:<s@example.org>")
        in_data.envelope("s@example.org", ["data@example.org"])
        in_data.ok("DATA", 354)
        in_data.send("Subject: x\r\n")
        in_bdat.envelope("s@example.org", ["bdat@example.org"])
        in_bdat.send("BDAT 14\r\nSubject: x\r\n\r\n")
        assert in_bdat.reply() == 250
        d = Draining(u)
        assert d.until(lambda r: r["sessions"] == 3)["state"] == "draining"
        assert at_rest.reply() == GONE      # without having asked
        at_rest.eof()
        assert at_mail.cmd("RCPT TO:<mail@example.org>") == 250
        assert at_mail.cmd("DATA") == 354
        at_mail.send(stuff(MESSAGE.encode()))
        assert at_mail.reply() == 250
        assert at_mail.reply() == GONE      # and no next one
        at_mail.eof()
        in_data.send("\r\nx\r\n.\r\nMAIL FROM:<s@example.org>\r\n")
        assert in_data.reply() == 250
        assert in_data.reply() == GONE
        in_data.eof()
        in_bdat.send("BDAT 3 LAST\r\nx\r\n")
        assert in_bdat.reply() == 250
        assert in_bdat.reply() == GONE
        assert d.end() == 0
        assert d.rows[-1]["state"] == "drained"
        for who in ("mail", "data", "bdat"):
            sink.to(f"{who}@example.org")
        assert len(u.seen("message.accepted")) == 3


@pytest.mark.parametrize("last", ["RSET", "EHLO again.test", "BDAT 2000"])
def test_a_transaction_given_up_is_no_way_in(last):
    """After RSET, EHLO or a failed BDAT the session is between messages."""
    conf = base()
    conf["receive_connectors"][0]["limits"] = {"message_size": "1KiB"}
    with Umbra(conf) as u, u.smtp() as c:
        c.envelope("s@example.org", ["r@example.org"])
        u.cli("drain", "--no-wait")
        c.send(last + "\r\n" + ("x" * 2000 if "BDAT" in last else ""))
        assert c.reply() == (552 if "BDAT" in last else 250)
        c.send("MAIL FROM:<t@example.org>\r\n")
        assert c.reply() == GONE
        c.eof()
        assert not u.seen("message.accepted")


def test_implicit_tls_is_told_inside_tls(pair):
    cert, key = pair
    conf = base()
    conf["receive_connectors"].append(
        {"name": "smtps", "bind": ["127.0.0.1:{smtps}"],
         "tls": {"mode": "implicit", "cert": cert, "key": key}})
    with Umbra(conf) as u:
        u.cli("drain")
        from smtp import trusting
        with Smtp("127.0.0.1", u.port("smtps"), tls=trusting()) as c:
            assert c.greeting == GONE
            c.eof()


# --- a balancer's check -------------------------------------------------------

@pytest.mark.parametrize("hello", ["HELO check.test", "EHLO check.test"])
def test_a_balancers_check(hello):
    """What haproxy (option smtpchk), keepalived (SMTP_CHECK) and F5's monitor
    say, with QUIT and cut off, in service and draining: no line above debug,
    and no session left."""
    with Umbra(base()) as u:
        at = u.mark()
        for quits in (True, False) * 3:
            with u.smtp(hello=False) as c:
                assert c.greeting == 220
                assert c.cmd(hello) == 250
                if quits:
                    assert c.cmd("QUIT") == 221
        socket.create_connection(("127.0.0.1", u.port("relay"))).close()
        until(lambda: rows(u, "status")[0]["sessions"] == 0)
        u.cli("drain")
        for talks in (True, False) * 3:
            with u.smtp(hello=False) as c:
                assert c.greeting == GONE
                if talks:
                    try:
                        c.send(hello + "\r\nQUIT\r\n")
                        c.reply()
                    except (Closed, ConnectionError):
                        pass
        until(lambda: rows(u, "status")[0]["sessions"] == 0)
        loud = [x.text for x in u.lines[at:] if x.level != "debug" and
                not x.event.startswith(("node.", "control."))]
        assert loud == []


# --- what waits ---------------------------------------------------------------

def test_deliveries_go_on_and_progress_is_seen():
    with Peer(on=LATER) as sink, Umbra(base(sink.port)) as u:
        for i in range(3):
            u.send("s@example.org", [f"r{i}@example.org"], MESSAGE)
        d = Draining(u)
        d.until(lambda r: r["messages"] == 3 and r["retry"] > 0)
        assert d.proc.poll() is None and service(u) == "draining"
        sink.on.clear()
        assert d.end() == 0
        assert [r["messages"] for r in d.rows][-1] == 0
        assert all(a["messages"] >= b["messages"]
                   for a, b in zip(d.rows, d.rows[1:]))
        for i in range(3):
            sink.to(f"r{i}@example.org")


def test_advice_about_what_waits():
    conf = base(9)
    conf["queue"]["retry"] = {"glitch_interval": "1h"}
    with Umbra(conf) as u:
        u.send("s@example.org", ["r@example.org"], MESSAGE)
        u.wait("nexthop.delayed")
        p = subprocess.run([UMBRA, "-c", u.file, "drain", "--no-wait"],
                           capture_output=True, text=True, timeout=60,
                           check=False)
        assert p.returncode == 0
        assert re.match(r"1 deliveries wait for a retry time; the last retry "
                        r"is due at \S+\. To try them now: umbra queue retry "
                        r"--all --yes\n", p.stderr), p.stderr
        head, row = p.stdout.splitlines()
        assert head.split()[:3] == ["STATE", "MESSAGES", "ACTIVE"]
        assert row.split()[:2] == ["draining", "1"]


def test_interrupted_it_stays_draining_and_undrain_ends_others():
    with Umbra(base(9)) as u:
        u.send("s@example.org", ["r@example.org"], MESSAGE)
        a, b = Draining(u), Draining(u)
        a.until(lambda r: r["messages"] == 1)
        b.until(lambda r: r["messages"] == 1)
        a.proc.send_signal(signal.SIGINT)
        a.end()
        assert service(u) == "draining"
        u.cli("undrain")
        assert b.end() == 75
        assert service(u) == "in service"
        p = subprocess.run([UMBRA, "-c", u.file, "undrain"], text=True,
                           capture_output=True, timeout=60, check=False)
        assert (p.returncode, p.stderr) == (0, "It was in service already.\n")


def test_typed_again_it_only_looks():
    """Whoever wants to see how far it is orders nothing else by that."""
    with Umbra(base(9)) as u:
        u.send("s@example.org", ["r@example.org"], MESSAGE)
        (first,) = rows(u, "drain", "--no-wait", "--reason", "disk", "--by",
                        "ann")
        (row,) = rows(u, "drain", "--no-wait", "--by", "bob")
        assert (row["by"], row["reason"], row["since"]) == (
            "ann", "disk", first["since"])
        (row,) = rows(u, "drain", "--no-wait", "--by", "bob", "--reason",
                      "memory")
        assert (row["by"], row["reason"], row["since"]) == (
            "bob", "memory", first["since"])


def test_systemd_is_told(tmp_path):
    """systemctl status shows what is left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(LONG)

        def told(want):
            while True:
                got = s.recv(1000).decode()
                if got == want:
                    return
        with Peer(on=LATER) as sink, Umbra(
                base(sink.port),
                env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as u:
            told("READY=1")
            u.send("s@example.org", ["r@example.org"], MESSAGE)
            u.cli("drain", "--no-wait")
            told("STATUS=draining: 1 messages left, 0 sessions")
            sink.on.clear()
            told("STATUS=drained: takes no mail until umbra undrain")
            u.cli("undrain")
            told("STATUS=")


# --- restarts -----------------------------------------------------------------

@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_restart_is_still_draining(end):
    with Peer(on=LATER) as sink, Umbra(base(sink.port)) as u:
        msg = u.send("s@example.org", ["r@example.org"], MESSAGE)
        (row,) = rows(u, "drain", "--no-wait", "--reason", "disk")
        assert row["recorded"] is True
        since = rows(u, "status")[0]["drain_since"]
        for _ in range(2):
            getattr(u, end)()
            at = u.mark()
            u.start()
            line = u.wait("node.draining", since=at)
            assert (line["restored"], line["reason"]) == ("1", "disk")
            with u.smtp(hello=False) as c:
                assert c.greeting == GONE
            (row,) = rows(u, "status")
            assert (row["service"], row["drain_since"],
                    row["drain_reason"]) == ("draining", since, "disk")
        sink.on.clear()
        u.wait("message.done", msg=msg)
        u.wait("node.drained", since=at)
        u.cli("undrain")
        u.restart()
        assert service(u) == "in service"
        with u.smtp() as c:
            c.mail("s@example.org", ["again@example.org"], MESSAGE)
        sink.to("again@example.org")


def test_a_reload_changes_nothing_about_it():
    conf = base()
    with Umbra(conf) as u:
        u.cli("drain")
        conf["receive_connectors"].append(
            {"name": "new", "bind": ["127.0.0.1:{new}"]})
        assert u.reload(conf).event == "config.loaded"
        for door in ("relay", "new"):
            with u.smtp(door, hello=False) as c:
                assert c.greeting == GONE


# --- a pair -------------------------------------------------------------------

def held(node):
    return rows(node, "shadow", "status")[0]["held"]


def room(node, other):
    """What node knows of the room for copies on other."""
    (row,) = [x for x in rows(node, "shadow", "status")[0]["peers"]
              if x["name"] == other.name]
    return row["free"]


def test_peers_ask_another():
    """A drained node takes no copies; the next peer does. What it held, it
    holds, and says so at the end."""
    with Peer(on=LATER) as sink, Pair(n=3, sink=sink,
                                      receive={"shadow": "require"}) as p:
        p.wait_up()
        a, b, c = p.nodes
        a.send("s@example.org", ["one@example.org"], MESSAGE)
        assert held(b) == 1 and held(c) == 0
        p1 = subprocess.run([UMBRA, "-c", b.file, "drain"], text=True,
                            capture_output=True, timeout=60, check=False)
        assert re.search(r"^drained: nothing left, 1 copies held for peers "
                         r"\(\S+\)$", p1.stdout, re.M), p1
        for i in range(3):
            a.send("s@example.org", [f"more{i}@example.org"], MESSAGE)
        assert held(b) == 1 and held(c) == 3
        b.cli("undrain")
        until(lambda: room(a, b) == "ok")
        a.send("s@example.org", ["last@example.org"], MESSAGE)
        assert held(b) == 2
        sink.on.clear()
        until(lambda: held(b) == held(c) == 0, text=p.tail)


def test_what_was_taken_over_is_left():
    """What was taken over, and is not delivered before peers could be asked, is
    left, also beside a suspended message that waits at two next hops."""
    with Peer(on=LATER) as sink:
        host = {"smart_hosts": [f"127.0.0.1:{sink.port}"],
                "tls": {"mode": "none"}}
        send = [{"name": "out", "address_spaces": ["*"], **host},
                {"name": "other", "address_spaces": ["other.example"], **host}]
        with Pair(receive={"shadow": "prefer"}, more={"send_connectors": send},
                  shadow={"solo_after": "0s", "start_barrier": "5s"}) as p:
            p.wait_up()
            a, b = p.nodes
            a.send("s@example.org", ["taken@example.org"], MESSAGE)
            until(lambda: held(b) == 1)
            a.kill9()
            b.wait("shadow.link_down")
            b.cli("shadow", "takeover", a.name, "--yes")
            b.wait("shadow.takeover")
            b.send("s@example.org", ["one@example.org", "two@other.example"],
                   MESSAGE)
            b.cli("message", "suspend", "--where", "recipients == 2", "--yes")
            until(lambda: [m["recipients"] for m in rows(
                b, "message", "list", "--where", "state == suspended")] == [2])
            b.restart()
            at = b.mark()
            sink.on.clear()
            (row,) = rows(b, "drain", "--no-wait")
            assert (row["state"], row["messages"], row["suspended"]) == (
                "draining", 2, 2)
            assert b.wait("node.drained", since=at)["suspended"] == "2"
            sink.to("taken@example.org")
            assert len(b.seen("message.done", since=at)) == 1


def test_the_other_of_a_pair_takes_mail_alone():
    with Peer() as sink, Pair(sink=sink, receive={"shadow": "prefer"},
                              shadow={"solo_after": "0s"}) as p:
        p.wait_up()
        a, b = p.nodes
        b.cli("drain")
        a.send("s@example.org", ["r@example.org"], MESSAGE)
        sink.to("r@example.org")
        assert b.seen("shadow.held") == []
        assert a.wait("message.accepted")["shadow"] == "solo"


def test_typed_again_mail_still_goes_to_the_peer():
    with Peer(on=LATER) as sink, Pair(sink=sink) as p:
        p.wait_up()
        a, b = p.nodes
        (row,) = rows(a, "drain", "--no-wait", "--to", b.name, "--reason",
                      "disk")
        assert (row["to"], row["reason"]) == (b.name, "disk")
        for more in ((), ("--reason", "memory")):
            (row,) = rows(a, "drain", "--no-wait", *more)
            assert row["to"] == b.name
        assert row["reason"] == "memory"


def test_what_is_queued_is_given_to_a_peer():
    """--to: the queue goes to the peer, which delivers it; also what comes
    into it later by a session that was open; and after a restart it goes on."""
    with Peer(on=LATER) as slow, Peer() as good, Pair(
            sink=[slow, good], receive={"shadow": "require"}) as p:
        p.wait_up()
        a, b = p.nodes
        for i in range(20):
            a.send("s@example.org", [f"r{i}@example.org"], MESSAGE)
        with a.smtp() as c:
            c.envelope("s@example.org", ["last@example.org"])
            c.ok("DATA", 354)
            d = Draining(a, "--to", b.name.upper(), "--reason", "to b")
            d.until(lambda r: r["given"] >= 20 and r["sessions"] == 1)
            c.send("Subject: x\r\n\r\nx\r\n.\r\n")
            assert c.reply() == 250
        assert d.end() == 0
        row = d.rows[-1]
        assert (row["state"], row["messages"], row["given"], row["to"],
                row["unsure"], row["no_identity"]) == (
                    "drained", 0, 21, b.name.upper(), 0, 0)
        for who in [f"r{i}" for i in range(20)] + ["last"]:
            good.to(f"{who}@example.org")
        a.restart()
        (line,) = [x for x in a.seen("node.draining") if
                   x["restored"] == "1"]
        assert line["to"] == b.name.upper()
        until(lambda: service(a) == "drained")
        a.cli("undrain")
        a.send("s@example.org", ["mine@example.org"], MESSAGE)
        a.wait("delivery.deferred", to="<mine@example.org>")
        assert len(good.messages) == 21


def test_a_peer_that_cannot_take_it():
    with Peer(on=LATER) as slow, Pair(sink=slow) as p:
        p.wait_up()
        a, b = p.nodes
        a.send("s@example.org", ["r@example.org"], MESSAGE)
        for name in ("relay9.umbra.test", a.name):
            r = subprocess.run([UMBRA, "-c", a.file, "drain", "--to", name],
                               text=True, capture_output=True, timeout=60,
                               check=False)
            assert r.returncode == 65 and "shadow.peers" in r.stderr, r
        assert service(a) == "in service"
        b.cli("drain", "--no-wait")
        # Heard of with the next PING; what is given before is not refused.
        until(lambda: room(a, b) == "full")
        r = subprocess.Popen([UMBRA, "-c", a.file, "drain", "--to", b.name],
                             text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        said = ""
        while "Nothing is given" not in said:
            said = r.stderr.readline()
            assert said, r.communicate()
        assert said == (f"Nothing is given to {b.name}: it takes no mail now: "
                        "it is drained, or short of room.\n")
        b.cli("undrain")
        out, _ = r.communicate(timeout=LONG)
        assert r.returncode == 0
        assert f"1 given to {b.name}" in out
