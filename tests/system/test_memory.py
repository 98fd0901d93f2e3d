"""queue.memory is used up: who waits, who goes away, who still gets on."""
import contextlib
import threading

from pair import Pair
from peer import Peer
from umbra import Umbra, base
from wait import until

SMALL = {"memory": "1MiB", "large_body": "512KiB"}
LINE = "x" * 76 + "\r\n"


def begin(clients, size):
    """Messages of which size octets are there, and no end."""
    for c in clients:
        c.cmd("MAIL FROM:<s@example.org>")
        c.cmd("RCPT TO:<r@example.org>")
        assert c.cmd("DATA") == 354
    for c in clients:
        c.send("Subject: x\r\n\r\n" + LINE * (size // len(LINE)))


def test_all_wait_and_all_get_on():
    """Half received messages have used up the memory, and nobody else has
    any: they end all the same, one after the other."""
    with Peer() as sink, Umbra(base(
            sink.port, queue={**base()["queue"], **SMALL})) as u:
        clients = [u.smtp() for _ in range(12)]
        begin(clients, 300000)
        u.wait("queue.memory")
        for c in clients:
            c.send(".\r\n")
        assert [c.reply().code for c in clients] == [250] * 12
        for c in clients:
            c.close()
        until(lambda: len(sink.messages) == 12)


def test_who_waits_for_memory_goes_away():
    """What a client that is gone gives back is what it waited for itself."""
    with Umbra(base(queue={**base()["queue"], **SMALL})) as u:
        clients = [u.smtp() for _ in range(5)]
        begin(clients, 300000)
        u.wait("queue.memory")
        for c in reversed(clients):
            c.close()
        u.wait("session.close", count=5)
        with u.smtp() as c:
            assert c.mail("s@example.org", ["r@example.org"], LINE)


def test_two_nodes_that_are_both_short_of_memory():
    """Each keeps bodies until the other has its copy: a copy is taken in all
    the same."""
    with Peer() as sink, Pair(
            sink=sink, receive={"shadow": "require"},
            more={"queue": {"memory": "1MiB", "large_body": "512KiB"}}) as p:
        p.wait_up()
        took, lock = [], threading.Lock()

        def run(node, i):
            with node.smtp() as c:
                with contextlib.suppress(AssertionError):  # 452: no memory
                    msg = c.mail("s@example.org", [f"r{i}@example.org"],
                                 "Subject: x\r\n\r\n" + LINE * 700)
                    with lock:
                        took.append(msg)
        for _ in range(4):
            threads = [threading.Thread(target=run, args=(p.node(i % 2), i),
                                        daemon=True) for i in range(60)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        for x in p.nodes:
            assert not x.seen("shadow.link_down"), x.tail()
        assert took
        until(lambda: len(sink.messages) >= len(took), text=p.tail)
