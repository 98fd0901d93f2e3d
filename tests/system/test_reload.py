"""A changed configuration goes live while mail flows, or changes nothing:
what each kind of change does, `umbra config diff`, and reloads under load."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import lab
from dnsd import Dns
from ledger import Ledger
from load import Load, Sink
from peer import Peer
from umbra import UMBRA, Adopted, Umbra, base, free_port
from wait import LONG, until

MESSAGE = b"Subject: reload\r\n\r\nbody\r\n"
#: How often under load; a quiet machine needs seconds for it.
RELOADS = int(os.environ.get("UMBRA_RELOADS", "50"))


@pytest.fixture
def peer():
    with Peer() as p:
        yield p


def diff(u, *args, want=1):
    return [json.loads(x) for x in
            u.cli("config", "diff", "--json", *args, want=want).splitlines()]


def test_what_changed_is_told(peer):
    conf = base(peer.port)
    with Umbra(conf) as u:
        line = u.reload()
        assert line["changes"] == "0" and line.get("keys", "") == ""
        conf["queue"]["expire_after"] = "1d"
        conf["receive_connectors"][1]["limits"]["recipients"] = 7
        conf["receive_connectors"].append(
            {"name": "third", "bind": ["127.0.0.1:{third}"]})
        line = u.reload(conf)
        assert line["changes"] == "3", line.text
        assert set(line["keys"].split()) == {
            "queue.expire_after", "+receive_connectors[third]",
            "receive_connectors[inbound].limits.recipients"}
        got = json.loads(u.cli("config", "reload", "--json"))
        assert got == {"changes": 0, "warnings": None}


def test_diff(peer):
    conf = base(peer.port)
    with Umbra(conf) as u:
        assert diff(u, want=0) == []
        conf["node"]["data"] = u.data
        conf["queue"]["memory"] = "1GiB"
        u.configure(conf)
        (row,) = diff(u)
        assert row == {"key": "queue.memory", "change": "changed",
                       "effect": "reload", "sessions": None,
                       "deliveries": None, "from": "256MiB", "to": "1GiB"}
        assert "queue.memory" in u.cli("config", "diff", want=1)
        # Nothing has changed by being looked at.
        assert "memory: 256MiB" in u.cli("config", "show", "--all")
        # What would be left behind: a session, and mail for a dead hop.
        peer.down()
        c = u.smtp("inbound")
        for i in range(3):
            u.send("a@b.test", f"x{i}@example.org", MESSAGE)
        del conf["receive_connectors"][1]
        conf["send_connectors"] = [
            dict(conf["send_connectors"][0], name="new")]
        conf["node"]["data"] = "/elsewhere"
        other = os.path.join(u.dir, "other.yaml")
        u.configure(conf)
        os.rename(u.file, other)
        u.configure(base(peer.port))
        rows = {(r["key"], r["change"]): r for r in
                diff(u, os.path.relpath(other))}
        gone = rows["receive_connectors[inbound]", "removed"]
        assert gone["sessions"] == 1 and gone["deliveries"] is None
        gone = rows["send_connectors[out]", "removed"]
        assert gone["deliveries"] == 3 and gone["sessions"] is None
        assert ("send_connectors[new]", "added") in rows
        assert rows["node.data", "changed"]["effect"] == "restart"
        c.close()


def test_diff_sees_what_the_daemon_would(peer):
    """Errors with their place; certificates are looked at too."""
    conf = base(peer.port)
    with Umbra(conf) as u:
        other = os.path.join(u.dir, "other.yaml")
        with open(other, "w", encoding="utf-8") as f:
            f.write("bogus: 1\n")
        assert u.cli("config", "diff", other, want=78) == ""
        conf["receive_connectors"][0]["tls"] = {
            "mode": "offer", "cert": "/none.pem", "key": "/none.key"}
        u.configure(conf)
        u.cli("config", "diff", want=78)
        u.cli("config", "diff", "/not/there", want=78)
        # And it went on as before.
        u.send("a@b.test", "x@example.org", MESSAGE)
        assert peer.to("x@example.org").body == MESSAGE


def test_restart_keys_stay_as_they_are(peer):
    conf = base(peer.port)
    with Umbra(conf) as u:
        conf["node"].update(name="other.umbra.test", data="/elsewhere")
        line = u.reload(conf)
        assert line.event == "config.loaded"
        assert "node.name changed: it takes effect at the next start" in \
            line["warnings"]
        assert "node.data" in line["warnings"]
        with u.smtp() as c:
            assert c.greeting.text.startswith("mx.umbra.test ")
        shown = u.cli("--socket", u.socket, "config", "show")
        assert f"data: {u.data}" in shown and "name: mx.umbra.test" in shown
        rows = {r["key"]: r for r in diff(u)}
        assert rows["node.name"]["to"] == "other.umbra.test"


def test_control_socket_moves(peer):
    conf = base(peer.port)
    with Umbra(conf) as u:
        # The answer of the command that moves it comes over the old one.
        conf["control"] = {"socket": u.socket + ".new"}
        u.configure(conf)
        u.cli("--socket", u.socket, "config", "reload")
        assert not os.path.exists(u.socket)
        assert "mx.umbra.test" in u.cli("status")
        # One that cannot be made changes nothing.
        conf["control"] = {"socket": "/not/there/socket"}
        conf["queue"]["memory"] = "1GiB"
        u.configure(conf)
        u.cli("--socket", u.socket + ".new", "config", "reload", want=78)
        shown = u.cli("--socket", u.socket + ".new", "config", "show", "--all")
        assert "memory: 256MiB" in shown
    assert not os.path.exists(u.socket + ".new")


def test_nothing_is_removed_for_a_socket(peer):
    """A path in the configuration that names a file, or the socket of another
    daemon: refused, and both are what they were."""
    with Umbra(base(peer.port)) as u:
        path = os.path.join(u.dir, "notes.txt")
        with open(path, "w", encoding="utf-8") as f:
            f.write("precious")
        line = u.reload(base(peer.port, submission={"socket": path}))
        assert line.event == "config.refused"
        assert "which is no socket" in line["text"]
        with open(path, encoding="utf-8") as f:
            assert f.read() == "precious"
        u.configure(base(peer.port))
        with Umbra(base(peer.port), start=False) as other:
            other.configure(base(peer.port, control={"socket": u.socket}))
            other.launch()
            assert other.ended() == 69
            assert any("another process does (ss -lxp" in x
                       for x in other.stray)
            other.proc = None
        assert "mx.umbra.test" in u.cli("status")
        # What one leaves behind that is killed is no obstacle.
        u.kill9()
        assert os.path.exists(u.socket)
        u.start()
        assert "mx.umbra.test" in u.cli("status")


def test_resolvers_change():
    """A question that the old ones do not answer is asked of the new ones."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with Dns() as d:
        # Its answer shows in what is said about the host: it is ourselves.
        d.mx("x.test", (10, "mx.x.test"))
        d.a("mx.x.test", "127.0.0.1")
        conf = base(send_connectors=[
            {"name": "out", "address_spaces": ["*"], "tls": {"mode": "none"}}])
        conf["dns"] = {"servers": [f"127.0.0.1:{silent.getsockname()[1]}"],
                       "timeout": "60s", "tries": 1}
        with Umbra(conf) as u:
            u.send("a@example.org", "y@x.test", MESSAGE)
            silent.settimeout(LONG)
            silent.recv(512)  # it has been asked
            conf["dns"]["servers"] = [d.address]
            assert u.reload(conf).event == "config.loaded"
            line = u.wait("delivery.failed", to="<y@x.test>")
            assert "loops back" in line["said"], line.text
            assert ("x.test", "MX") in d.asked
    silent.close()


