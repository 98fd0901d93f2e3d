"""The disk is full, or fails: what is acknowledged is kept, and what cannot
be kept is not acknowledged.

Full: a tmpfs of 32 MiB in a mount namespace of its own (root only). Failing:
single calls return an error (faults.c).
"""
import errno
import json
import os
import random
import subprocess

import pytest

from ledger import Ledger
from node import (KINDS, Hop, Node, config, message, quick, send_some,
                  submit)
from smtp import Smtp
from wait import until

TO = ["a@one.test", "b@one.test"]


@pytest.fixture
def small(tmp_path):
    """A relay, not started, whose data is on a small file system, and where
    that can be seen from here."""
    ledger = Ledger()
    hop = Hop(ledger)
    n = Node(ledger, [hop])
    os.makedirs(n.data)
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c",
         'mount -t tmpfs -o size=32m,mode=700 none "$0" && echo ok && '
         'exec sleep 600', n.data], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    try:
        if holder.stdout.readline() != b"ok\n":
            pytest.skip("no mount namespace here: " +
                        holder.stderr.read().decode())
        n.holder = holder.pid
        yield n, hop, f"/proc/{holder.pid}/root{n.data}"
    finally:
        n.discard()
        hop.close()
        holder.kill()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()


def ballast(seen):
    """Somebody else uses the disk up to the last octet."""
    with open(f"{seen}/ballast", "wb", buffering=0) as f:
        size = 1 << 20
        while size:
            try:
                if not f.write(b"x" * size):
                    size //= 2
            except OSError:
                size //= 2


def asked(n, size):
    """What MAIL is answered that declares this size."""
    with Smtp("127.0.0.1", n.port("relay")) as c:
        c.ehlo()
        return c.cmd(f"MAIL FROM:<x@sender.test> SIZE={size}")


def disk_row(n):
    return next(r for r in map(json.loads, n.cli(
        "pressure", "--json").splitlines()) if r["meter"] == "disk")


def fill(n, prefix, sizes):
    """Sends until it is refused; all refusals must be the right one."""
    rng = random.Random(1)
    refused = taken = 0
    c = None
    for i in range(3000):
        if c is None:
            c = Smtp("127.0.0.1", n.port("relay"))
            c.ehlo()
        token = f"{prefix}{i}"
        if not submit(c, n.ledger, token, TO,
                      message(token, sizes[i % len(sizes)], rng)):
            c.close()
            c = None
        s = n.ledger.sent[token]
        # 421, or no answer: too many errors for one session.
        assert s.code in (250, 421, None) or (
            s.code == 452 and s.text.startswith("4.3.1")), (s.code, s.text)
        taken += s.code == 250
        refused = 0 if s.code == 250 else refused + (s.code == 452)
        if refused == 2 * len(sizes):
            break
    if c:
        c.close()
    assert refused, "it never got full"
    return taken


def admits(n):
    """Back pressure has seen that there is room again."""
    with Smtp("127.0.0.1", n.port("relay")) as c:
        c.ehlo()
        return c.cmd("MAIL FROM:<room@sender.test>").code == 250


def works(n, prefix):
    until(lambda: admits(n), text=lambda: n.tail(5))
    send_some(n.port("relay"), n.ledger, prefix, 3, 3000, TO)
    n.drained()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a tmpfs")
