"""A pair whose disks are both full: neither takes mail or copies, both go on
delivering, and both are back without a restart. Nothing that was acknowledged
is lost, and nothing comes twice."""
import json
import os

import pytest

from disk import small_disk
from ledger import Ledger
from load import Sink
from pair import Pair
from wait import until

LATER = "451 4.3.0 later"
MOST = 2000  # messages that fill the disk, and more


def level(node):
    return {r["meter"]: r["level"] for r in
            map(json.loads, node.cli("pressure", "--json").splitlines())
            }["disk"]


class Mail:
    def __init__(self, ledger):
        self.ledger, self.n = ledger, 0

    def offer(self, node, size):
        """1: acknowledged; 0: refused for want of room, at whatever step."""
        self.n += 1
        token, to = f"t{self.n}", f"r{self.n}@example.org"
        text = (f"Subject: {token}\r\n\r\n".encode() +
                (b"x" * 78 + b"\r\n") * (size // 80))
        with node.smtp() as c:
            r = c.cmd(f"MAIL FROM:<{token}@sender.test>")
            if r.code == 250:
                c.ok(f"RCPT TO:<{to}>")
                self.ledger.send(token, [to], text)
                r = c.data(text)
                self.ledger.answer(token, r.code, r.text, [to])
        assert r.code in (250, 451, 452), r
        return r.code == 250


def ballast(where, on):
    """All that is left is somebody else's; or given back."""
    name = os.path.join(where, "ballast")
    if not on:
        os.unlink(name)
        return
    with open(name, "wb", buffering=0) as f:
        size = 1 << 20
        while size >= 1024:
            try:
                os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size,
                                   size)
            except OSError:
                size //= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a tmpfs")
def test_both_are_full(tmp_path):
    ledger = Ledger()
    with small_disk(str(tmp_path / "disk"), "48m") as disk, \
            Sink(ledger) as sink, Pair(
                tmp=disk, sink=sink, receive={"shadow": "require"},
                shadow={"takeover_after": "1h", "reserve": "2MiB",
                        "store_timeout": "1s", "solo_after": "2s"},
                more={"back_pressure": {"interval": "100ms"}}) as p:
        sink.on["MAIL"] = LATER
        p.wait_up()
        mail, took = Mail(ledger), 0
        for i in range(MOST):
            got = mail.offer(p.nodes[i % 2], 400000 if i % 5 else 3000)
            took += got
            if not got:
                break
        assert took > 20, p.tail()
        ballast(disk, True)
        for x in p.nodes:
            until(lambda x=x: level(x) == "high")
            assert not mail.offer(x, 2000)
            assert not mail.offer(x, 400000)

        sink.on.pop("MAIL")
        for x in p.nodes:
            x.cli("queue", "retry", "--all", "--yes")
        until(lambda: not ledger.missing(), text=lambda: p.tail())
        for x in p.nodes:
            until(lambda x=x: not x.ctl("message", "list"))
            until(lambda x=x: not any(
                f for _, _, f in os.walk(f"{x.data}/bodies")))

        ballast(disk, False)
        for x in p.nodes:
            until(lambda x=x: level(x) == "normal")
            until(lambda x=x: mail.offer(x, 3000))
            assert mail.offer(x, 400000)
        until(lambda: not ledger.missing(), text=lambda: p.tail())
        for x in p.nodes:
            assert len(x.seen("node.start")) == 1
            until(lambda x=x: x.ctl("shadow", "status")[0]["held"] == 0)
        assert not ledger.verify()
