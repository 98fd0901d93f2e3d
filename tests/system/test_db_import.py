"""umbra db import: the mail of a disk whose node is gone."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from disk import mounted
from pair import Pair
from peer import Peer
from test_db import LARGE, SMALL, body_file, page_with
from umbra import UMBRA, Umbra, base
from wait import until


def db_import(u, where, *args, want=0):
    p = subprocess.run([UMBRA, "-c", u.file, "db", "import", where, "--json",
                        *args], capture_output=True, text=True, timeout=120,
                       check=False)
    assert "Sanitizer" not in p.stderr, p.stderr
    assert p.returncode == want, p
    return json.loads(p.stdout) if p.stdout else p.stderr


@pytest.fixture
def rescued():
    """The directory of a node that had ten messages, each third one large."""
    with Umbra(base()) as u:
        u.ids = [u.send("a@b.test", f"u{i}@example.org",
                        LARGE if i % 3 == 0 else SMALL) for i in range(10)]
        u.stop()
        yield u


@pytest.fixture
def relay():
    with Peer() as peer, Umbra(base(peer.port)) as u:
        u.peer = peer
        yield u


def arrived(u, count=10):
    until(lambda: len(u.peer.messages) >= count, text=u.tail)
    got = sorted(r for m in u.peer.messages for r in m.to)
    assert len(got) == len(set(got)) == count, got
    for m in u.peer.messages:
        i = int(m.to[0][1:].split("@")[0])
        assert m.body == (LARGE if i % 3 == 0 else SMALL)


def test_import(rescued, relay):
    plan = db_import(relay, rescued.data)
    assert plan["messages"] == 10 and not plan["done"]
    assert not relay.peer.messages
    done = db_import(relay, rescued.data, "--yes")
    assert done["taken"] == 10 and done["done"] and not done["damaged"]
    arrived(relay)
    assert not os.path.exists(relay.data + "/import")
    traces = {x["trace"] for x in rescued.seen("message.accepted")}
    assert {x["trace"] for x in relay.seen("queue.imported")} == traces


def test_what_is_wrong_is_said(rescued, relay, tmp_path):
    """Of a directory, and of where it is to go."""
    for where, want, text in (
            (str(tmp_path), 66, "no queue here"),
            (relay.data, 75, "in use by another process")):
        assert text in db_import(relay, where, want=want)
    p = subprocess.run([UMBRA, "db", "import", rescued.data], text=True,
                       capture_output=True, timeout=60, check=False)
    assert p.returncode == 64 or os.path.exists("/etc/umbra/umbra.yaml")
    assert p.returncode != 64 or (
        f"umbra -c FILE db import {rescued.data}\n" in p.stderr)


def test_again_is_harmless(rescued, relay):
    """Typed twice, while they wait, after a restart, and when they are gone."""
    relay.peer.down()
    assert db_import(relay, rescued.data, "--yes")["taken"] == 10
    again = db_import(relay, rescued.data, "--yes")
    assert again["taken"] == 0 and again["here_already"] == 10
    relay.restart()
    again = db_import(relay, rescued.data, "--yes")
    assert again["taken"] == 0 and again["here_already"] == 10
    relay.peer.up()
    relay.cli("queue", "retry", "--all", "--yes")
    relay.wait("message.done", count=10)
    relay.restart()
    again = db_import(relay, rescued.data, "--yes")
    assert again["taken"] == 0 and again["finished_here"] == 10
    arrived(relay)


def test_who_has_it_already_does_not_get_it_again(relay):
    with Peer() as other, Umbra(base(other.port)) as u:
        other.on["RCPT"] = lambda conn, line: \
            "450 4.2.1 later" if "u1@" in line else None
        u.send("a@b.test", ["u0@example.org", "u1@example.org"], SMALL)
        u.wait("delivery.sent", to="<u0@example.org>")
        u.wait("delivery.deferred", to="<u1@example.org>")
        u.stop()
        assert db_import(relay, u.data, "--yes")["taken"] == 1
        relay.wait("message.done")
        assert [m.to for m in relay.peer.messages] == [["u1@example.org"]]
        assert [m.to for m in other.messages] == [["u0@example.org"]]


def test_what_is_damaged_stays_out(rescued, relay):
    os.truncate(body_file(rescued, 3), 1000)
    page_with(rescued, b"for <u4@example.org>", lambda p: p.replace(
        b"small small small", b"smbll small small"))
    done = db_import(relay, rescued.data, "--yes", want=65)
    assert done["damaged"] >= 2 and done["taken"] == 10 - done["damaged"]
    relay.wait("message.done", count=done["taken"])
    got = [r for m in relay.peer.messages for r in m.to]
    assert "u3@example.org" not in got and "u4@example.org" not in got


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def older(page, ms):
    """The envelope records in a page of the database, received ms earlier."""
    out, at = bytearray(page), -1
    while (at := page.find(b"E\x01\0\0", at + 1)) >= 0:
        want = int.from_bytes(page[at + 4:at + 8], "little")
        field, place = at + 8, None
        while field + 5 <= len(page):
            tag = page[field]
            n = int.from_bytes(page[field + 1:field + 5], "little")
            if tag == 3 and place is None:
                place = (field + 5, n)
            field += 5 + n
            if crc32c(page[at + 8:field]) == want:
                break
        else:
            continue
        if field > len(page) or place is None:
            continue
        first, n = place
        was = int.from_bytes(page[first:first + n], "little")
        out[first:first + n] = (was - ms).to_bytes(n, "little")
        out[at + 4:at + 8] = crc32c(bytes(out[at + 8:field])).to_bytes(
            4, "little")
    return bytes(out)


def test_old_mail_is_tried_and_not_bounced(rescued, relay):
    """It lay on its disk for longer than messages live: no fault of its."""
    day = 24 * 3600 * 1000
    page_with(rescued, b"u4@example.org",
              lambda p: older(p, 9 * day) if b"E\x01\0\0" in p else p)
    plan = subprocess.run([UMBRA, "-c", relay.file, "db", "import",
                           rescued.data], capture_output=True, text=True,
                          check=True)
    assert "9 days ago" in plan.stderr or "delivered again" in plan.stderr
    relay.peer.down()
    done = db_import(relay, rescued.data, "--yes")
    assert done["taken"] == 10 and not done["damaged"]
    ages = [m["age_seconds"] for m in map(json.loads, relay.cli(
        "message", "list", "--json").splitlines())]
    assert max(ages) > 9 * 24 * 3600 - 3600
    relay.peer.up()
    relay.cli("queue", "retry", "--all", "--yes")
    relay.wait("message.done", count=10)
    # A notice of delay is the truth; a failure would not be.
    assert not relay.seen("report.queued", kind="failed")
    got = sorted(r for m in relay.peer.messages for r in m.to
                 if r.endswith("example.org"))
    assert got == sorted(f"u{i}@example.org" for i in range(10))


def test_killed_in_the_middle(rescued):
    """The daemon dies while it takes them in, again and again; then all is
    imported, once."""
    with Peer() as peer, Umbra(base(peer.port)) as u:
        peer.down()
        u.peer = peer
        taken = 0
        for kill_at in (1, 3, 6):
            at = u.mark()
            p = subprocess.Popen([UMBRA, "-c", u.file, "db", "import",
                                  rescued.data, "--yes"],
                                 stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            until(lambda: len(u.seen("queue.imported", since=at)) >= kill_at
                  or p.poll() is not None)
            u.kill9()
            p.wait(60)
            u.start()
        done = db_import(u, rescued.data, "--yes")
        taken = done["taken"] + done["here_already"]
        assert taken == 10
        u.restart()
        assert len(u.cli("message", "list", "--json").splitlines()) == 10
        peer.up()
        u.cli("queue", "retry", "--all", "--yes")
        arrived(u)


def test_the_client_is_killed(rescued, relay):
    """What it left in import/ does no harm."""
    relay.peer.down()
    os.makedirs(relay.data + "/import", mode=0o700)
    for name, text in (("0000000000000001.msg", b"UMBRAMSG" + b"\0" * 48),
                       ("0000000000000002.msg", b"x"),
                       ("0000000000000003.tmp", b"half"),
                       ("0000000000000004.body", LARGE)):
        with open(f"{relay.data}/import/{name}", "wb") as f:
            f.write(text)
    got = db_import(relay, rescued.data, "--yes")
    assert got["taken"] == 10 and not got["damaged"]
    relay.peer.up()
    relay.cli("queue", "retry", "--all", "--yes")
    arrived(relay)


def test_a_start_removes_what_is_left(relay):
    """Nobody can still wait for it; what is no file there stays, and a link
    is not followed."""
    where = relay.data + "/import"
    for extra in (None, "directory", "link"):
        relay.stop()
        other = f"{relay.dir}/other.{extra}"
        os.makedirs(other)
        if extra == "link":
            with open(other + "/0000000000000001.msg", "wb"):
                pass
            os.symlink(other, where)
        else:
            os.makedirs(where, mode=0o700)
            for name in ("0000000000000001.msg", "0000000000000002.tmp",
                         "0000000000000003.body"):
                with open(f"{where}/{name}", "wb") as f:
                    f.write(LARGE)
        if extra == "directory":
            os.mkdir(where + "/d")
        relay.start()
        if extra == "link":
            assert os.listdir(other)
        elif extra == "directory":
            assert os.path.isdir(where + "/d")
            shutil.rmtree(where)
        else:
            assert not os.path.exists(where)


def ask(u, line):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(u.socket)
        s.sendall(line + b"\n")
        got = b""
        while more := s.recv(65536):
            got += more
        return got


def test_files_that_are_no_messages(relay):
    """The daemon looks at what it finds: whatever it is, it says so."""
    os.makedirs(relay.data + "/import", mode=0o700)
    head = b"UMBRAMSG" + b"\x11" * 16
    huge = (2 ** 64 - 1).to_bytes(8, "big")
    for i, text in enumerate((
            b"", b"x", head, head + huge * 4, head + b"\0" * 32,
            head + b"\0" * 7 + b"\x04" + b"\0" * 24 + b"E\x01\0\0",
            b"\xff" * 4096)):
        with open(f"{relay.data}/import/{i:016x}.msg", "wb") as f:
            f.write(text)
    os.mkdir(f"{relay.data}/import/00000000000000ff.msg")
    got = ask(relay, b'{"verb":"db import","json":true,"args":["x"]}')
    said = json.loads(got.splitlines()[0])
    assert said["damaged"] == 7 and said["taken"] == 0
    assert relay.running()


def test_its_own_database_is_refused(relay):
    copy = relay.dir + "/copy"
    relay.stop()
    shutil.copytree(relay.data, copy)
    relay.start()
    assert "own database" in db_import(relay, copy, "--yes", want=73)


def test_a_node_that_runs_is_refused(rescued, relay):
    rescued.start()
    said = db_import(relay, rescued.data, "--yes", want=75)
    assert f"pid {rescued.proc.pid}" in said


def test_without_a_daemon(rescued, relay):
    relay.stop()
    assert "not running" in db_import(relay, rescued.data, "--yes", want=69)
    assert not os.path.exists(relay.data + "/import")


def in_words(u, where, want):
    """What somebody reads who did not ask for JSON."""
    p = subprocess.run([UMBRA, "-c", u.file, "db", "import", where, "--yes"],
                       capture_output=True, text=True, timeout=120,
                       check=False)
    assert p.returncode == want and "{" not in p.stderr, p
    assert p.stderr.startswith("umbra: "), p
    return p.stderr


def test_words_without_json(rescued, relay):
    relay.cli("drain", "--no-wait")
    assert "umbra: the node is out of service" in in_words(
        relay, rescued.data, 69)
    relay.stop()
    assert "umbra: umbrad is not running" in in_words(relay, rescued.data, 69)


@pytest.mark.parametrize("when", ["held", "owned", "finished"])
def test_what_a_peer_has_is_not_delivered_twice(when):
    """relay1 is lost, its disk is found; relay3 imports it. relay2 holds its
    copies, or has taken them over, or has delivered them."""
    shadow = {"start_barrier": "3s"}
    with Peer() as sink, Pair(n=3, sink=sink, shadow=shadow,
                              receive={"shadow": "require"}) as p:
        sink.down()
        p.wait_up()
        one, two, three = p.nodes
        for i in range(10):
            one.send("a@b.test", f"u{i}@example.org",
                     LARGE if i % 3 == 0 else SMALL)
        one.kill9()
        if when != "held":
            for x in (two, three):
                x.cli("shadow", "takeover", one.name, "--yes", want=None)
        if when == "finished":
            sink.up()
            for x in (two, three):
                x.cli("queue", "retry", "--all", "--yes")
            until(lambda: len(sink.messages) == 10, text=p.tail)
            until(lambda: not any(x.ctl("message", "list")
                                  for x in (two, three)), text=p.tail)
            sink.down()
        done = db_import(three, one.data, "--yes")
        if when == "held":
            assert done["taken"] + done["here_already"] == 10
        sink.up()

        def over():
            for x in (two, three):
                x.cli("queue", "retry", "--all", "--yes")
            return not any(x.ctl("message", "list") for x in (two, three))
        until(over, text=p.tail)
        got = sorted(r for m in sink.messages for r in m.to)
        want = sorted(f"u{i}@example.org" for i in range(10))
        if when == "held":
            # What relay3 holds itself waits for its owner, or an order.
            for x in (two, three):
                x.cli("shadow", "takeover", one.name, "--yes", want=None)
            until(over, text=p.tail)
            until(lambda: len(sink.messages) >= 10, text=p.tail)
            got = sorted(r for m in sink.messages for r in m.to)
        assert got == want, got


def test_a_node_that_is_drained(rescued, relay):
    relay.cli("drain", "--no-wait")
    said = db_import(relay, rescued.data, "--yes", want=69)
    assert "umbra undrain" in said
    assert not os.path.exists(relay.data + "/import")
    relay.cli("undrain")
    assert db_import(relay, rescued.data, "--yes")["taken"] == 10
    arrived(relay)


@pytest.mark.parametrize("size", ["1000k", "1400k", "1800k"])
def test_no_room(rescued, size):
    """A disk that is too small for the next message, by no threshold short: it
    says so, and how far it came, and leaves nothing; when there is room again
    it goes on where it ended, and everybody gets everything once."""
    conf = base(back_pressure={"enabled": False})
    with Peer() as peer, Umbra(conf, start=False) as u, \
            mounted(u.data, "-t", "tmpfs", "-o", f"size={size},mode=700",
                    "tmpfs"):
        conf["send_connectors"][0]["smart_hosts"] = [f"127.0.0.1:{peer.port}"]
        u.configure(conf)
        u.peer = peer
        peer.down()
        u.start()
        p = subprocess.run([UMBRA, "-c", u.file, "db", "import", rescued.data,
                            "--yes"], capture_output=True, text=True,
                           timeout=120, check=False)
        assert p.returncode in (74, 75) and "pace" in p.stderr, p
        here = len(u.seen("queue.imported"))
        assert f"so far {here} messages were taken over" in p.stderr, p
        assert not os.path.exists(u.data + "/import")
        peer.up()

        def again():
            u.cli("queue", "retry", "--all", "--yes")
            p = subprocess.run([UMBRA, "-c", u.file, "db", "import",
                                rescued.data, "--yes"], check=False,
                               capture_output=True, timeout=120)
            return p.returncode == 0
        until(again, timeout=90, text=u.tail)
        arrived(u)


class Daemon:
    """In the place of a daemon: says these answers one after the other, then
    the last one again and again."""

    def __init__(self, u, *answers):
        self.answers = [dict.fromkeys(("taken", "here", "finished", "damaged",
                                       "failed"), 0) | a for a in answers]
        self.asked = 0
        self.s = socket.socket(socket.AF_UNIX)
        self.s.bind(u.socket)
        self.s.listen()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                c = self.s.accept()[0]
                with c, c.makefile("rb") as f:
                    assert json.loads(f.readline())["verb"] == "db import"
                    a = self.answers[min(self.asked, len(self.answers) - 1)]
                    self.asked += 1
                    status = 75 if a["failed"] or a.get("waits") else 0
                    c.sendall(b"%s\n\x04 %d\n" % (
                        json.dumps(a).encode(), status))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()


def test_what_is_gone_was_not_taken(rescued, relay):
    """Somebody else clears import/: nobody believes that what is gone was
    taken in."""
    relay.stop()
    with Daemon(relay, {}):
        said = db_import(relay, rescued.data, "--yes", want=75)
    assert "10 messages are gone" in said
    assert "another umbra db import" in said
    relay.start()


def test_it_waits_with_words(rescued, relay):
    """Said once each time, on stderr, also as JSON; nothing is put there
    before it may."""
    relay.stop()
    where = relay.data + "/import"
    full = {"waits": "disk space of the queue"}
    failed = {"failed": 10, "reason": "no space left", **full}
    with Daemon(relay, full, full, {}, failed, failed,
                {"taken": 10}) as d, subprocess.Popen(
            [UMBRA, "-c", relay.file, "db", "import", rescued.data, "--yes",
             "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True) as p:
        assert json.loads(p.stderr.readline()) == {
            "waits": "disk space of the queue", "taken": 0}
        assert not os.path.exists(where)
        out, said = p.communicate(timeout=60)
        assert d.asked == 6
    assert p.returncode == 0, (out, said)
    assert json.loads(said) == {"waits": "disk space of the queue", "taken": 0}
    assert json.loads(out)["taken"] == 10
    relay.start()


def test_what_reads_is_killed(rescued, relay):
    """While the last messages wait: they were not imported, and it says so."""
    relay.stop()
    failed = {"failed": 10, "reason": "no space left",
              "waits": "disk space of the queue"}
    with Daemon(relay, {}, failed), subprocess.Popen(
            [UMBRA, "-c", relay.file, "db", "import", rescued.data, "--yes"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert "waiting" in p.stderr.readline()
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            os.kill(int(f.read().split()[-1]), signal.SIGKILL)
        out, said = p.communicate(timeout=60)
    assert p.returncode == 75, (out, said)
    assert "before the daemon had taken in the last 10 messages" in said
    assert "so far 0 messages were taken over" in said
    assert not os.path.exists(relay.data + "/import")
    relay.start()


def ended_by_ctrl_c():
    """Below a shell that runs it in the background it would not be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM,
                                 signal.SIGKILL])
