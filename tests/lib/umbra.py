"""A relay under test: configuration, start, log, stop.

    with Umbra(base(peer.port)) as u:
        with u.smtp() as c: ...
        u.wait("delivery.sent", to="<a@example.org>")

Every instance has its own directory, ports and control socket, so tests can
run in any order and side by side. stop() fails the test when the daemon does
not end cleanly or a sanitizer had something to say.
"""
import copy
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from port import free_port
from smtp import Smtp
from wait import LONG

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get(
    "UMBRA_BIN", os.path.join(ROOT, "build", "asan", "mta")))
UMBRAD = os.path.join(BIN, "umbrad")
UMBRA = os.path.join(BIN, "umbra")
NODE = "mx.umbra.test"


def base(*hosts, **more):
    """A configuration that delivers everything to these smart hosts (ports on
    127.0.0.1 or "host:port"); more: whole sections that replace others."""
    to = [h if isinstance(h, str) else f"127.0.0.1:{h}" for h in hosts]
    conf = {
        "node": {"name": NODE, "stop_timeout": "5s",
                 "postmaster": "postmaster@example.org"},
        "accepted_domains": [{"name": "example.org"},
                             {"name": "*.example.org"}],
        "receive_connectors": [
            # Port names are filled in by Umbra: relay may send everywhere,
            # inbound to accepted domains only.
            {"name": "relay", "bind": ["127.0.0.1:{relay}"],
             "remote": ["127.0.0.0/8"],
             "permissions": ["submit", "relay", "any_sender"],
             "limits": {"connections_per_source": 1000}},
            {"name": "inbound", "bind": ["127.0.0.1:{inbound}"],
             "remote": ["0.0.0.0/0"], "permissions": ["submit"],
             "limits": {"connections_per_source": 1000}},
        ],
        "send_connectors": [
            {"name": "out", "address_spaces": ["*"],
             "smart_hosts": to or ["127.0.0.1:9"], "tls": {"mode": "none"}},
        ],
        "queue": {"retry": {"glitch_interval": "1s",
                            "transient_interval": "1s", "interval": "1s",
                            "message_interval": "1s"}},
        # Nobody answers there; tests that need names say who does.
        "dns": {"servers": ["127.0.0.1:9"], "timeout": "200ms", "tries": 1},
        "log": {"level": "debug"},
    }
    conf.update(copy.deepcopy(more))
    return conf


class Line(dict):
    """One log line: its fields, and .level, .event, .text."""


_field = re.compile(r' ([a-z_0-9]+)=("(?:[^"\\]|\\.)*"|<(?:[^>\\]|\\.)*>|\S*)')


def _plain(v):
    if v[:1] == '"':
        v = v[1:-1]
    return re.sub(r"\\(x[0-9a-f]{2}|.)",
                  lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 3
                  else m[1], v)


def parse(text):
    """A log line, or None for what is not one (sanitizers, plain errors)."""
    m = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
                 r"(error|warn|info|debug) ([a-z_.]+)(.*)$", text)
    if not m:
        return None
    line = Line((k, _plain(v)) for k, v in _field.findall(m[3]))
    line.level, line.event, line.text = m[1], m[2], text
    return line


