"""A relay that is made to fail, and the next hop that keeps the ledger."""
import calendar
import ctypes
import json
import mmap
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import threading
import time

import umbra
from ledger import REPORT, token_of
from peer import DROP, Peer
from smtp import Closed, Smtp
from umbra import ROOT, Umbra
from wait import LONG, until

BINARY = umbra.UMBRAD
HERE = os.path.dirname(os.path.abspath(__file__))

#: As in faults.c.
KINDS = ["none", "write", "writev", "pwrite64", "pwritev", "pwrite64 O_DSYNC",
         "sendto", "sendmsg", "fdatasync", "fsync", "openat", "mkdir",
         "unlink", "rename", "ftruncate", "fallocate", "link"]
BEFORE, HALF, AFTER = 1, 2, 3
WRITES = {"write", "writev", "pwrite64", "pwritev", "pwrite64 O_DSYNC",
          "sendto", "sendmsg"}
TRACE = 4000


def quick():
    """Where a test needs many short runs: the release build, when it is there
    and newer than every source; what is tested is the order of calls."""
    other = os.path.join(ROOT, "build", "release", "mta", "umbrad")
    newest = max(os.path.getmtime(os.path.join(d, f))
                 for top in ("mta", "queue", "dns", "tls")
                 for d, _, files in os.walk(os.path.join(ROOT, top))
                 for f in files)
    if os.access(other, os.X_OK) and os.path.getmtime(other) >= newest:
        return other
    return BINARY


def build_faults(folder):
    so = os.path.join(folder, "faults.so")
    subprocess.run(
        [os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1",
         "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", so,
         os.path.join(HERE, "faults.c"), "-ldl"], check=True)
    return so


class Control(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint32) for n in (
        "armed", "count", "at", "how", "fail_kind", "fail_after",
        "fail_errno", "fail_sticky", "failed", "delay_ms")] + [
            ("kind", ctypes.c_uint8 * TRACE)]


# --- what a relay is told ----------------------------------------------------

def config(*ports, **queue):
    """Mail for one.test to the first port, for two.test to the second, all
    else (the reports) to the last."""
    spaces = ["one.test", "two.test"][:len(ports) - 1]
    sends = [{"name": f"to-{s.split('.')[0]}", "address_spaces": [s],
              "smart_hosts": [f"127.0.0.1:{p}"]}
             for s, p in zip(spaces, ports)]
    sends.append({"name": "rest", "address_spaces": ["*"],
                  "smart_hosts": [f"127.0.0.1:{ports[-1]}"]})
    for s in sends:
        s["tls"] = {"mode": "none"}
    conf = umbra.base(send_connectors=sends, log={"level": "info"})
    conf["queue"].update(large_body="32KiB", **queue)
    for c in conf["receive_connectors"]:
        c["limits"] = {"connections_per_source": 1000, "commands": 1000000}
    return conf


# --- the next hop -----------------------------------------------------------

class Hop(Peer):
    """Enters every copy in the ledger before it answers. no(rcpt): refuse this
    recipient; oops(): what to say instead of 250 at the end of data."""

    def __init__(self, ledger, no=None, oops=None, **more):
        self.ledger, self.no, self.oops = ledger, no, oops
        self.opened = threading.Event()
        self.opened.set()
        super().__init__(on={"RCPT": self.rcpt, "END": self.taken},
                         keep_wire=False, **more)
        self.gate["GREET"] = self.opened

    def rcpt(self, conn, line):
        to = re.search(r"<(.*?)>", line)[1]
        what = self.no and self.no(to)
        if what and what[0] == "5":
            self.ledger.refused(conn.tx.sender, to)
        return what

    def taken(self, conn, _line):
        t = conn.tx_now
        what = self.oops and self.oops()
        if what is None or what is DROP:
            # Reports begin here: nobody has received them.
            self.ledger.copy(t.sender, t.to, t.body if t.sender else t.data)
        t.data = t.wire = b""
        return what

    def took(self, t):
        pass  # the ledger has it

    def note(self, what):
        if what[0] != "gate":
            super().note(what)

    def close_gate(self):
        self.opened = self.gate["GREET"] = threading.Event()

    def open_gate(self):
        self.opened.set()

    def settle(self):
        """Waits until everything that the dead relay had sent is read."""
        until(lambda: all(getattr(c, "ended", False) or not c.helo
                          for c in list(self.conns)),
              text="connections of a dead relay do not end")
        self.conns = [c for c in self.conns if not getattr(c, "ended", False)]