def test_more_next_hops_than_a_turn_reloads():
    """Each has what the new file says, however many there are, and is told to
    be tried right behind the reload."""
    with lab.network(), Dns() as d, Peer(host="192.0.2.2", port=2500) as host:
        domains = [f"d{i}.test" for i in range(1400)]
        for name in domains:
            d.mx(name, (10, "mx.test"))
        d.a("mx.test", "192.0.2.2")
        conf = base(send_connectors=[
            {"name": "mx", "address_spaces": ["*"], "port": 2501,
             "tls": {"mode": "none"}}])
        # A hop that is tried by the old file waits for longer than the test.
        conf["queue"]["retry"]["glitch_interval"] = "1h"
        conf["receive_connectors"][0]["limits"]["recipients"] = 200
        conf["dns"] = {"servers": [d.address], "timeout": "5s", "tries": 2}
        conf["log"]["level"] = "info"
        with Umbra(conf) as u:
            for i in range(0, len(domains), 200):
                u.send("a@example.org", [f"x@{n}" for n in
                                         domains[i:i + 200]], MESSAGE)

            def in_retry():
                return json.loads(u.cli("status", "--json"))[
                    "next_hops_retry"]
            until(lambda: in_retry() == len(domains), text=in_retry)
            conf["send_connectors"][0]["port"] = 2500
            assert u.reload(conf)["changes"] == "1"
            u.cli("queue", "retry", "--all", "--yes")
            until(lambda: len(host.messages) >= len(domains),
                  timeout=2 * LONG, text=lambda: len(host.messages))
            assert {t for m in host.messages for t in m.to} == {
                f"x@{n}" for n in domains}
            until(lambda: in_retry() == 0, text=in_retry)