class Adopted:
    """A process that another one has started and left to us; as Popen."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    @staticmethod
    def prepare():
        """Orphans of our children are ours from now on."""
        set_child_subreaper = 36
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(set_child_subreaper, 1, 0, 0, 0) == 0

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=LONG):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Umbra:
    def __init__(self, conf=None, start=True, env=None, under="/tmp"):
        self.dir = tempfile.mkdtemp(prefix="umbra-", dir=under)
        self.data = os.path.join(self.dir, "data")
        self.socket = os.path.join(self.dir, "ctl.sock")
        self.file = os.path.join(self.dir, "umbra.yaml")
        self.ports = {}
        self.env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1",
                    "UBSAN_OPTIONS": "print_stacktrace=1", **(env or {})}
        self.proc = None
        self.lines = []    # parsed
        self.stray = []    # what is no log line
        self._cond = threading.Condition()
        if conf is None:
            conf = base()
        self.configure(conf)
        if start:
            try:
                self.start()
            except BaseException:
                self.discard()
                raise

    # --- configuration ------------------------------------------------------

    def port(self, name):
        if name not in self.ports:
            self.ports[name] = free_port()
        return self.ports[name]

    def configure(self, conf):
        """Writes the file. {name} in a bind becomes a port of this instance.
        A string is written as it is."""
        if not isinstance(conf, str):
            conf = copy.deepcopy(conf)
            conf.setdefault("node", {}).setdefault("data", self.data)
            conf.setdefault("control", {"socket": self.socket})
            conf = json.dumps(conf, indent=1, ensure_ascii=False)
        text = re.sub(r"\{([a-z_0-9]+)\}",
                      lambda m: str(self.port(m[1])), conf)
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(self.file + ".new", self.file)

    def check(self):
        return subprocess.run([UMBRAD, "-c", self.file, "--check"],
                              capture_output=True, text=True, timeout=60,
                              env=self.env, check=False)

    # --- life ---------------------------------------------------------------

    def launch(self):
        """Starts the program without waiting for it."""
        os.makedirs(self.data, exist_ok=True)
        self.proc = subprocess.Popen(
            [UMBRAD, "-c", self.file], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env,
            cwd=self.dir)
        self._reader = threading.Thread(
            target=self._read, args=(self.proc.stderr,), daemon=True)
        self._reader.start()

    def start(self):
        at = self.mark()
        self.launch()
        self.wait("node.ready", since=at)
        return self

    def _read(self, pipe):
        for raw in pipe:
            text = raw.decode("utf-8", "replace").rstrip("\n")
            line = parse(text)
            with self._cond:
                if line is None:
                    self.stray.append(text)
                else:
                    self.lines.append(line)
                self._cond.notify_all()
        pipe.close()
        with self._cond:
            self._cond.notify_all()

    def running(self):
        return self.proc is not None and self.proc.poll() is None

    def ended(self, timeout=LONG):
        """Waits for the end; the exit status."""
        status = self.proc.wait(timeout)
        self._reader.join(LONG)
        return status

    def died(self, timeout=LONG):
        """Waits for an end that the test expects; the exit status."""
        status = self.ended(timeout)
        self.proc = None
        self.clean()
        return status

    def stop(self, want=0):
        """SIGTERM; the end must be clean."""
        if self.proc is None:
            return
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        try:
            status = self.ended()
        except subprocess.TimeoutExpired:
            self.proc.send_signal(signal.SIGABRT)
            self.ended()
            raise AssertionError("did not stop within %d s\n%s" %
                                 (LONG, self.tail())) from None
        self.clean()
        assert status == want, f"exit {status}\n{self.tail()}"
        self.proc = None

    def clean(self):
        """No sanitizer has complained, no assertion has failed."""
        with self._cond:
            bad = [s for s in self.stray if re.search(
                r"Sanitizer|runtime error:|must\(|ssert|SUMMARY", s)]
        assert not bad, "\n".join(self.stray[-80:])

    def kill9(self):
        self.proc.kill()
        self.ended()
        self.clean()
        self.proc = None

    def restart(self):
        self.stop()
        self.start()

    def signal(self, number):
        self.proc.send_signal(number)

    def reload(self, conf=None):
        """SIGHUP; the line that says how it went."""
        if conf is not None:
            self.configure(conf)
        at = self.mark()
        self.signal(signal.SIGHUP)
        return self.wait(("config.loaded", "config.refused"), since=at)

    def succeeded(self, pid, status=0):
        """The running process has handed over to pid, and ends."""
        assert self.proc.wait(LONG) == status
        self.proc = Adopted(pid)

    def upgrade(self, *args):
        """umbra upgrade, which must go well; what it says."""
        Adopted.prepare()
        got = json.loads(self.cli("--socket", self.socket, "upgrade",
                                  "--json", *args))
        assert got["state"] == "taken over", got
        assert got["previous_pid"] == self.proc.pid, got
        self.succeeded(got["pid"])
        return got

    def discard(self):
        if self.proc is not None and self.proc.poll() is None:
            self.proc.kill()
            self.ended()
        self.proc = None
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                print("--- log of the failed test ---\n" + self.tail(60))
        finally:
            self.discard()

    # --- the log ------------------------------------------------------------

    def mark(self):
        """A place in the log: wait() and seen() can begin there."""
        with self._cond:
            return len(self.lines)

    def tail(self, n=40):
        with self._cond:
            return "\n".join([x.text for x in self.lines[-n:]] +
                             self.stray[-100:])

    @staticmethod
    def _fits(line, event, fields):
        names = (event,) if isinstance(event, str) else event
        return line.event in names and all(
            v.search(line.get(k, "")) if hasattr(v, "search")
            else line.get(k) == str(v) for k, v in fields.items())

    def seen(self, event, since=0, **fields):
        with self._cond:
            return [x for x in self.lines[since:]
                    if self._fits(x, event, fields)]

    def wait(self, event, since=0, timeout=LONG, count=1, **fields):
        """The count-th line of this event with these fields."""
        end = time.monotonic() + timeout
        with self._cond:
            at, got = since, 0
            while True:
                while at < len(self.lines):
                    x = self.lines[at]
                    at += 1
                    if self._fits(x, event, fields):
                        got += 1
                        if got == count:
                            return x
                left = end - time.monotonic()
                dead = self.proc is None or (
                    self.proc.poll() is not None and
                    not self._reader.is_alive())
                if left <= 0 or dead:
                    break
                self._cond.wait(min(left, 0.5))
        raise AssertionError(
            f"no {event} {fields} (had {got} of {count})"
            f"{', it is not running' if dead else ''}\n{self.tail()}")

    # --- doors --------------------------------------------------------------

    def smtp(self, door="relay", hello=True, **options):
        """A client session; EHLO is said unless told otherwise."""
        c = Smtp("127.0.0.1", self.port(door), **options)
        if hello:
            c.ehlo()
        return c

    def send(self, sender, rcpts, message, door="relay", **args):
        """One message in a session of its own; its queue id."""
        with self.smtp(door) as c:
            return c.mail(sender, rcpts, message, **args)

    def cli(self, *args, want=0):
        """The umbra command; its standard output."""
        p = subprocess.run([UMBRA, "-c", self.file, *args],
                           capture_output=True, text=True, timeout=60,
                           env=self.env, check=False)
        assert "Sanitizer" not in p.stderr, p.stderr
        if want is not None:
            assert p.returncode == want, (args, p)
        return p.stdout
