"""One process hands over to the next: nobody is refused, nothing is lost or
comes twice, and whatever fails leaves somebody who goes on.

`holding` keeps the old process between "ready" and its end: a client in the
middle of a message."""
import contextlib
import ctypes
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from certs import self_signed
from ledger import Ledger
from load import Load, Sink
from pair import Pair
from peer import Peer
from smtp import Smtp
from umbra import UMBRA, UMBRAD, Adopted, Umbra, base
from wait import LONG, until

MESSAGE = b"Subject: upgrade\r\n\r\nbody\r\n"
#: How often under load; a quiet machine needs seconds for it.
UPGRADES = int(os.environ.get("UMBRA_UPGRADES", "50"))


@pytest.fixture
def peer():
    with Peer() as p:
        yield p


def upgrade(u, *args):
    """The command, in the background."""
    Adopted.prepare()
    return subprocess.Popen(
        [UMBRA, "--socket", u.socket, "upgrade", "--json", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=u.env)


def refused(u, *args):
    """It must fail; what is said, with the process that goes on."""
    p = upgrade(u, *args)
    out, err = p.communicate(timeout=LONG * 3)
    assert p.returncode not in (0, None), (out, err)
    assert u.running()
    return json.loads(out)["error"] if out else json.loads(err)["error"]


def works(u, peer, mark):
    u.send("a@b.test", f"{mark}@example.org", MESSAGE)
    assert peer.to(f"{mark}@example.org").body == MESSAGE


def script(u, text):
    """A program in place of the new umbrad."""
    path = os.path.join(u.dir, "umbrad.sh")
    with open(path, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


@contextlib.contextmanager
def holding(u, *args):
    """A client in the middle of a message while an upgrade is ready; gives
    the client, the command, and the pid of the next process."""
    with u.smtp() as c:
        c.envelope("a@b.test", "held@example.org")
        c.ok("DATA", 354)
        c.send(MESSAGE)
        at = u.mark()
        p = upgrade(u, *args)
        child = int(u.wait("upgrade.ready", since=at)["child"])
        yield c, p, child
        p.kill()
        p.communicate()


def end(c):
    c.send(b".\r\n")
    assert c.reply().code == 250


def told(p):
    out, err = p.communicate(timeout=LONG * 2)
    assert out, err
    return json.loads(out)


def files_of(proc):
    folder = f"/proc/{proc.pid}/fd"
    found = []
    for fd in os.listdir(folder):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"{folder}/{fd}"))
    return found


# --- what clients see -----------------------------------------------------------

def test_under_load():
    ledger = Ledger()
    gaps = []
    with Sink(ledger) as sink, Umbra(base(sink.port)) as u, \
            Load(u.port("relay"), clients=5, slow=0.05,
                 ledger=ledger) as load:
        load.more(20)
        for _ in range(UPGRADES):
            gaps.append(u.upgrade()["gap_seconds"])
            load.more(8)
        load.__exit__(None)
        counts = load.verify()
        assert not u.seen("delivery.in_doubt")
    print(f"{UPGRADES} upgrades, {counts}, "
          f"{sum(c.goodbyes for c in load.clients)} times 421 between "
          f"messages; gap {max(gaps) * 1000:.0f} ms at most, greeting after "
          f"{max(c.longest for c in load.clients) * 1000:.0f} ms at most")


def test_sessions_and_connections(peer):
    """A transaction is finished, an idle session gets 421, a new connection
    and a command wait for the next process."""
    with Umbra(base(peer.port)) as u:
        idle = u.smtp()
        with holding(u) as (c, p, child):
            assert idle.reply() == "421 4.3.2"
            assert idle.eof()
            waiting = [socket.create_connection(
                ("127.0.0.1", u.port(door)), timeout=LONG)
                for door in ("relay", "inbound") for _ in range(20)]
            status = subprocess.Popen(
                [UMBRA, "--socket", u.socket, "status", "--json"],
                stdout=subprocess.PIPE, text=True, env=u.env)
            end(c)
            for s in waiting:
                assert s.recv(4) == b"220 "
                s.close()
            assert json.loads(status.communicate(timeout=LONG)[0])
            got = told(p)
        assert got["state"] == "taken over" and got["pid"] == child
        assert got["previous_pid"] == u.proc.pid and got["gap_seconds"] > 0
        u.succeeded(child)
        assert peer.to("held@example.org").body == MESSAGE
        works(u, peer, "after")
        assert json.loads(u.cli("upgrade", "--last", "--json")) == got
    assert not os.path.exists(u.socket)


