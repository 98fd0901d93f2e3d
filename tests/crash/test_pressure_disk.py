"""P7: the file system of the queue is filled by somebody else, step by step and
back, down to the last block or inode. At each step the level is the one that
the thresholds say, who is refused hears it at MAIL with what is short, who is
not is taken and delivered, something older is delivered as well, and nothing
that was acknowledged is lost; at the end all is as at the beginning, without a
restart. At some steps the relay is killed and starts with what is left.

Real file systems: ext4 on a loop device, tmpfs; each in a mount namespace of
its own (root only).
"""
import contextlib
import json
import os
import random
import subprocess
import threading

import pytest

from ledger import Ledger
from node import Hop, Node, config, message, submit
from smtp import Smtp
from umbra import UMBRA
from wait import until

MIB = 1 << 20
NEW, OLD = ["a@one.test"], ["b@two.test"]
BACKLOG = 70
WORDS = {"disk": "disk space of the queue",
         "inodes": "inodes of the queue's file system"}

#: What is mounted ($0: where, $1: an image), and what is used up there.
EXT4 = ('truncate -s %dM "$1" && mkfs.ext4 -q -F -m 0 %s "$1" && '
        'mount -o loop "$1" "$0" && chmod 700 "$0"')
TMPFS = 'mount -t tmpfs -o mode=700,%s none "$0"'
KINDS = {
    "ext4-64M": (EXT4 % (64, ""), "disk"),
    "ext4-32M-1k": (EXT4 % (32, "-b 1024"), "disk"),
    "tmpfs-48M": (TMPFS % "size=48m", "disk"),
    "tmpfs-inodes": (TMPFS % "size=64m,nr_inodes=800", "inodes"),
    "ext4-inodes": (EXT4 % (64, "-N 512"), "inodes"),
}
#: Percent of what is free at the beginning that somebody else takes.
UP = [0, 20, 40, 60, 70, 75, 78, 80, 82, 84, 86, 88, 90, 91, 92, 93, 94, 95,
      96, 97, 98, 99, 100]
STEPS = UP + UP[-2:0:-2] + [85, 100, 85, 99, 88, 97, 0]
KILLS = {8, 16, 22, 26, 36}  # steps at which it is killed before


class Later(Hop):
    """Takes so many messages as it may, the others later."""

    def __init__(self, ledger):
        self.lock, self.may = threading.Lock(), 0
        super().__init__(ledger, no=self.later)

    def later(self, _to):
        with self.lock:
            if self.may == 0:
                return "451 4.3.0 later"
            self.may -= 1
            return None