def test_a_refused_reload_changes_nothing(peer):
    """Each step that can fail, with other changes in the same file."""
    with Umbra(base(peer.port)) as u, Peer() as other:
        def broken(**more):
            conf = base(peer.port)
            conf["accepted_domains"].append({"name": "new.test"})
            conf["queue"]["memory"] = "1GiB"
            conf["receive_connectors"].append(
                {"name": "third", "bind": ["127.0.0.1:{third}"]})
            conf["log"] = {"level": "error"}
            for k, v in more.items():
                conf[k] = v(conf[k]) if callable(v) else v
            return conf

        taken = f"127.0.0.1:{other.port}"
        for conf, why in (
                (broken(bogus={"x": 1}), "bogus"),
                (broken(receive_connectors=lambda r: r + [
                    {"name": "t", "bind": ["127.0.0.1:{t}"], "tls": {
                        "mode": "offer", "cert": "/no.pem",
                        "key": "/no.key"}}]), "/no.pem"),
                (broken(receive_connectors=lambda r: r + [
                    {"name": "t", "bind": [taken]}]), taken),
                (broken(receive_connectors=lambda r: r + [
                    {"name": "t", "bind": ["192.0.2.1:25"]}]), "192.0.2.1"),
                (broken(control={"socket": "/not/there"}), "/not/there")):
            line = u.reload(conf)
            assert line.event == "config.refused", line.text
            assert why in line["text"], line.text
            with pytest.raises(OSError):
                u.smtp("third")
            with u.smtp("inbound") as c:
                c.ok("MAIL FROM:<a@b.test>")
                assert c.cmd("RCPT TO:<x@new.test>").code == 550
            shown = u.cli("--socket", u.socket, "config", "show", "--all")
            assert "memory: 256MiB" in shown and "level: debug" in shown
        good = broken()
        good["log"] = {"level": "debug"}
        assert u.reload(good).event == "config.loaded"
        with u.smtp("third") as c:
            c.ok("NOOP")


def test_a_reload_refused_late_keeps_tls(peer, pair):
    """The sockets of a configuration without TLS are opened, but the last."""
    c = base(peer.port, http={"bind": f"127.0.0.1:{free_port()}"})
    for r in c["receive_connectors"]:
        r["tls"] = {"mode": "require", "cert": pair[0], "key": pair[1]}
    with Umbra(c) as u:
        worse = base(peer.port, http={"bind": f"127.0.0.1:{free_port()}"})
        # Ours, until the other address is in use.
        worse["receive_connectors"][1]["bind"].append(c["http"]["bind"])
        line = u.reload(worse)
        assert line.event == "config.refused", line.text
        for door in ("relay", "inbound"):
            with u.smtp(door) as s:
                assert "STARTTLS" in s.ext


def test_an_address_written_otherwise_is_the_same(peer):
    c = base(peer.port, http={"bind": "[::1]:8025"})
    six, http = free_port("::1"), free_port("::1")
    c["receive_connectors"][1]["bind"].append(f"[::1]:{six}")
    c["http"]["bind"] = f"[::1]:{http}"
    with Umbra(c) as u:
        c["receive_connectors"][1]["bind"][1] = f"[0:0::1]:{six}"
        c["http"]["bind"] = f"[0:0::0.0.0.1]:{http}"
        u.configure(c)
        assert diff(u, want=0) == []
        assert u.reload(c).event == "config.loaded"
        shown = u.cli("config", "show")
        assert f"[::1]:{six}" in shown and f"[::1]:{http}" in shown


@pytest.mark.parametrize("before, after", [
    ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("[::]", "[::1]")])