def test_queue_comes_along(peer):
    """What waits is delivered by the next process, retry times and all."""
    with Umbra(base(peer.port)) as u:
        peer.down()
        for i in range(20):
            u.send("a@b.test", f"q{i}@example.org", MESSAGE)
        u.wait("nexthop.delayed")
        u.upgrade()
        peer.up()
        for i in range(20):
            peer.to(f"q{i}@example.org")
        assert len(peer.messages) == 20


def test_draining_stays(peer):
    """What an administrator has ordered counts for the next process; HTTP
    comes along too."""
    conf = base(peer.port, http={"bind": "127.0.0.1:{http}"})
    with Umbra(conf) as u:
        def ready():
            url = f"http://127.0.0.1:{u.port('http')}/readyz"
            try:
                with urllib.request.urlopen(url, timeout=LONG) as r:
                    return r.status
            except urllib.error.HTTPError as e:
                return e.code

        assert ready() == 200
        u.cli("drain", "--no-wait")
        u.upgrade()
        assert ready() == 503
        c = u.smtp(hello=False)
        assert c.greeting.code == 421
        c.close()
        u.cli("undrain")
        u.upgrade()
        assert ready() == 200
        works(u, peer, "after")


def test_no_descriptor_is_inherited(peer):
    """The next process has the files that the first one had, and no more."""
    with Umbra(base(peer.port)) as u:
        first = sorted(f for f in files_of(u.proc) if f.startswith(u.dir))
        for _ in range(2):
            u.upgrade()
            assert sorted(f for f in files_of(u.proc)
                          if f.startswith(u.dir)) == first


def test_signal(peer):
    Adopted.prepare()
    with Umbra(base(peer.port)) as u:
        u.signal(signal.SIGUSR2)
        line = u.wait("upgrade.taken")
        assert line["previous"] == str(u.proc.pid)
        u.succeeded(int(u.wait("upgrade.done")["child"]))
        works(u, peer, "after")
        assert "upgrade.taken" not in str(u.stray)


def test_changed_configuration(peer):
    """The next process reads the file: binds come and go."""
    conf = base(peer.port)
    with Umbra(conf) as u:
        conf["receive_connectors"][1]["bind"] = ["127.0.0.1:{other}"]
        conf["control"] = {"socket": u.socket + ".new"}
        u.configure(conf)
        old = u.socket
        p = upgrade(u)
        pid = int(u.wait("upgrade.done")["child"])
        p.kill()
        p.communicate()
        u.succeeded(pid)
        u.socket += ".new"
        with u.smtp("other") as c:
            c.ok("NOOP")
        with pytest.raises(OSError):
            u.smtp("inbound")
        assert "mx.umbra.test" in u.cli("status")
        works(u, peer, "after")
        assert not os.path.exists(old)


def test_pair():
    """Links come back, nothing is taken over, no client sees anything."""
    ledger = Ledger()
    Adopted.prepare()
    with Sink(ledger) as sink, Pair(sink=sink.port, receive={
            "shadow": "require",
            "limits": {"connections_per_source": 1000}}) as p:
        p.wait_up()
        with Load(p.nodes[0].port("relay"), clients=3, ledger=ledger) as load:
            for i in range(4):
                load.more(10)
                p.nodes[i % 2].upgrade()
            load.more(10)
            load.__exit__(None)
            load.verify()
        for n in p.nodes:
            assert not n.seen("shadow.takeover") and not n.seen("shadow.solo")


# --- before it is ready: the old one goes on --------------------------------------

def test_refused_and_nothing_happens(peer):
    conf = base(peer.port)
    with Umbra(conf) as u, u.smtp() as kept:
        good = open(u.file, encoding="utf-8").read()

        def file(text):
            with open(u.file, "w", encoding="utf-8") as f:
                f.write(text)

        file(good.replace('"queue"', '"queues"'))
        assert "queues: unknown key" in refused(u)
        tls = json.loads(good)
        tls["receive_connectors"][0]["tls"] = {
            "mode": "offer", "cert": "/no.pem", "key": "/no.key"}
        file(json.dumps(tls))
        assert "/no.pem" in refused(u)
        with Peer() as other:
            bind = json.loads(good)
            bind["receive_connectors"][0]["bind"].append(
                f"127.0.0.1:{other.port}")
            file(json.dumps(bind))
            assert str(other.port) in refused(u)
        file(good)
        assert "No such file" in refused(u, "--binary", "/no/such/umbrad")
        assert "ended before it was ready" in \
            refused(u, "--binary", "/bin/true")
        loose = script(u, "exit 0\n")
        os.chmod(loose, 0o777)
        assert "chmod go-w" in refused(u, "--binary", loose)
        os.chmod(loose, 0o644)
        assert "cannot be executed" in refused(u, "--binary", loose)
        # Nor one that somebody could put another in the place of.
        os.chmod(loose, 0o755)
        shared = os.path.join(u.dir, "shared")
        os.mkdir(shared)
        link = os.path.join(u.dir, "link")
        os.rename(loose, shared + "/umbrad")
        os.symlink(shared + "/umbrad", link)
        os.chmod(shared, 0o777)
        for name in (shared + "/umbrad", link):
            assert f"{shared} must belong" in refused(u, "--binary", name)
        # Each in the log; the sessions of before and new ones go on.
        assert len(u.seen("upgrade.failed")) == 4
        kept.mail("a@b.test", "kept@example.org", MESSAGE)
        assert peer.to("kept@example.org")
        works(u, peer, "new")
        last = json.loads(u.cli("upgrade", "--last", "--json", want=69))
        assert last["state"] == "failed" and last["pid"] == u.proc.pid
        u.upgrade()
        works(u, peer, "after")