class Full:
    """A relay on a small file system, and who fills that."""

    def __init__(self, kind, folder):
        mount, self.meter = KINDS[kind]
        self.ledger = Ledger()
        self.hop, self.slow = Hop(self.ledger), Later(self.ledger)
        conf = config(self.hop.port, self.slow.port)
        conf["send_connectors"][1].update(
            name="to-two", address_spaces=["two.test"],
            smart_hosts=[f"127.0.0.1:{self.slow.port}"])
        conf["send_connectors"].append(
            {"name": "rest", "address_spaces": ["*"], "tls": {"mode": "none"},
             "smart_hosts": [f"127.0.0.1:{self.hop.port}"]})
        conf["back_pressure"] = {"interval": "100ms"}
        conf["accepted_domains"] = [{"name": "one.test"}]
        self.n = Node(self.ledger, [self.hop, self.slow], conf)
        self.sent = 0
        self.rng = random.Random(7)
        os.makedirs(self.n.data)
        self.holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", mount + " && echo ok && exec sleep "
             "900", self.n.data, os.path.join(folder, "image")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            if self.holder.stdout.readline() != b"ok\n":
                pytest.skip("cannot mount here: " +
                            self.holder.stderr.read().decode())
            self.n.holder = self.holder.pid
            self.seen = f"/proc/{self.holder.pid}/root{self.n.data}"
            self.prepare()
        except BaseException:
            self.close()
            raise

    def prepare(self):
        self.n.start()
        with self.session("relay") as c:
            for _ in range(BACKLOG):
                self.send(c, OLD, 3000)
        assert not self.n.seen("pressure.changed"), self.n.tail(5)
        v = os.statvfs(self.seen)
        self.room = v.f_bfree * v.f_frsize if self.meter == "disk" \
            else v.f_ffree
        os.mkdir(f"{self.seen}/others")
        self.held, self.mark = 0, self.n.mark()
        self.level, self.levels = "normal", set()

    def close(self):
        self.n.discard()
        self.hop.close()
        self.slow.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()

    # --- somebody else ------------------------------------------------------

    def take(self, percent):
        """So much is somebody else's; at 100 whatever there is."""
        (self.take_blocks if self.meter == "disk"
         else self.take_inodes)(percent)

    def take_blocks(self, percent):
        with open(f"{self.seen}/others/ballast", "ab", buffering=0) as f:
            want = self.room * percent // 100 // 4096 * 4096
            os.ftruncate(f.fileno(), min(want, f.tell()))
            size = MIB if percent == 100 else want
            at = os.fstat(f.fileno()).st_size
            while size >= 1024 and (percent == 100 or at < want):
                try:
                    more = size if percent == 100 else want - at
                    os.posix_fallocate(f.fileno(), at, more)
                    at += more
                except OSError:
                    if percent < 100:
                        break
                    size //= 2

    def take_inodes(self, percent):
        want = self.room * percent // 100 + (1000 if percent == 100 else 0)
        while self.held > want:
            self.held -= 1
            os.unlink(f"{self.seen}/others/{self.held}")
        try:
            while self.held < want:
                with open(f"{self.seen}/others/{self.held}", "xb"):
                    self.held += 1
        except OSError:
            pass

    # --- mail ---------------------------------------------------------------

    def session(self, door):
        c = Smtp("127.0.0.1", self.n.port(door))
        c.ehlo()
        return c

    def send(self, c, rcpts, size):
        self.sent += 1
        token = f"t{self.sent}"
        assert submit(c, self.ledger, token, rcpts,
                      message(token, size, self.rng)), self.n.tail(10)
        return self.ledger.sent[token]

    def copies(self, to):
        with self.ledger.lock:
            return sum(1 for (_, r), v in self.ledger.attempts.items()
                       if r == to for x in v if x[1] == "copy")

    # --- the meter ----------------------------------------------------------

    def row(self):
        rows = map(json.loads, self.n.cli("pressure", "--json").splitlines())
        return next(r for r in rows if r["meter"] == self.meter)

    def settled(self):
        """A row of a sample that was taken after the last change: the same
        value as the file system gives, twice."""
        def same():
            a = self.row()
            v = os.statvfs(self.seen)
            now = 100 - 100 * v.f_ffree / v.f_files if self.meter == "inodes" \
                else 100 - 100 * v.f_bfree / v.f_blocks
            free = a["why"].rpartition("database ")[2].split()
            if self.meter == "disk":
                now -= float(free[0]) * 100 * MIB / (v.f_blocks * v.f_frsize)
            ok = abs(a["value"] - now) < 0.4 and last == [a["value"]]
            last[:] = [a["value"]]
            return ok and a
        last = []
        return until(same, text=lambda: f"{self.row()} {os.statvfs(self.seen)}")


@pytest.fixture(scope="module")
def full(request, tmp_path_factory):
    f = Full(request.param, str(tmp_path_factory.mktemp("full")))
    yield f
    f.close()


def expected(row, was):
    """The level by the thresholds, said once more."""
    v = row["value"]
    if v >= row["high"] or (was == "high" and v >= row["back_to_medium"]):
        return "high"
    if v >= row["medium"] or (was != "normal" and v >= row["back_to_normal"]):
        return "medium"
    return "normal"


def check_door(f, door, refuses):
    """Refused at MAIL with what is short; or taken, unless the file system
    itself has no room for this one; then 452 and nothing is left of it."""
    with f.session(door) as c:
        if refuses:
            r = c.cmd("MAIL FROM:<x@sender.test>")
            assert r.code == 452 and WORDS[f.meter] in r.lines[0], r
            return
        for size in (2000, 60000):  # in the database, in a file
            s = f.send(c, NEW, size)
            assert s.code == 250 or (
                s.code == 452 and s.text.startswith("4.3.1")), s.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
@pytest.mark.parametrize("step", range(len(STEPS)), ids=[
    f"{i}-{p}%" for i, p in enumerate(STEPS)])
@pytest.mark.parametrize("full", KINDS, indirect=True)
def test_filled_at_each_step(full, step):
    f, n = full, full.n
    mark = f.mark
    if step in KILLS:
        n.crash()
        f.take(STEPS[step])
        n.start()
        assert n.recovered()["damaged"] == 0
        f.level = "normal"
    else:
        f.take(STEPS[step])
    row = f.settled()
    # It may have been at others since the last step.
    was = {f.level} | {x["to"] for x in n.seen(
        "pressure.changed", since=mark, resource=f.meter)}
    assert row["level"] in {expected(row, x) for x in was}, (row, was)
    f.level = row["level"]
    f.levels.add(f.level)
    high, medium = f.level == "high", f.level != "normal"
    check_door(f, "inbound", medium)
    check_door(f, "relay", high)
    # Deliveries go on, of what has just come and of what was there before.
    before = f.copies(OLD[0])
    with f.slow.lock:
        f.slow.may = 1
    n.cli("queue", "retry", "--all", "--yes")
    until(lambda: f.copies(OLD[0]) > before,
          text=lambda: f"no delivery at {STEPS[step]} %\n{n.tail(20)}")
    until(lambda: not [t for t in f.ledger.missing() if t[1] in NEW],
          text=lambda: n.tail(20))
    assert f.n.running()
    f.mark = n.mark()
    f.level = f.settled()["level"]
    if step + 1 == len(STEPS):
        over(f)