# --- the relay --------------------------------------------------------------

class Node(Umbra):
    """With a ledger that hears of its lives; faults: the library; holder: the
    pid whose mount namespace it runs in."""

    def __init__(self, ledger, hops, conf=None, binary=BINARY, faults=None,
                 holder=None, env=None):
        self.ledger, self.hops, self.binary = ledger, hops, binary
        self.faults, self.holder = faults, holder
        self.read = 0      # log lines that were searched for doubts
        self.extra = {}    # environment while faults are on
        self.prefix = []   # what runs it
        super().__init__(conf or config(*(h.port for h in hops)), start=False,
                         env={"UV_THREADPOOL_SIZE": "1", **(env or {})})
        self.control = None
        if faults:
            self._control()

    def _control(self):
        path = os.path.join(self.dir, "faults")
        with open(path, "w+b") as f:
            f.truncate(ctypes.sizeof(Control))
            self._map = mmap.mmap(f.fileno(), 0)
        self.control = Control.from_buffer(self._map)
        self.extra = {"FAULTS": path, "LD_PRELOAD": self._preload()}

    def _preload(self):
        with open(self.binary, "rb") as f:
            asan = b"libasan.so" in f.read()
        if not asan:
            return self.faults
        lib = subprocess.run(["gcc", "-print-file-name=libasan.so"],
                             capture_output=True, text=True, check=True)
        return os.path.realpath(lib.stdout.strip()) + " " + self.faults

    def launch(self, faults=False):
        if not self.holder:
            os.makedirs(self.data, exist_ok=True)
        cmd = [self.binary, "-c", self.file]
        if self.holder:
            cmd = ["nsenter", "-t", str(self.holder), "-m"] + cmd
        cmd = self.prefix + cmd
        self.ledger.born()
        self.proc = subprocess.Popen(
            cmd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, cwd=self.dir,
            env=dict(self.env, **(self.extra if faults else {})))
        self._reader = threading.Thread(
            target=self._read, args=(self.proc.stderr,), daemon=True)
        self._reader.start()

    def start(self, faults=False):
        """Returns seconds until it was ready."""
        at, t = self.mark(), time.monotonic()
        self.launch(faults)
        self.wait("node.ready", since=at)
        return time.monotonic() - t

    def hear(self):
        """What the log says about lost replies goes to the ledger."""
        with self._cond:
            new, self.read = self.lines[self.read:], len(self.lines)
        for x in new:
            self.hear_delivery(x, stamp(x))

    def hear_delivery(self, x, when):
        if x.event == "delivery.in_doubt":
            self.ledger.doubt(x["from"].strip("<>"), x["msg"], when)
        elif x.event in ("delivery.sent", "delivery.failed"):
            self.ledger.over(x["from"].strip("<>"), x["msg"],
                             x["to"].strip("<>"), when)

    def _over(self):
        """It is dead: reads what it left behind."""
        self.ended()
        self.clean()
        self.proc = None
        for h in self.hops:
            h.settle()
        self.ledger.ended()
        self.hear()

    def crash(self):
        self.ledger.killing()
        self.proc.kill()
        self._over()

    def still(self, seconds=0.06):
        """Waits until it has done nothing that counts for so long, or died."""
        last, since = -1, 0
        while self.proc.poll() is None:
            now = time.monotonic()
            if self.control.count != last:
                last, since = self.control.count, now
            elif now - since > seconds:
                return
            time.sleep(0.005)

    def body_files(self):
        return sorted(os.path.join(d, f) for d, _, files in os.walk(
            os.path.join(self.data, "bodies")) for f in files)

    def power(self):
        """From now on the image of a power cut is kept."""
        os.makedirs(self.data, exist_ok=True)
        self.image = os.path.join(self.dir, "image")
        self.extra.update(FAULTS_ROOT=self.data, FAULTS_IMAGE=self.image)
        image_seed(self.data, self.image)

    def power_cut(self):
        self.crash()
        image_restore(self.data, self.image)
        image_seed(self.data, self.image)

    def died(self, timeout=LONG):
        """It ends itself; its status (negative: the signal)."""
        status = self.proc.wait(timeout)
        if status == -signal.SIGKILL:
            self.ledger.killing()
        self._over()
        return status

    def stop(self, want=0):
        if self.proc is None:
            return
        super().stop(want)
        for h in self.hops:
            h.settle()
        self.ledger.ended()
        self.hear()

    def recovered(self):
        """Messages, orphans and damaged records of the last start."""
        x = self.seen("queue.recovered")[-1]
        return {k: int(x[k]) for k in ("messages", "orphans", "damaged",
                                       "finished")}

    def queued(self):
        """The spool dump, as the relay itself gives it: what is pending, as
        {(token, recipient or REPORT)}."""
        got = set()
        for row in self.cli("message", "list", "--limit", "0",
                            "--json").splitlines():
            m = json.loads(row)
            to, token = [m["to"]], token_of(m["from"] or "")
            if m["recipients"] > 1:
                m = json.loads(self.cli("message", "show", m["id"], "--json"))
                to = [r["address"] for r in m["recipients"]
                      if r["state"] != "final"]
            got |= {(token, r) if token else (token_of(r), REPORT)
                    for r in to}
        return got

    def empty(self, timeout=LONG):
        """Waits until what was there at the last start has left."""
        at = len(self.lines) - 1 - [x.event for x in self.lines[::-1]].index(
            "queue.recovered")
        for i in range(int(self.lines[at]["messages"])):
            self.wait("message.done", since=at, count=i + 1, timeout=timeout)

    def drained(self, timeout=LONG):
        """Waits until all that was acknowledged is somewhere."""
        def done():
            self.hear()
            return not self.ledger.missing()
        until(done, timeout, every=0.02,
              text=lambda: "still missing: %s of %s\n%s" % (
                  self.ledger.missing()[:5], self.ledger.counts(),
                  self.tail(20)))

    def __exit__(self, kind, value, trace):
        try:
            super().__exit__(kind, value, trace)
        finally:
            for h in self.hops:
                h.close()
        for h in self.hops:
            assert not h.notes, h.notes


