"""/livez, /readyz and /metrics: what balancers and monitoring see, and what a
hostile client can do to them."""
import contextlib
import json
import re
import signal
import socket
import ssl
import threading
import time

import pytest

from pair import Pair
from peer import Peer
from umbra import Umbra, base, free_port
from wait import LONG, until

MESSAGE = "Subject: x\r\n\r\nx\r\n"
GET = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


def conf(*hosts, **more):
    return base(*hosts, http={"bind": "127.0.0.1:{http}"}, **more)


class Answer:
    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    def json(self):
        return json.loads(self.body)


class Http:
    """One connection; says exactly what it is told."""

    def __init__(self, u, timeout=LONG):
        self.sock = socket.create_connection(
            ("127.0.0.1", u.port("http")), timeout=timeout)
        self.buf = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def more(self):
        got = self.sock.recv(65536)
        assert got, f"closed, unread: {self.buf!r}"
        self.buf += got

    def answer(self, body=True):
        while b"\r\n\r\n" not in self.buf:
            self.more()
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {k.lower(): v for k, v in
                  (x.split(": ", 1) for x in lines[1:])}
        m = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", lines[0])
        n = int(fields["content-length"]) if body else 0
        while len(self.buf) < n:
            self.more()
        text, self.buf = self.buf[:n], self.buf[n:]
        return Answer(int(m[1]), fields, text.decode())

    def get(self, path):
        self.send(GET % path)
        return self.answer()

    def eof(self):
        assert self.buf == b""
        try:
            assert self.sock.recv(100) == b""
        except ConnectionResetError:
            pass


def get(u, path):
    with Http(u) as h:
        return h.get(path)


def number(text, name):
    m = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    assert m, f"no {name} in\n{text}"
    return float(m[1])


# --- pages ------------------------------------------------------------------

def test_pages():
    with Umbra(conf()) as u, Http(u) as h:
        a = h.get("/livez")
        assert (a.status, a.body) == (200, "ok\n")
        assert a.head["content-type"].startswith("text/plain")
        assert a.head["cache-control"] == "no-store"
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT",
                            a.head["date"])
        a = h.get("/readyz?verbose")
        assert (a.status, a.json()) == (200, {"reasons": [], "ready": True})
        assert a.head["content-type"] == "application/json"
        a = h.get("/nothing")
        assert a.status == 404 and "/metrics" in a.body
        h.send("HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        a = h.answer(body=False)
        assert (a.status, a.head["content-length"]) == (200, "3")
        a = h.get("/livez")                 # nothing came behind the HEAD
        assert (a.status, a.body) == (200, "ok\n")


def test_only_get_and_head():
    with Umbra(conf()) as u:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
                       "CONNECT", "PROPFIND"):
            with Http(u) as h:
                target = "x:1" if method == "CONNECT" else "/livez"
                h.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
                       "Content-Length: 10\r\n\r\n0123456789")
                a = h.answer()
                assert (a.status, a.head["allow"]) == (405, "GET, HEAD")
                assert a.head["connection"] == "close"
                h.eof()


def test_keep_alive_and_pipelining():
    with Umbra(conf()) as u, Http(u) as h:
        h.send((GET % "/livez" + GET % "/nothing" + GET % "/readyz") * 50)
        got = [h.answer().status for _ in range(150)]
        assert got == [200, 404, 200] * 50
        h.send("GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert h.answer().head["connection"] == "keep-alive"
        h.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") %
               "/livez" + GET % "/livez")
        assert h.answer().head["connection"] == "close"
        h.eof()


def test_draining_is_not_ready():
    with Umbra(conf()) as u:
        u.cli("drain", "--reason", 'a "new" disk', "--no-wait")
        a = get(u, "/readyz")
        (why,) = a.json()["reasons"]
        assert a.status == 503 and a.json()["ready"] is False
        assert why["code"] == "draining"
        assert 'a "new" disk' in why["text"]
        assert get(u, "/livez").status == 200
        u.restart()
        assert get(u, "/readyz").status == 503
        u.cli("undrain")
        assert get(u, "/readyz").status == 200