def over(f):
    """Everything is taken and delivered again, without a restart."""
    assert f.level == "normal"
    assert f.levels == {"normal", "medium", "high"}
    check_door(f, "inbound", False)
    check_door(f, "relay", False)
    f.slow.may = BACKLOG * 10
    f.n.cli("queue", "retry", "--all", "--yes")
    f.n.drained()
    f.n.stop()
    f.n.start()
    assert f.n.recovered()["messages"] == 0
    assert not f.n.body_files()
    f.n.stop()
    f.ledger.verify()


# --- a rescued disk on a small one -------------------------------------------

class Rescue:
    """A dead relay's directory with mail that was acknowledged, and a relay on
    a file system that is too small for all of it at once."""

    MESSAGES, SIZE = 400, 40000

    def __init__(self, folder):
        self.ledger = Ledger()
        self.hop = Hop(self.ledger)
        self.hop.close_gate()
        self.dead = Node(self.ledger, [self.hop])
        conf = config(self.hop.port)
        conf["back_pressure"] = {"interval": "100ms", "disk": {
            "medium": "40%", "high": "50%", "back_to_medium": "45%",
            "back_to_normal": "20%", "history": 1}}
        self.n = Node(self.ledger, [self.hop], conf)
        os.makedirs(self.n.data)
        self.holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", TMPFS % "size=16m" +
             " && echo ok && exec sleep 900", self.n.data,
             os.path.join(folder, "image")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self.holder.stdout.readline() != b"ok\n":
            self.close()
            pytest.skip("cannot mount here")
        self.n.holder = self.holder.pid
        self.seen = f"/proc/{self.holder.pid}/root{self.n.data}"
        self.most = 0

    def close(self):
        self.dead.discard()
        self.n.discard()
        self.hop.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def fill(self):
        self.dead.start()
        rng = random.Random(3)
        with Smtp("127.0.0.1", self.dead.port("relay")) as c:
            c.ehlo()
            for i in range(self.MESSAGES):
                # Some in the database, some as files of their own.
                submit(c, self.ledger, f"t{i}", NEW, message(
                    f"t{i}", self.SIZE if i % 2 else 12000, rng))
        self.dead.crash()

    def begin(self):
        return subprocess.Popen(
            ["nsenter", "-t", str(self.holder.pid), "-m", UMBRA, "-c",
             self.n.file, "db", "import", self.dead.data, "--yes"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.n.env)

    def used(self):
        v = os.statvfs(self.seen)
        self.most = max(self.most, 100 - 100 * v.f_bavail // v.f_blocks)
        return self.most


@pytest.mark.parametrize("killed", [False, True])
def test_import_waits_for_room(tmp_path, killed):
    """The import pauses at the threshold, says what is short, leaves room, and
    goes on by itself when mail has been delivered: everything, once. The same
    when it is interrupted while it waits, and typed again."""
    r = Rescue(str(tmp_path))
    try:
        r.fill()
        r.n.start()
        with r.begin() as p:
            said = p.stderr.readline()
            assert "waiting: disk space of the queue is short" in said, said
            row = r.n.seen("pressure.changed", resource="disk")[-1]
            assert "pickup" in row["off"]
            here = len(r.n.seen("queue.imported"))
            assert 0 < here < r.MESSAGES
            if killed:
                p.terminate()
                p.communicate()
            with contextlib.ExitStack() as stack:
                if killed:
                    p = stack.enter_context(r.begin())
                    said = p.stderr.readline()
                    assert "waiting:" in said, (said, p.communicate(), p)
                assert len(r.n.seen("queue.imported")) == here
                assert r.used() < 70
                r.hop.open_gate()
                r.n.cli("queue", "retry", "--all", "--yes")
                out, said = p.communicate(timeout=240)
        assert p.returncode == 0, (out, said)
        assert "umbra: goes on" in said
        assert r.used() < 70
        r.n.drained()
        r.n.stop()
        assert r.ledger.verify() == {}
        assert len(r.n.seen("queue.imported")) == r.MESSAGES
        print(f"\nat most {r.most} % used, {said.count('waiting')} more times "
              f"waited, {r.ledger.counts()}")
    finally:
        r.close()