def stamp(line):
    """The time of a log line as time.time() has it."""
    t = line.text[:23]
    return calendar.timegm(time.strptime(t[:19], "%Y-%m-%dT%H:%M:%S")) + \
        int(t[20:23]) / 1000


# --- the image of a power cut -----------------------------------------------

def image_seed(data, image):
    """Everything that is there is durable."""
    shutil.rmtree(image, ignore_errors=True)
    os.makedirs(image)
    for folder, dirs, files in os.walk(data):
        with open(f"{image}/dir.{os.stat(folder).st_ino}", "w",
                  encoding="ascii") as f:
            for kind, names in (("d", dirs), ("f", files)):
                for n in names:
                    ino = os.stat(os.path.join(folder, n)).st_ino
                    f.write(f"{ino} {kind} {n}\n")
        for n in files:
            path = os.path.join(folder, n)
            shutil.copyfile(path, f"{image}/file.{os.stat(path).st_ino}")


def image_restore(data, image):
    """Makes the directory what the power cut has left of it."""
    def fill(ino, folder):
        os.mkdir(folder, 0o700)
        try:
            with open(f"{image}/dir.{ino}", encoding="ascii") as f:
                rows = [x.split(" ", 2) for x in f.read().splitlines()]
        except FileNotFoundError:
            return
        for child, kind, name in rows:
            path = os.path.join(folder, name)
            if kind == "d":
                fill(child, path)
                continue
            try:
                shutil.copyfile(f"{image}/file.{child}", path)
            except FileNotFoundError:
                with open(path, "wb"):
                    pass
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)

    ino = os.stat(data).st_ino
    fill(ino, data + ".after")
    shutil.rmtree(data)
    os.rename(data + ".after", data)