def newer(u):
    """The database becomes one of a newer schema, as far as is seen."""
    path = os.path.join(u.data, "data.mdb")
    with open(path, "r+b") as f:
        data = f.read()
        found = [m.start() + 9 for m in
                 re.finditer(rb"schema\0\0\0[\1-\x20]", data)]
        assert found
        for at in found:
            f.seek(at)
            f.write(b"\x7f")


def test_newer_database(peer):
    """An older program finds out before anything has stopped; and at a start
    it says so, with status 78."""
    with Umbra(base(peer.port)) as u:
        works(u, peer, "before")
        newer(u)
        said = refused(u)
        assert "schema version 127" in said and "newer Umbra" in said
        works(u, peer, "after")
        u.proc.terminate()
        assert u.ended() == 0
        u.launch()
        assert u.ended() == 78
        assert any("install that one" in s for s in u.stray), u.stray
        u.proc = None


def test_one_at_a_time(peer):
    with Umbra(base(peer.port)) as u:
        gate = os.path.join(u.dir, "gate")
        slow = script(u, f"while [ ! -e {gate} ]; do sleep 0.05; done\n"
                      f"exec {UMBRAD} \"$@\"\n")
        p = upgrade(u, "--binary", slow)
        u.wait("upgrade.begun")
        assert "under way" in refused(u)
        works(u, peer, "meanwhile")
        open(gate, "w", encoding="utf-8").close()
        got = told(p)
        u.succeeded(got["pid"])
        works(u, peer, "after")


def test_refused_with_another_name_of_a_socket(peer):
    """The next process that cannot go on has not touched the socket that the
    running one listens on, however the new file spells its path."""
    with Umbra(base(peer.port)) as u:
        conf = base(peer.port, submission={"socket": "/not/there/s"},
                    control={"socket": os.path.join(u.dir, ".", "ctl.sock")})
        before = open(u.file, encoding="utf-8").read()
        u.configure(conf)
        assert "/not/there/s" in refused(u)
        with open(u.file, "w", encoding="utf-8") as f:
            f.write(before)
        assert "mx.umbra.test" in u.cli("status")
        del conf["submission"]
        u.configure(conf)
        u.upgrade()
        assert "mx.umbra.test" in u.cli("status")
    assert not os.path.exists(u.socket)


def test_another_directory_is_refused(peer):
    """What is queued would be left behind. Another name of the same one will
    do."""
    with Umbra(base(peer.port)) as u:
        peer.down()
        u.send("a@b.test", "q@example.org", MESSAGE)
        conf = base(peer.port)
        conf["node"]["data"] = u.data + ".new"
        u.configure(conf)
        said = refused(u)
        assert "node.data" in said and f"mv {u.data} {u.data}.new" in said
        assert not os.path.exists(u.data + ".new")
        os.symlink(u.data, u.data + ".new")
        u.upgrade()
        peer.up()
        assert peer.to("q@example.org").body == MESSAGE


# A new process that cannot, and does not end.
LINGERS = """#!{python}
import os, time
line = int(os.environ["UMBRA_UPGRADE_LINE"].split()[0])
os.write(line, b"failed no time")
os.close(line)
time.sleep(600)
"""