def test_back_pressure_is_not_ready():
    """A level that the machine is above at all times."""
    c = conf()
    c["back_pressure"] = {"interval": "1s", "disk": {
        "medium": "0.03%", "high": "0.04%", "internal": "100%",
        "back_to_medium": "0.02%", "back_to_normal": "0.01%"}}
    with Umbra(c) as u:
        a = until(lambda: (lambda x: x if x.status == 503 else None)(
            get(u, "/readyz")))
        (why,) = a.json()["reasons"]
        assert why == {"code": "back_pressure", "text": "new mail from "
                       "outside is refused: disk space of the queue"}
        t = get(u, "/metrics").body
        assert number(t, 'umbra_pressure_level{resource="disk"}') == 2
        assert number(t, 'umbra_pressure_action{action="outside"}') == 1
        assert 0 < number(t, 'umbra_pressure_value{resource="disk"}') <= 100
        with u.smtp("inbound") as s:
            assert s.cmd("MAIL FROM:<s@example.org>") == 452
        t = get(u, "/metrics").body
        assert number(t, 'umbra_pressure_refused_total{source="outside"}') == 1


def test_a_node_that_stops_is_alive_and_not_ready():
    c = conf()
    c["node"]["stop_timeout"] = "30s"
    with Umbra(c) as u, u.smtp() as s, Http(u) as h:
        s.envelope("s@example.org", ["r@example.org"])
        s.ok("DATA", 354)
        u.proc.terminate()
        u.wait("node.stopping")
        a = get(u, "/readyz")
        assert a.status == 503
        assert [x["code"] for x in a.json()["reasons"]] == ["stopping"]
        assert h.get("/livez").status == 200
        s.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert s.reply() == 250


def test_until_the_very_end_of_a_stop():
    """Sessions are gone and a delivery still runs."""
    gate = threading.Event()
    c = conf()
    c["node"]["stop_timeout"] = "30s"
    with Peer() as sink:
        sink.gate["END"] = gate
        c["send_connectors"][0]["smart_hosts"] = [f"127.0.0.1:{sink.port}"]
        with Umbra(c) as u:
            u.send("s@example.org", ["r@example.org"], MESSAGE)
            sink.gated("END")
            u.cli("drain", "--no-wait")
            u.proc.terminate()
            u.wait("node.stopping")
            a = get(u, "/readyz")
            assert [x["code"] for x in a.json()["reasons"]] == [
                "stopping", "draining"]
            t = get(u, "/metrics").body
            assert number(t, "umbra_receive_messages_total") == 1
            assert number(t, 'umbra_queue_deliveries{state="active"}') == 1
            gate.set()
            assert u.ended() == 0


def test_an_upgrade_refuses_no_probe():
    """Every new connection is answered, by one process or the next, and it is
    ready all the time: nobody who sends mail is refused either."""
    with Umbra(conf()) as u:
        got, stop = [], threading.Event()

        def probe():
            while not stop.is_set():
                try:
                    got.append(get(u, "/readyz").status)
                except (AssertionError, OSError) as e:
                    got.append(e)
        probes = [threading.Thread(target=probe) for _ in range(3)]
        for t in probes:
            t.start()
        for _ in range(6):
            u.upgrade()
            at = len(got)
            until(lambda: len(got) > at + 50)
        stop.set()
        for t in probes:
            t.join()
        assert set(got) == {200}


def asked_at_the_end():
    """Of a node that has stopped but for somebody who has connected and not
    asked yet: the answer, or None when this test was too slow."""
    with Umbra(conf()) as u, Http(u) as idle, Http(u) as silent:
        assert idle.get("/livez").status == 200
        with Http(u) as asking:
            asking.send("GET /livez HTTP/1.1\r\n")
            assert get(u, "/livez").status == 200  # so the others are there
            u.signal(signal.SIGTERM)
            idle.eof()
            try:
                asking.send("Host: x\r\n\r\n")
                got = asking.answer()
            except (AssertionError, OSError):
                got = None
        assert u.ended() == 0
        silent.eof()
        return got


def test_who_is_asking_at_the_end_is_answered():
    """And nobody who asks nothing keeps the process from ending."""
    a = next(filter(None, (asked_at_the_end() for _ in range(5))))
    assert (a.status, a.head["connection"]) == (200, "close")


def test_an_end_does_not_wait_for_who_does_not_read():
    """Whatever is on its way to them, in the kernel or still here. The end is
    clean: stop() wants status 0."""
    with Umbra(conf()) as u:
        deaf = [Http(u) for _ in range(30)]
        for i, h in enumerate(deaf):
            h.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            h.send((GET % "/metrics").encode() * (20 * i + 1))
        for _ in range(100):
            assert get(u, "/livez").status == 200
        u.stop()
        for h in deaf:
            h.sock.close()