def test_all_addresses_and_one_of_them(peer, before, after):
    """The kernel gives nobody both; the words say so."""
    c = base(peer.port)
    at = free_port(before.strip("[]"))
    c["receive_connectors"][1]["bind"] = [f"{before}:{at}"]
    with Umbra(c) as u:
        c["receive_connectors"][1]["bind"] = [f"{after}:{at}"]
        line = u.reload(c)
        assert line.event == "config.refused"
        assert f"cannot listen on {after}:{at} while this relay itself " \
            f"listens on {before}:{at}" in line["text"], line.text
        assert "restart" in line["text"]
        c["receive_connectors"][1]["bind"].append(f"{before}:{at}")
        assert u.reload(c).event == "config.refused"
        u.smtp("relay").close()


def test_a_bind_goes_with_its_backlog(peer):
    """Who has connected to an address that goes away is served."""
    conf = base(peer.port)
    conf["receive_connectors"].append(
        {"name": "third", "bind": ["127.0.0.1:{third}"],
         "remote": ["127.0.0.0/8"],
         "limits": {"connections_per_source": 1000}})
    with Umbra(conf) as u:
        less = dict(conf, receive_connectors=conf["receive_connectors"][:2])
        for _ in range(10):
            u.configure(conf)
            assert u.reload().event == "config.loaded"
            # They are in the backlog, or accepted: the daemon stands still
            # while they connect and the signal waits for it.
            u.signal(19)  # SIGSTOP
            waiting = []
            for _ in range(40):
                s = socket.create_connection(("127.0.0.1", u.port("third")),
                                             timeout=LONG)
                waiting.append(s)
            u.configure(less)
            at = u.mark()
            u.signal(1)
            u.signal(18)
            assert u.wait("config.loaded", since=at)
            for s in waiting:
                assert s.recv(4) == b"220 "
                s.sendall(b"QUIT\r\n")
                s.close()
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", u.port("third")))


def test_queued_mail_goes_another_way(peer):
    """At depth: everything that waits for a dead hop is routed again."""
    conf = base(free_port())
    many = 400
    with Umbra(conf) as u:
        with u.smtp() as c:
            for i in range(many):
                c.mail("a@b.test", f"u{i}@example.org", MESSAGE)
        until(lambda: json.loads(u.cli("status", "--json"))["next_hops_retry"])
        conf["send_connectors"] = [
            {"name": "other", "address_spaces": ["*"],
             "smart_hosts": [f"127.0.0.1:{peer.port}"],
             "tls": {"mode": "none"}}]
        assert u.reload(conf).event == "config.loaded"
        peer.wait(many)
        until(lambda: json.loads(
            u.cli("status", "--json"))["messages"] == 0)
        assert sorted(m.to[0] for m in peer.messages) == sorted(
            f"u{i}@example.org" for i in range(many))


def test_under_load():
    """Connectors come and go, limits change, next hops move; nobody is
    refused, nothing is lost, nothing comes twice."""
    ledger = Ledger()
    with Sink(ledger) as one, Sink(ledger) as two:
        conf = base(one.port)
        with Umbra(conf) as u, Load(u.port("relay"), ledger=ledger) as load:
            load.more(20)
            for i in range(RELOADS):
                conf = base((one, two)[i % 2].port)
                conf["receive_connectors"][0]["limits"]["recipients"] = 100 + i
                conf["send_connectors"][0]["name"] = f"out{i % 3}"
                if i % 2:
                    conf["receive_connectors"].append(
                        {"name": "third", "bind": ["127.0.0.1:{third}"]})
                line = u.reload(conf)
                assert line.event == "config.loaded", line.text
                load.more(8)
            load.__exit__(None)
            counts = load.verify()
            assert not u.seen("delivery.in_doubt")
        goodbyes = sum(c.goodbyes for c in load.clients)
        assert goodbyes == 0, "a reload ends no session"
        print(f"{RELOADS} reloads, {counts}, the longest wait for a greeting "
              f"{max(c.longest for c in load.clients) * 1000:.0f} ms")


def test_diff_of_what_is_no_file(peer, tmp_path):
    """A pipe that nobody writes to, or a device without an end, would hold up
    a thread for ever: named, or in the conf.d beside the file."""
    with Umbra(base(peer.port)) as u:
        pipe = str(tmp_path / "pipe.yaml")
        os.mkfifo(pipe)
        good = str(tmp_path / "good.yaml")
        shutil.copy(u.file, good)
        assert u.cli("config", "diff", good, want=0) is not None
        (tmp_path / "conf.d").mkdir()
        os.mkfifo(tmp_path / "conf.d" / "more.yaml")
        for name in (pipe, "/dev/zero", good):
            p = subprocess.run(
                [UMBRA, "--socket", u.socket, "config", "diff", name],
                env=u.env, capture_output=True, text=True, timeout=LONG,
                check=False)
            assert p.returncode == 78, p
            assert "not a regular file" in p.stderr
        u.send("a@b.test", "x@example.org", MESSAGE)
        assert peer.to("x@example.org")