class TestFull:
    @pytest.mark.parametrize("sizes", [(20000,), (120000,), (800, 120000)],
                             ids=["database", "files", "both"])
    def test_by_mail(self, small, sizes):
        """452 4.3.1, then the next hop comes back, the queue drains, and mail
        is taken again, all without a restart; also when nobody has seen it
        come."""
        n, hop, _ = small
        conf = config(hop.port)
        conf["back_pressure"] = {"enabled": False}
        n.configure(conf)
        hop.close_gate()
        n.start()
        taken = fill(n, "t", sizes)
        n.wait("queue.full", timeout=3)
        hop.open_gate()
        n.drained()
        works(n, "again")
        n.stop()
        n.start()
        assert n.recovered()["messages"] == 0
        n.stop()
        n.ledger.verify()
        print(f"\n{taken} messages until it was full")

    def test_by_others(self, small):
        """Somebody else fills the disk to the last octet; deliveries go on,
        also after a restart with no space at all."""
        n, hop, seen = small
        hop.close_gate()
        n.start()
        send_some(n.port("relay"), n.ledger, "t", 40, 9000, TO)
        send_some(n.port("relay"), n.ledger, "l", 10, 90000, TO)
        ballast(seen)
        fill(n, "full", (800, 120000))
        n.crash()
        n.start()
        assert n.recovered()["damaged"] == 0
        hop.open_gate()
        n.drained()
        n.stop()
        n.start()
        assert n.recovered()["messages"] == 0
        os.unlink(f"{seen}/ballast")
        works(n, "again")
        n.stop()
        assert n.ledger.verify() == {}


    @pytest.mark.parametrize("lock", ["missing", "sparse"])
    def test_start_without_room_for_the_lock(self, small, lock):
        """LMDB's lock file has no room of its own, as after compact or
        restore, and nothing is free: the start takes it from the reserve, and
        the queue is delivered."""
        n, hop, seen = small
        hop.close_gate()
        n.start()
        send_some(n.port("relay"), n.ledger, "t", 20, 3000, TO)
        n.crash()
        os.unlink(f"{seen}/lock.mdb")
        if lock == "sparse":
            with open(f"{seen}/lock.mdb", "xb") as f:
                os.ftruncate(f.fileno(), 8192)
        ballast(seen)
        n.start()
        assert n.recovered()["damaged"] == 0
        hop.open_gate()
        n.drained()
        os.unlink(f"{seen}/ballast")
        works(n, "again")
        n.stop()
        n.ledger.verify()

    def test_start_without_any_room_is_refused_in_words(self, small):
        n, _, seen = small
        n.start()
        n.stop()
        os.unlink(f"{seen}/lock.mdb")
        os.truncate(f"{seen}/umbra.reserve", 0)
        ballast(seen)
        n.launch()
        assert n.died() > 0
        said = "\n".join(n.stray)
        assert "lock.mdb: No space left on device" in said, said
        assert "make room on its file system" in said, said

    def test_only_the_database_has_room(self, small):
        """The database keeps what a flood took, and nothing else is free:
        small messages go into its free pages, large ones, which would be files,
        are refused at MAIL by their declared size, not after their data."""
        n, hop, seen = small
        hop.close_gate()
        n.start()
        fill(n, "t", (20000,))
        hop.open_gate()
        n.drained()
        ballast(seen)
        row = until(lambda: (r := disk_row(n))["off"] == "large messages" and r,
                    text=lambda: f"{disk_row(n)} {n.tail(5)}")
        assert row["level"] == "normal" and row["value"] < 50
        assert "more than queue.large_body" in row["why"]
        r = asked(n, 120000)
        assert r == "452 4.3.1" and "disk space of the queue" in r.text
        assert asked(n, 3000) == 250
        send_some(n.port("relay"), n.ledger, "small", 5, 3000, TO)
        n.drained()
        os.unlink(f"{seen}/ballast")
        until(lambda: asked(n, 120000).code == 250,
              text=lambda: f"{disk_row(n)}")
        send_some(n.port("relay"), n.ledger, "large", 1, 120000, TO)
        n.drained()
        told = [(x["to"], x["off"]) for x in n.seen(
            "pressure.changed", resource="disk")]
        assert told[-2:] == [("normal", "large messages"), ("normal", "")]
        n.stop()
        n.ledger.verify()


#: Not an error: half of it is written, and there is room again by the time
#: that anybody looks. So quotas, and file systems that others use, end a write.
SHORT = 0