def test_ended_while_it_waits(rescued, relay, how):
    """Ctrl-C, or whatever ends it: nothing is left in import/."""
    relay.stop()
    where = relay.data + "/import"
    failed = {"failed": 10, "reason": "no space left",
              "waits": "disk space of the queue"}
    with Daemon(relay, {}, failed), subprocess.Popen(
            [UMBRA, "-c", relay.file, "db", "import", rescued.data, "--yes"],
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=ended_by_ctrl_c) as p:
        try:
            assert "waiting" in p.stderr.readline()
            assert os.listdir(where)
            if how == signal.SIGINT:
                os.killpg(p.pid, how)  # as the terminal does
            else:
                p.send_signal(how)
            assert p.wait(60) == -how
        finally:
            p.kill()
        until(lambda: not os.path.exists(where))
    relay.start()


def test_what_cannot_be_taken_in(rescued, relay):
    """For no reason to wait: after some tries it says so, and how far it
    came."""
    relay.stop()
    with Daemon(relay, {}, {"taken": 7, "failed": 3, "reason": "busy"},
                {"failed": 3, "reason": "busy"}) as d:
        p = subprocess.run([UMBRA, "-c", relay.file, "db", "import",
                            rescued.data, "--yes"], capture_output=True,
                           text=True, timeout=120, check=False)
        assert d.asked == 6
    assert p.returncode == 75, p
    assert "could not take in 3 messages: busy" in p.stderr
    assert "so far 7 messages were taken over" in p.stderr
    assert not os.path.exists(relay.data + "/import")
    relay.start()


def test_a_link_for_import_is_not_followed(rescued, relay):
    """The daemon's user may have put it there; who imports is root."""
    treasure = os.path.join(rescued.dir, "treasure")
    os.mkdir(treasure)
    with open(treasure + "/one", "wb"):
        pass
    os.symlink(treasure, relay.data + "/import")
    assert "import" in db_import(relay, rescued.data, "--yes", want=74)
    assert os.listdir(treasure) == ["one"]
    os.unlink(relay.data + "/import")
    assert db_import(relay, rescued.data, "--yes")["taken"] == 10
    arrived(relay)