def test_a_failed_one_that_stays_is_ended(peer):
    with Umbra(base(peer.port)) as u:
        lingers = script(u, "")
        with open(lingers, "w", encoding="utf-8") as f:
            f.write(LINGERS.format(python=sys.executable))
        p = upgrade(u, "--binary", lingers)
        child = int(u.wait("upgrade.failed")["child"])
        assert f"pid {child}, has failed" in refused(u)
        # Who is told that it failed can try again at once.
        assert "no time" in told(p)["error"]
        assert not os.path.exists(f"/proc/{child}")
        u.upgrade()
        # Nor does it outlive the one that goes on.
        at = u.mark()
        p = upgrade(u, "--binary", lingers)
        child = int(u.wait("upgrade.failed", since=at)["child"])
        u.restart()
        p.communicate(timeout=LONG)
        until(lambda: not os.path.exists(f"/proc/{child}") or
              "zombie" in open(f"/proc/{child}/status",
                               encoding="ascii").read())


# --- the line of succession ---------------------------------------------------------

def test_next_dies_after_ready(peer):
    """The old program starts again in its place, with its sockets: who waits
    is served."""
    with Umbra(base(peer.port)) as u:
        with holding(u) as (c, p, child):
            waiting = socket.create_connection(
                ("127.0.0.1", u.port("relay")), timeout=LONG)
            os.kill(child, signal.SIGKILL)
            at = u.mark()
            end(c)
            line = u.wait("upgrade.failed", since=at)
            assert "starts again" in line["text"]
            assert waiting.recv(4) == b"220 "
            waiting.close()
        assert u.running()
        u.wait("node.start", since=at, pid=u.proc.pid)
        works(u, peer, "after")
        u.upgrade()
        works(u, peer, "again")


@contextlib.contextmanager
def failing(u):
    """An upgrade to the same program with a certificate that is gone when it
    is its turn: it fails in order, after it was told to go. Gives the command
    when that has happened."""
    conf = json.loads(open(u.file, encoding="utf-8").read())
    cert, key = self_signed(u.dir)
    conf["receive_connectors"][0]["tls"] = {
        "mode": "offer", "cert": cert, "key": key}
    other = os.path.join(u.dir, "other.yaml")
    with open(other, "w", encoding="utf-8") as f:
        json.dump(conf, f)
    with holding(u, "--binary", script(
            u, f"exec {UMBRAD} -c {other}\n")) as (c, p, child):
        os.unlink(cert)
        at = u.mark()
        end(c)
        assert cert in u.wait("upgrade.failed", since=at, child=child)["text"]
        u.wait("node.ready", since=at)
        yield p


def test_next_fails_in_order_after_go(peer):
    """It takes nothing with it: the old program, started again, is reached at
    all of its sockets."""
    conf = base(peer.port)
    with Umbra(conf) as u:
        conf["submission"] = {"socket": os.path.join(u.dir, "submit.sock")}
        assert u.reload(conf).event == "config.loaded"
        with failing(u):
            assert "mx.umbra.test" in u.cli("status")
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(conf["submission"]["socket"])
                assert s.recv(4) == b"220 "
            works(u, peer, "after")
        u.upgrade()
        works(u, peer, "again")


def test_a_late_failure_is_told(peer):
    """Who asked for the upgrade hears from the old program, started again,
    that it came to nothing and why; so does who asks later."""
    with Umbra(base(peer.port)) as u:
        with failing(u) as p:
            got = told(p)
            assert p.returncode == 69
        assert got["state"] == "failed" and got["pid"] == u.proc.pid
        assert "cannot read certificate" in got["error"]
        assert "starts again in its place" in got["error"]
        assert json.loads(u.cli("upgrade", "--last", "--json", want=69)) == got
        u.upgrade()
        assert json.loads(u.cli("upgrade", "--last", "--json"))["error"] is None


def test_nobody_knows_of_the_upgrade(peer):
    """The process that was asked is killed, and what the service manager
    starts has no upgrade behind it: that is no success."""
    with Umbra(base(peer.port)) as u:
        p = upgrade(u, "--binary", script(u, "exec sleep 600\n"))
        child = int(u.wait("upgrade.begun")["child"])
        u.cli("status")  # the answer has left before this one
        p.send_signal(signal.SIGSTOP)
        u.kill9()
        os.kill(child, signal.SIGKILL)
        u.start()
        assert "none" in u.cli("upgrade", "--last")
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate(timeout=LONG)
        assert p.returncode == 69 and out == ""
        assert "knows of no upgrade" in json.loads(err)["error"]


# A new process that has the queue already when it finds that it cannot go on,
# and takes its time to give it back.
REFUSES_LATE = """#!{python}
import fcntl, os, time
line = int(os.environ["UMBRA_UPGRADE_LINE"].split()[0])
os.write(line, b"ready 0\\n")
os.read(line, 200)
lock = open({lock!r}, "r+")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.write(line, b"failed no control socket")
os.close(line)
time.sleep(1)
"""