def test_reload_moves_it():
    c = conf()
    with Umbra(c) as u, Http(u) as kept:
        old = u.port("http")
        c["http"]["bind"] = "127.0.0.1:{other}"
        assert u.reload(c).event == "config.loaded"
        assert kept.get("/livez").status == 200   # connections stay
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", old), timeout=LONG)
        u.ports["http"] = u.ports["other"]
        assert get(u, "/livez").status == 200
        # An address that is taken: nothing changes.
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            c["http"]["bind"] = f"127.0.0.1:{s.getsockname()[1]}"
            line = u.reload(c)
            assert line.event == "config.refused" and \
                "http.bind" in line["text"]
        assert get(u, "/livez").status == 200
        del c["http"]
        assert u.reload(c).event == "config.loaded"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", u.port("http")),
                                     timeout=LONG)


def test_a_taken_address_is_a_start_that_fails():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        c = base(http={"bind": f"127.0.0.1:{s.getsockname()[1]}"})
        u = Umbra(c, start=False)
        try:
            u.launch()
            assert u.died() != 0
            assert any("(http.bind)" in x for x in u.stray), u.stray
        finally:
            u.discard()


def test_who_can_reach_it_is_said():
    u = Umbra(base(http={"bind": "0.0.0.0:8025"}), start=False)
    try:
        p = u.check()
        assert p.returncode == 0
        assert "http.bind: \"0.0.0.0:8025\" can be reached from other " \
            "machines, and nobody is asked for a password" in p.stderr
    finally:
        u.discard()


# --- metrics ----------------------------------------------------------------

def test_metrics():
    with Peer() as sink, Umbra(conf(sink.port)) as u:
        u.send("s@example.org", ["r@example.org", "t@example.org"], MESSAGE)
        sink.wait(1)
        u.wait("message.done")
        a = get(u, "/metrics")
        assert a.status == 200
        assert a.head["content-type"] == \
            "text/plain; version=0.0.4; charset=utf-8"
        t = a.body
        assert number(t, "umbra_receive_messages_total") == 1
        assert number(t, "umbra_queue_messages") == 0
        assert number(t, "umbra_queue_taken_total") == 1
        assert number(t, 'umbra_deliver_recipients_total{result="sent"}') == 2
        assert number(t, 'umbra_service{state="in_service"}') == 1
        # What is off is not to be alarmed about.
        assert number(t, "umbra_shadow_on") == 0
        assert number(t, "umbra_shadow_alone_seconds") == 0
        assert abs(number(t, "umbra_start_time_seconds") - time.time()) < 600
        u.cli("drain")
        t = get(u, "/metrics").body
        assert number(t, 'umbra_service{state="in_service"}') == 0
        assert number(t, 'umbra_service{state="drained"}') == 1
        assert number(t, "umbra_drain_since_seconds") > 1e9


def test_metrics_are_well_formed():
    """As a scraper reads them: one HELP and TYPE per metric, then its samples;
    names, labels and values as the format wants them; counters end with
    _total. And the manual has every one of them."""
    with Umbra(conf()) as u:
        text = get(u, "/metrics").body
    assert text.endswith("\n")
    name = kind = None
    seen, samples = set(), set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in seen
            seen.add(name)
        elif line.startswith("# TYPE "):
            _, _, n, kind = line.split(" ")
            assert n == name and kind in ("gauge", "counter")
            assert (kind == "counter") == name.endswith("_total")
        else:
            m = re.fullmatch(r"(umbra_[a-z0-9_]+)(\{[a-z]+=\"[^\"\n]*\"\})? "
                             r"(\d+(\.\d+)?)", line)
            assert m and m[1] == name, line
            assert line.rsplit(" ", 1)[0] not in samples
            samples.add(line.rsplit(" ", 1)[0])
    with open("docs/metrics.md", encoding="utf-8") as f:
        assert set(re.findall(r"^\| `(umbra_\w+)`", f.read(), re.M)) == seen


def test_metrics_of_a_pair():
    with Peer(on={"END": "451 4.3.0 later"}) as sink, Pair(
            sink=sink, receive={"shadow": "require"},
            more={"http": {"bind": "127.0.0.1:{http}"}}) as p:
        p.wait_up()
        a, b = p.nodes
        a.send("s@example.org", ["r@example.org"], MESSAGE)
        t = get(a, "/metrics").body
        assert number(t, f'umbra_shadow_peer_link{{peer="{b.name}"}}') == 1
        assert number(t, 'umbra_shadow_accepted_total{level="shadowed"}') == 1
        assert number(t, "umbra_shadow_alone_seconds") == 0
        t = get(b, "/metrics").body
        assert number(t, "umbra_shadow_held") == 1
        assert number(t, f'umbra_shadow_peer_held{{peer="{a.name}"}}') == 1
        assert number(t, "umbra_queue_messages") == 0