#: The call that fails, body size, error, whether the relay must stop.
ERRORS = [
    ("fdatasync", 1500, errno.EIO, True),
    ("pwrite64 O_DSYNC", 1500, errno.EIO, True),
    ("writev", 1500, errno.EIO, True),
    ("writev", 9000, errno.EIO, True),
    ("fdatasync", 90000, errno.EIO, None),
    ("fsync", 90000, errno.EIO, None),
    ("pwrite64", 90000, errno.EIO, None),
    ("openat", 90000, errno.EIO, None),
    ("mkdir", 90000, errno.EIO, None),
    ("pwrite64", 90000, errno.ENOSPC, False),
    ("openat", 90000, errno.ENOSPC, False),
    ("mkdir", 90000, errno.ENOSPC, False),
    ("fsync", 90000, errno.ENOSPC, None),
    ("fdatasync", 90000, errno.ENOSPC, None),
    ("openat", 90000, errno.EMFILE, False),
    ("fdatasync", 1500, errno.ENOSPC, None),
    ("writev", 1500, errno.ENOSPC, False),
    ("pwrite64 O_DSYNC", 1500, errno.ENOSPC, None),
    ("pwrite64", 90000, errno.EDQUOT, False),
    ("openat", 90000, errno.EDQUOT, False),
    ("writev", 1500, errno.EDQUOT, False),
    ("fdatasync", 1500, errno.EDQUOT, None),
    ("writev", 1500, SHORT, False),
    ("writev", 9000, SHORT, False),
    ("pwrite64 O_DSYNC", 1500, SHORT, True),
    ("pwrite64", 90000, SHORT, None),
]


def goes_on(n):
    """Takes mail, or says that it cannot and ends."""
    with Smtp("127.0.0.1", n.port("relay")) as c:
        c.ehlo()
        submit(c, n.ledger, "more", TO, message("more", 900, random.Random(2)))
    if not n.ledger.sent["more"].acked:
        return False
    send_some(n.port("relay"), n.ledger, "large", 1, 90000, TO)
    return True


@pytest.mark.parametrize("call, size, error, ends", ERRORS)
def test_call_fails(faults, call, size, error, ends):
    """The first call of this kind, while a message is taken, fails; where the
    database is told that there is no room, which it tries once more, all of
    them do until the answer. There is no 250 for that message, and all others
    are safe. The rest of a short write of a body file is written."""
    full = error in (errno.ENOSPC, errno.EDQUOT, SHORT)
    ledger = Ledger()
    hop = Hop(ledger)
    n = Node(ledger, [hop], binary=quick(), faults=faults)
    try:
        hop.close_gate()
        n.start(faults=True)
        send_some(n.port("relay"), ledger, "t", 3, 1500, TO)
        send_some(n.port("relay"), ledger, "l", 1, 90000, TO)
        n.control.fail_kind = KINDS.index(call)
        n.control.fail_errno = error
        n.control.fail_after = 1
        n.control.fail_sticky = full and size < 32768
        n.control.armed = 1
        with Smtp("127.0.0.1", n.port("relay")) as c:
            c.ehlo()
            submit(c, ledger, "bad", TO,
                   message("bad", size, random.Random(1)))
        n.control.fail_sticky = 0
        n.still()
        said = ledger.sent["bad"]
        if n.control.failed == 0:
            pytest.skip(f"no {call} in a message of {size} octets here")
        gone = n.proc.poll() is not None
        print(f"\n{call} {errno.errorcode.get(error, 'short')}: {said.code} "
              f"{said.text}; "
              + ("stopped" if gone else "goes on"))
        assert said.code is None or 400 <= said.code < 500 or (
            error == SHORT and size > 32768 and not gone)
        if ends is False:
            assert said.code == (452 if full else 451)
        if ends is not None:
            assert gone == ends, n.tail()
        if not gone:
            gone = not goes_on(n)
        if gone:
            assert n.died(5) == 74  # EX_IOERR
            assert n.seen("queue.fatal")
        else:
            n.crash()
        hop.close_gate()
        n.start()
        assert n.recovered()["damaged"] == 0
        hop.open_gate()
        n.empty()
        n.drained()
        n.stop()
        assert not n.body_files()
        ledger.verify()
        assert not hop.notes, hop.notes
    finally:
        n.discard()
        hop.close()