# --- the client -------------------------------------------------------------

def message(token, size, rng):
    """A message of about this size, different from every other."""
    lines = [f"From: <{token}@sender.test>", "To: somebody",
             f"Message-ID: <{token}@sender.test>", f"Subject: {token}", ""]
    line = "%x " % rng.getrandbits(200)
    n = sum(map(len, lines))
    i = 0
    while n < size:
        s = f".{i} {line}" if i % 7 == 3 else f"{i} {line}"
        lines.append(s)
        n += len(s) + 2
        i += 1
    return "\r\n".join(lines).encode() + b"\r\n"


def submit(c, ledger, token, rcpts, body):
    """A whole transaction in as few writes as PIPELINING allows. True: it was
    answered, whatever the answer; False: the connection is gone."""
    ledger.send(token, rcpts, body)
    try:
        c.send("".join([f"MAIL FROM:<{token}@sender.test>\r\n"] +
                       [f"RCPT TO:<{r}>\r\n" for r in rcpts] + ["DATA\r\n"]))
        r = c.reply()
        if r.code == 421:
            ledger.answer(token, r.code, r.text, ())
            return False
        to = c.replies(len(rcpts))
        go = c.reply()
        if go.code != 354:
            bad = [x for x in [r, *to, go] if x.code >= 400]
            ledger.answer(token, bad[0].code, bad[0].text, ())
            return bad[0].code != 421
        took = [x for x, y in zip(rcpts, to) if y.code == 250]
        c.send(re.sub(rb"(?m)^\.", b"..", body), b".\r\n")
        end = c.reply()
        ledger.answer(token, end.code, end.text, took)
        return end.code != 421
    except (Closed, OSError):
        return False


def send_some(port, ledger, prefix, count, size=1500,
              rcpts=("a@one.test", "b@one.test"), rng=random.Random(1)):
    """One by one, each in a session of its own; all must be taken."""
    for i in range(count):
        with Smtp("127.0.0.1", port) as c:
            c.ehlo()
            token = f"{prefix}{i}"
            assert submit(c, ledger, token, list(rcpts),
                          message(token, size, rng))
            assert ledger.sent[token].acked, ledger.sent[token].text


class Sender(threading.Thread):
    """Sends over a kept connection, and again when it was lost, until told to
    stop. pick(n): recipients and body size of the n-th message."""

    def __init__(self, name, port, ledger, rng, pick, pause=0.0):
        super().__init__(daemon=True)
        self.prefix, self.port, self.ledger = name, port, ledger
        self.rng, self.pick, self.pause = rng, pick, pause
        self.halt, self.n, self.trouble = threading.Event(), 0, None
        self.start()

    def connect(self):
        while not self.halt.is_set():
            try:
                c = Smtp("127.0.0.1", self.port, timeout=LONG)
                c.ehlo()
                return c
            except (Closed, OSError):
                time.sleep(0.01)
        return None

    def run(self):
        c = None
        try:
            while not self.halt.is_set():
                c = c or self.connect()
                if c is None:
                    break
                self.n += 1
                token = f"{self.prefix}-{self.n}"
                rcpts, size = self.pick(self.rng)
                if not submit(c, self.ledger, token, rcpts,
                              message(token, size, self.rng)):
                    c.close()
                    c = None
                if self.pause:
                    time.sleep(self.pause)
        except Exception as e:  # told by the test
            self.trouble = e
        if c:
            c.close()

    def end(self):
        self.halt.set()
        self.join(LONG)
        assert not self.is_alive()
        if self.trouble:
            raise self.trouble