def refuses_late(u):
    late = script(u, "")
    with open(late, "w", encoding="utf-8") as f:
        f.write(REFUSES_LATE.format(
            python=sys.executable, lock=os.path.join(u.data, "umbra.lock")))
    return late


def test_next_refuses_with_the_queue_in_hands(peer):
    """The old program starts again when the lock is free, not before."""
    with Umbra(base(peer.port)) as u:
        at = u.mark()
        p = upgrade(u, "--binary", refuses_late(u))
        assert "no control socket" in u.wait("upgrade.failed", since=at)["text"]
        u.wait("node.ready", since=at)
        p.kill()
        p.communicate()
        assert u.running()
        works(u, peer, "after")
        u.upgrade()
        works(u, peer, "again")


def test_nobody_can_be_started_again(peer):
    """The new process fails, and the old program cannot be executed: that is
    no clean end, so that the service manager starts the unit."""
    # More than an exec may bring along under a small limit of the stack.
    env = {f"UMBRA_TEST_{i}": "x" * 100_000 for i in range(3)}
    with Umbra(base(peer.port), env=env) as u:
        with holding(u) as (c, _p, child):
            resource.prlimit(
                u.proc.pid, resource.RLIMIT_STACK, (1 << 19, 1 << 19))
            os.kill(child, signal.SIGKILL)
            at = u.mark()
            end(c)
            assert u.ended() == 71
        assert "cannot be started again" in \
            u.seen("upgrade.failed", since=at)[-1]["text"]
        assert u.wait("node.stopped", since=at)["status"] == "71"
        u.proc = None
        u.start()
        assert peer.to("held@example.org").body == MESSAGE


def test_old_is_killed_after_ready(peer):
    """The next one takes over when the lock is gone."""
    with Umbra(base(peer.port)) as u:
        works(u, peer, "before")
        with holding(u) as (_c, p, child):
            waiting = socket.create_connection(
                ("127.0.0.1", u.port("relay")), timeout=LONG)
            u.proc.kill()
            u.succeeded(child, -9)
            assert waiting.recv(4) == b"220 "
            waiting.close()
        works(u, peer, "after")


def test_old_is_killed_before_ready(peer):
    with Umbra(base(peer.port)) as u:
        gate = os.path.join(u.dir, "gate")
        slow = script(u, f"while [ ! -e {gate} ]; do sleep 0.05; done\n"
                      f"exec {UMBRAD} \"$@\"\n")
        p = upgrade(u, "--binary", slow)
        child = int(u.wait("upgrade.begun")["child"])
        u.proc.kill()
        assert u.proc.wait(LONG) == -9
        open(gate, "w", encoding="utf-8").close()
        u.proc = Adopted(child)
        u.wait("upgrade.taken")
        p.kill()
        p.communicate()
        works(u, peer, "after")


def test_stop_wins(peer):
    """SIGTERM while it hands over: both end, nobody starts again."""
    with Umbra(base(peer.port)) as u:
        with holding(u) as (c, p, child):
            u.signal(signal.SIGTERM)
            end(c)
            assert u.ended() == 0
        u.proc = Adopted(child)
        assert u.proc.wait() == 0
        assert u.seen("upgrade.failed")[-1]["text"] == "a stop was asked for"
        u.proc = None
        u.start()
        assert peer.to("held@example.org").body == MESSAGE


@pytest.mark.parametrize("dies", [False, True])
def test_stop_wins_at_the_last_moment(peer, dies):
    """SIGTERM for the old process when the queue is closed and the next one
    was told to go: that one ends as soon as it runs; or, as when the service
    manager stops all of them, before, and nobody starts again."""
    with Umbra(base(peer.port)) as u:
        with holding(u) as (c, p, child):
            os.kill(child, signal.SIGSTOP)
            end(c)
            until(lambda: not any("data.mdb" in f for f in files_of(u.proc)))
            u.signal(signal.SIGTERM)
            at = u.mark()
            if dies:
                os.kill(child, signal.SIGKILL)
            os.kill(child, signal.SIGCONT)
            assert u.proc.wait(LONG) == 0
            if dies:
                assert "a stop was asked for" in u.wait(
                    "upgrade.failed", since=at)["text"]
                assert not u.seen("node.start", since=at)
            else:
                u.proc = Adopted(child)
                assert u.proc.wait() == 0
                u.wait("node.stopped", since=at, count=2)
        u.proc = None
        u.start()
        assert peer.to("held@example.org").body == MESSAGE