# --- while it is read ------------------------------------------------------------

class Reading:
    """The configuration is being read, and that takes long: one of its files is
    a pipe. begin() asks for it; what it waits for comes with end()."""

    def __init__(self, u, begin):
        self.more = os.path.join(u.dir, "conf.d", "more.yaml")
        os.makedirs(os.path.dirname(self.more), exist_ok=True)
        os.mkfifo(self.more)
        self.got = begin()
        self.pipe = open(self.more, "wb", buffering=0)  # waits for its reader
        os.unlink(self.more)

    def end(self):
        self.pipe.write(b"{}\n")
        self.pipe.close()


def limit(u, n):
    conf = json.loads(open(u.file, encoding="utf-8").read())
    conf["receive_connectors"][0].setdefault("limits", {})["commands"] = n
    u.configure(conf)


def limit_of(u):
    return int(re.search(r"commands: (\d+)", u.cli(
        "--socket", u.socket, "config", "show", "--all"))[1])


def command(u, *args):
    return subprocess.Popen(
        [UMBRA, "--socket", u.socket, "config", *args, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=u.env)


def test_the_relay_goes_on_while_it_is_read():
    """A file that is slow to read holds nobody up; what is asked for again
    meanwhile is read again."""
    with Peer() as peer, Umbra(base(peer.port)) as u:
        limit(u, 701)
        r = Reading(u, lambda: u.signal(signal.SIGHUP))
        limit(u, 702)
        u.send("a@b.test", "c@example.org", b"Subject: x\r\n\r\ny\r\n")
        assert peer.to("c@example.org")
        u.signal(signal.SIGHUP)
        assert limit_of(u) not in (701, 702)
        assert not u.seen("config.loaded")
        r.end()
        u.wait("config.loaded", count=2)
        assert limit_of(u) == 702
        # Without another signal it is not read again.
        r = Reading(u, lambda: u.signal(signal.SIGHUP))
        r.end()
        u.wait("config.loaded", count=3)
        u.reload()
        assert len(u.seen("config.loaded")) == 4


def test_an_older_reading_does_not_win():
    """Two reload; the one that began first has read the older file, and ends
    last."""
    with Umbra(base()) as u:
        limit(u, 701)
        r = Reading(u, lambda: command(u, "reload"))
        limit(u, 702)
        assert json.loads(command(u, "reload").communicate()[0])["changes"] == 1
        assert limit_of(u) == 702
        r.end()
        out, err = r.got.communicate()
        assert json.loads(out)["changes"] == 0, (out, err)
        assert limit_of(u) == 702


@pytest.mark.parametrize("args", [["reload"], ["diff"], ["diff", "FILE"]])
def test_who_asked_leaves(args):
    """The client of a command ends while it is read, then the relay does."""
    with Umbra(base()) as u:
        limit(u, 701)
        args = [a.replace("FILE", u.file) for a in args]
        r = Reading(u, lambda: command(u, *args))
        r.got.kill()
        r.got.communicate()
        assert "mx.umbra.test" in u.cli("status")
        r.end()
        u.cli("config", "diff", want=1)
        r = Reading(u, lambda: command(u, *args))
        u.signal(signal.SIGTERM)
        u.wait("node.stopping")
        r.end()
        r.got.communicate()
        assert u.ended() == 0
        u.clean()
        u.proc = None


def test_an_upgrade_begins_while_it_is_read():
    """The signal was for whoever goes on: held, as one that comes later."""
    Adopted.prepare()
    with Umbra(base()) as u:
        limit(u, 701)
        r = Reading(u, lambda: u.signal(signal.SIGHUP))
        with subprocess.Popen(
                [UMBRA, "--socket", u.socket, "upgrade", "--json"],
                stdout=subprocess.PIPE, text=True, env=u.env) as p:
            u.wait("upgrade.begun")
            r.end()
            u.wait("upgrade.reload_held")
            child = json.loads(p.communicate()[0])["pid"]
        u.succeeded(child)
        u.wait("config.loaded", changes=0)
        assert limit_of(u) == 701