# --- hostile clients --------------------------------------------------------

@pytest.mark.parametrize("request_,status", [
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
     "Content-Length: 2\r\n\r\nx", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: x\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: " + "a" * 10000 + "\r\n\r\n", 431),
    ("GET /" + "a" * 10000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    ("GET / HTTP/1.1\r\n" + "X: a\r\n" * 3000, 431),
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
    ("\x00\x01\x02\r\n\r\n", 400),
    ("EHLO client\r\n\r\n", 400),
    ("GET / HTTP/7.3\r\nHost: x\r\n\r\n", 505),
])
def test_bad_requests_end_the_connection(request_, status):
    with Umbra(conf()) as u, Http(u) as h:
        # What stands behind it is not looked at.
        h.send(request_ + GET % "/livez")
        a = h.answer()
        assert (a.status, a.head["connection"]) == (status, "close")
        h.eof()
        assert u.wait("http.refused")["status"] == str(status)
        assert get(u, "/livez").status == 200


def test_a_tls_client():
    with Umbra(conf()) as u:
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.raises(OSError):
            with socket.create_connection(
                    ("127.0.0.1", u.port("http")), timeout=LONG) as s:
                ctx.wrap_socket(s, server_hostname="x")
        assert get(u, "/livez").status == 200


def test_many_requests_in_one_read():
    """Some at a time, so that others have their turn; each is answered."""
    with Umbra(conf()) as u, Http(u) as h:
        n = 500
        h.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * n +
               GET % "/livez")
        for _ in range(n):
            assert h.answer(body=False).status == 200
        assert h.answer().body == "ok\n"
        # Whoever hangs up in the middle is forgotten.
        with Http(u) as other:
            other.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * n)
            other.more()
        assert h.get("/livez").status == 200


def test_slowloris():
    """A request that never ends is ended after 10 s, however often an octet
    comes; others are served meanwhile, and room is made."""
    with Umbra(conf()) as u:
        slow = [Http(u) for _ in range(20)]
        began = time.monotonic()
        for h in slow:
            h.send("GET /livez HTTP/1.1\r\n")
        left = set(slow)
        while left and time.monotonic() - began < LONG:
            assert get(u, "/livez").status == 200
            for h in list(left):
                try:
                    h.send("X: y\r\n")
                    h.sock.settimeout(0.01)
                    h.more()
                except TimeoutError:
                    continue
                except (AssertionError, OSError):
                    pass
                assert not h.buf or b" 408 " in h.buf
                left.discard(h)
        assert not left
        assert 9 < time.monotonic() - began < 25
        for h in slow:
            h.sock.close()


def test_connections_have_a_limit():
    """One more than 32 ends the one that was idle for longest, or, when none
    is, the oldest."""
    with Umbra(conf()) as u:
        idle = [Http(u) for _ in range(32)]
        for h in idle:
            assert h.get("/livez").status == 200
        with Http(u) as h:
            assert h.get("/livez").status == 200
        idle[0].eof()
        for h in idle[1:]:
            assert h.get("/livez").status == 200
            h.sock.close()
        idle[0].sock.close()

        busy = [Http(u) for _ in range(40)]
        for h in busy:
            h.send("GET /livez HTTP/1.1\r\n")
        for h in busy[:8]:
            h.eof()
        for h in busy[8:]:
            h.send("Host: x\r\n\r\n")
            assert h.answer().status == 200
            h.sock.close()


def test_silent_connections_do_not_keep_probes_out():
    """Whoever asks whether the program lives is told, however many say
    nothing, or do not read."""
    with Umbra(conf()) as u:
        silent = [Http(u) for _ in range(40)]
        assert get(u, "/livez").status == 200
        for h in silent[:9]:
            h.eof()
        deaf = [Http(u) for _ in range(32)]
        for h in deaf:
            h.sock.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    h.sock.send((GET % "/metrics").encode() * 100)
        for _ in range(40):
            assert get(u, "/livez").status == 200
        for h in silent + deaf:
            h.sock.close()


def test_a_client_that_does_not_read():
    """It is not read either: no memory grows, and others are served."""
    with Umbra(conf()) as u, Http(u) as h:
        h.sock.settimeout(1)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += h.sock.send((GET % "/metrics").encode() * 100)
        except TimeoutError:
            pass
        assert sent < 64 << 20
        with open(f"/proc/{u.proc.pid}/statm", encoding="ascii") as f:
            rss = int(f.read().split()[1]) * 4096
        assert get(u, "/livez").status == 200
        assert rss < 400 << 20