class Log:
    """The log of a relay that is read only when it is said."""

    def __init__(self, u):
        self.end, self.theirs = os.pipe()
        self.text = b""
        os.makedirs(u.data, exist_ok=True)
        u.proc = subprocess.Popen([UMBRAD, "-c", u.file], env=u.env,
                                  cwd=u.dir, stderr=self.theirs)
        u._reader = threading.Thread(target=int)  # it has no work
        u._reader.start()

    def more(self):
        assert select.select([self.end], [], [], LONG)[0], self.text
        got = os.read(self.end, 65536)
        self.text += got
        return got

    def wait(self, text):
        while text not in self.text:
            assert self.more()

    def fill(self):
        """Nothing goes in any more: who writes a line waits."""
        fd = os.open(f"/proc/self/fd/{self.theirs}",
                     os.O_WRONLY | os.O_NONBLOCK)
        for n in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(fd, b"x" * n)
        os.close(fd)

    def rest(self):
        os.close(self.theirs)
        while self.more():
            pass
        os.close(self.end)
        return self.text


def test_stop_for_the_old_one_that_is_done(peer):
    """The next one runs, and the old one has nothing left to do than to get
    its last lines out: a stop is not lost, and neither are they."""
    Adopted.prepare()
    with Umbra(base(peer.port), start=False) as u:
        log = Log(u)
        log.wait(b" node.ready ")
        old = u.proc
        with u.smtp() as c:
            c.envelope("a@b.test", "held@example.org")
            c.ok("DATA", 354)
            c.send(MESSAGE)
            p = upgrade(u)
            log.wait(b" upgrade.ready ")
            log.fill()
            end(c)
        u.proc = Adopted(told(p)["pid"])
        until(lambda: "futex" in open(f"/proc/{old.pid}/wchan",
                                      encoding="ascii").read())
        old.terminate()
        text = log.rest()
        assert old.wait(LONG) == 0
        assert u.proc.wait() == 0
        assert b" upgrade.done " in text and b" upgrade.taken " in text
        assert text.count(b" node.stopped status=0") == 2
        u.proc = None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_wins_while_the_failed_one_ends(peer, number):
    """The next process has refused and has not ended yet: the old one is not
    started again after that."""
    with Umbra(base(peer.port)) as u:
        at = u.mark()
        p = upgrade(u, "--binary", refuses_late(u))
        assert "starts again" in u.wait("upgrade.failed", since=at)["text"]
        u.signal(number)
        assert u.ended() == 0
        p.kill()
        p.communicate()
        assert u.seen("upgrade.failed")[-1]["text"] == "a stop was asked for"
        assert not u.seen("node.start", since=at)
        u.proc = None
        u.start()
        works(u, peer, "after")


def test_status_says_that_nobody_answers(peer):
    """Sockets are open before the daemon answers: as in a long start."""
    with Umbra(base(peer.port)) as u:
        u.signal(signal.SIGSTOP)
        with subprocess.Popen([UMBRA, "--socket", u.socket, "status"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=u.env) as p:
            assert "umbrad is starting" in p.stderr.readline()
            u.signal(signal.SIGCONT)
            assert "mx.umbra.test" in p.communicate(timeout=LONG)[0]
            assert p.returncode == 0


# --- a reload meanwhile -------------------------------------------------------------

class Starting:
    """An upgrade whose next process has read the configuration and is not
    ready: it waits for the octets of a further file, which is a pipe."""

    def __init__(self, u):
        self.u = u
        self.more = os.path.join(u.dir, "conf.d", "more.yaml")

    def __enter__(self):
        os.mkdir(os.path.dirname(self.more))
        os.mkfifo(self.more)
        self.p = upgrade(self.u)
        self.u.wait("upgrade.begun")
        self.pipe = open(self.more, "wb", buffering=0)  # waits for its reader
        os.unlink(self.more)
        return self

    def change(self, commands):
        """Another file for who reads it from now on."""
        conf = json.loads(open(self.u.file, encoding="utf-8").read())
        conf["receive_connectors"][0].setdefault("limits", {})[
            "commands"] = commands
        self.u.configure(conf)

    def go_on(self, octets=b"{}\n"):
        self.pipe.write(octets)
        self.pipe.close()

    def __exit__(self, *_):
        self.pipe.close()
        self.p.kill()
        self.p.communicate()


def commands_of(u):
    """As the running process has it."""
    text = u.cli("--socket", u.socket, "config", "show", "--all")
    return int(re.search(r"commands: (\d+)", text)[1])


def test_reload_signal_while_the_next_one_starts(peer):
    """SIGHUP when the next process has read the file already: it is not lost,
    the next one reloads when it runs."""
    with Umbra(base(peer.port)) as u:
        with Starting(u) as s:
            s.change(777)
            u.signal(signal.SIGHUP)
            u.wait("upgrade.reload_held")
            assert not u.seen("config.loaded")
            at = u.mark()
            s.go_on()
            got = told(s.p)
        assert got["state"] == "taken over"
        u.succeeded(got["pid"])
        assert u.wait("config.loaded", since=at)["changes"] == "1"
        assert commands_of(u) == 777
        works(u, peer, "after")


def test_reload_command_while_the_next_one_starts(peer):
    """It is refused, with what to do; afterwards it is done."""
    with Umbra(base(peer.port)) as u:
        with Starting(u) as s:
            s.change(777)
            said = subprocess.run(
                [UMBRA, "--socket", u.socket, "config", "reload"], env=u.env,
                capture_output=True, text=True, check=False)
            assert said.returncode == 75
            assert "umbra upgrade --last" in said.stderr
            assert commands_of(u) != 777
            s.go_on()
            u.succeeded(told(s.p)["pid"])
        u.cli("--socket", u.socket, "config", "reload")
        assert commands_of(u) == 777


def test_reload_signal_and_no_upgrade(peer):
    """The next process fails: this one reloads then."""
    with Umbra(base(peer.port)) as u:
        with Starting(u) as s:
            s.change(777)
            u.signal(signal.SIGHUP)
            u.wait("upgrade.reload_held")
            at = u.mark()
            s.go_on(b"no_such_key: 1\n")
            s.p.communicate(timeout=LONG)
            assert s.p.returncode == 69
        failed = u.wait("upgrade.failed", since=at)
        assert "no_such_key" in failed["text"]
        assert u.wait("config.loaded", since=at)["changes"] == "1"
        assert commands_of(u) == 777
        # Once.
        u.upgrade()
        assert len(u.seen("config.loaded", since=at)) == 1


def test_reload_signal_while_it_hands_over(peer):
    """SIGHUP for the old process when the next one is ready, and when that
    one opens the queue: the next one reloads when it runs."""
    with Umbra(base(peer.port)) as u:
        with holding(u) as (c, p, child):
            u.signal(signal.SIGHUP)
            u.wait("upgrade.reload_held")
            at = u.mark()
            end(c)
            assert told(p)["state"] == "taken over"
        u.succeeded(child)
        u.wait("config.loaded", since=at)
        works(u, peer, "one")
        with holding(u) as (c, p, child):
            os.kill(child, signal.SIGSTOP)
            end(c)
            # The queue is closed; the next one has been told to go.
            until(lambda: not any("data.mdb" in f for f in files_of(u.proc)))
            u.signal(signal.SIGHUP)
            at = u.mark()
            os.kill(child, signal.SIGCONT)
            assert told(p)["state"] == "taken over"
        u.succeeded(child)
        u.wait("config.loaded", since=at)
        works(u, peer, "two")
        # It dies with what it held.
        with holding(u) as (c, p, child):
            u.signal(signal.SIGHUP)
            u.wait("upgrade.reload_held", count=3)
            at = u.mark()
            u.proc.kill()
            u.succeeded(child, -9)
        u.wait("config.loaded", since=at)
        works(u, peer, "three")


def lock_of(proc):
    """The lock of the queue, as if a thread of proc still had it."""
    folder = f"/proc/{proc.pid}/fd"
    fd = next(int(x) for x in os.listdir(folder)
              if os.readlink(f"{folder}/{x}").endswith("/umbra.lock"))
    pidfd_getfd = 438
    of = os.pidfd_open(proc.pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        got = libc.syscall(pidfd_getfd, of, fd, 0)
        if got < 0:
            pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        return got
    finally:
        os.close(of)


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return int(f.read().rpartition(")")[2].split()[1])


def test_the_old_process_dies_and_has_the_queue_still(peer):
    """Its children have another parent before the last of its threads has
    given its files back: the next process waits for the lock."""
    with Umbra(base(peer.port)) as u:
        with holding(u) as (_, _p, child):
            lock = lock_of(u.proc)
            at = u.mark()
            u.proc.kill()
            u.succeeded(child, -9)
            until(lambda: parent_of(child) == os.getpid())
            with pytest.raises(AssertionError):
                u.wait("node.start", since=at, timeout=0.5)
            os.close(lock)
        u.wait("node.ready", since=at)
        works(u, peer, "after")


# --- the service manager -------------------------------------------------------------

@contextlib.contextmanager
def service(peer):
    """A relay that is ready, and what it tells the service manager."""
    Adopted.prepare()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind("\0umbra-test-%d" % os.getpid())
        n.settimeout(LONG)
        env = {"NOTIFY_SOCKET": "@umbra-test-%d" % os.getpid()}
        with Umbra(base(peer.port), env=env) as u:
            assert n.recv(100) == b"READY=1"
            yield u, n


def test_systemd_is_told(peer):
    with service(peer) as (u, n):
        got = u.upgrade()
        assert n.recv(100) == b"READY=1\nMAINPID=%d" % got["pid"]
        u.reload()
        assert n.recv(100) == b"RELOADING=1"
        assert n.recv(100) == b"READY=1"


def test_systemd_is_told_that_a_reload_is_over(peer):
    """SIGHUP, and an upgrade that is done before the file was read: the
    service is no longer reloading."""
    with service(peer) as (u, n):
        slow = os.path.join(u.dir, "conf.d", "slow.yaml")
        os.mkdir(os.path.dirname(slow))
        os.mkfifo(slow)
        u.signal(signal.SIGHUP)
        assert n.recv(100) == b"RELOADING=1"
        with open(slow, "wb", buffering=0):  # waits for its reader
            os.unlink(slow)
            p = upgrade(u)
            said = n.recv(100)
            child = int(u.wait("upgrade.done")["child"])
            assert said == b"READY=1\nMAINPID=%d" % child
        u.succeeded(child)
        assert told(p)["pid"] == child
        assert not u.seen("config.loaded")
        works(u, peer, "after")


#: What systemd does for a service with a socket: descriptor 3, and its pid.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd(peer):
    """LISTEN_FDS: used at their addresses, the rest is opened."""
    with Umbra(base(peer.port), start=False) as u:
        s = socket.socket()
        s.bind(("127.0.0.1", u.port("relay")))
        s.listen(5)
        with socket.create_connection(
                ("127.0.0.1", u.port("relay")), timeout=LONG) as waiting:
            os.makedirs(u.data, exist_ok=True)
            u.proc = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(s.fileno()), UMBRAD,
                 "-c", u.file], pass_fds=[s.fileno()], env=u.env,
                stderr=subprocess.PIPE, cwd=u.dir)
            u._reader = threading.Thread(
                target=u._read, args=(u.proc.stderr,), daemon=True)
            u._reader.start()
            s.close()
            assert waiting.recv(4) == b"220 "
        u.wait("node.ready")
        works(u, peer, "through")
        with u.smtp("inbound") as c:
            c.ok("NOOP")


def test_another_access_over_an_upgrade(peer):
    """The socket that stays gets the permissions of the new file."""
    with Umbra(base(peer.port), start=False) as u:
        path = os.path.join(u.dir, "submit.sock")
        u.configure(base(peer.port, submission={"socket": path}))
        u.start()
        assert os.stat(path).st_mode & 0o777 == 0o666
        u.configure(base(peer.port, submission={
            "socket": path, "access": "group"}))
        u.upgrade()
        assert os.stat(path).st_mode & 0o777 == 0o660


def test_local_mail_over_an_upgrade(peer):
    """The submission socket stays the same one, and a directory changes hands
    when the old process is done with it."""
    with Umbra(base(peer.port)) as u:
        spool = os.path.join(u.dir, "pickup")
        submit = os.path.join(u.dir, "submit.sock")
        os.mkdir(spool)
        assert u.reload(base(
            peer.port, submission={"socket": submit},
            pickup={"directory": spool, "interval": "100ms"})
        ).event == "config.loaded"
        ino = os.stat(submit).st_ino

        def both(mark):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(submit)
                f = s.makefile("rb")
                for line, code in ((b"", b"220"), (b"HELO x", b"250"),
                                   (b"MAIL FROM:<a@b.test>", b"250"),
                                   (b"RCPT TO:<s%d@c.test>" % mark, b"250"),
                                   (b"DATA", b"354"), (b"x\r\n.", b"250")):
                    s.sendall(line + b"\r\n" if line else b"")
                    assert f.readline().startswith(code)
            path = os.path.join(spool, f"{mark}")
            with open(path, "wb") as f:
                f.write(b"From: a@b.test\nTo: p%d@c.test\n\n" % mark)
            os.rename(path, path + ".eml")
            peer.to(f"s{mark}@c.test")
            peer.to(f"p{mark}@c.test")
        both(1)
        u.upgrade()
        assert os.stat(submit).st_ino == ino
        both(2)
        u.upgrade()
        both(3)
        until(lambda: os.listdir(spool) == [])  # after the delivery
        assert not u.seen("pickup.again")
