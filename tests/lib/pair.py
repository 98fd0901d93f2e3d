"""Relays that keep copies for each other: two, or three and more.

    with Peer() as sink, Pair(sink=sink, receive={"shadow": "require"}) as p:
        p.wait_up()
        p.node(0).send("<a@example.org>", ["<b@example.org>"], "text")
        p.node(0).kill9()
        p.node(0).wipe()            # an empty disk: another database
        p.node(0).start()
        p.wait_up()

A node is an Umbra (umbra.py) with a name, its SMTP port and JSON from `umbra`.
Everything is on 127.0.0.1. Certificates are made once, for all tests.
"""
import atexit
import json
import os
import shutil
import subprocess
import tempfile

from umbra import UMBRA, Umbra, base, free_port
from wait import LONG, until

NAMES = ["relay%d.umbra.test" % (i + 1) for i in range(5)]

#: Quick enough for tests, slow enough for instrumented programs on a busy
#: machine. takeover_after and start_barrier are what a test is about: it says.
SHADOW = {"heartbeat": "500ms", "takeover_after": "1h", "solo_after": "30s",
          "start_barrier": "30s", "store_timeout": "10s"}

_certs = None


def certificates():
    """The directory with shadow-ca.pem and NAME.pem, NAME.key of all NAMES."""
    global _certs
    if _certs is None:
        folder = tempfile.mkdtemp(prefix="umbra-pair-", dir="/tmp")
        atexit.register(shutil.rmtree, folder, True)
        subprocess.run([UMBRA, "shadow", "keygen", "--dir", folder, *NAMES],
                       check=True, capture_output=True, timeout=60)
        _certs = folder
    return _certs


class Node(Umbra):
    """One relay of a Pair; i is its number there, peers are Nodes."""

    def __init__(self, i, conf, **options):
        self.i, self.name = i, NAMES[i]
        self.shadow_port = free_port()
        self.started = 0  # where its log begins that counts
        super().__init__(conf, start=False, **options)

    @property
    def smtp_port(self):
        """Where clients may relay; .port("inbound") is the other one."""
        return self.port("relay")

    def ctl(self, *args, want=0):
        """What `umbra ARGS --json` answered, a value per line."""
        return [json.loads(line) for line in
                self.cli(*args, "--json", want=want).splitlines()]

    def wipe(self):
        """It is not running and has lost its disk."""
        assert self.proc is None, f"{self.name} is running"
        shutil.rmtree(self.data)

    # --- its links ----------------------------------------------------------

    def _last(self, *events, **fields):
        seen = self.seen(events, since=self.started, **fields)
        return seen[-1] if seen else None

    def linked(self, other):
        """Its link to other, as that one runs now, is up."""
        up = self._last("shadow.link_up", "shadow.link_down", peer=other.name)
        born = other._last("shadow.listen")
        return bool(born and up and up.event == "shadow.link_up" and
                    up.text[:24] >= born.text[:24])

    def launch(self):
        self.started = self.mark()
        super().launch()


class Pair:
    """n nodes that are each other's peers.

    tmp      where their directories are made (/tmp): another file system
    shadow   more keys of the section shadow, for all nodes
    receive  more keys of both receive connectors, such as shadow: require
    sink     the smart host of all nodes: a Peer, a port or "host:port"; a list
             gives each node its own
    witness  numbers of the nodes that the others take for witnesses
    via      {(i, j): port}: node i reaches node j there (a proxy's port)
    more     whole sections that replace those of umbra.base()
    start    start all nodes now
    """

    def __init__(self, tmp=None, n=2, shadow=None, receive=None, sink=None,
                 witness=(), via=None, more=None, start=True, env=None):
        self.shadow, self.receive = dict(shadow or {}), dict(receive or {})
        self.sink, self.witness = sink, witness
        self.via, self.more = dict(via or {}), dict(more or {})
        self.nodes = []
        under = str(tmp) if tmp else "/tmp"
        try:
            for i in range(n):
                self.nodes.append(Node(i, base(), under=under, env=env))
            self.configure()
            if start:
                for x in self.nodes:
                    x.start()
        except BaseException:
            self.discard()
            raise

    def node(self, i):
        return self.nodes[i]

    # --- configuration ------------------------------------------------------

    def _sink(self, i):
        sink = self.sink[i] if isinstance(self.sink, (list, tuple)) \
            else self.sink
        return [] if sink is None else [getattr(sink, "port", sink)]

    def conf(self, i, **shadow):
        """The configuration of node i, to change; shadow: more keys."""
        certs, me = certificates(), self.nodes[i]
        conf = base(*self._sink(i), **self.more)
        conf["node"]["name"] = me.name
        for r in conf["receive_connectors"]:
            r.update(self.receive)
        conf["shadow"] = {
            **SHADOW, "listen": f"127.0.0.1:{me.shadow_port}",
            "cert": os.path.join(certs, me.name + ".pem"),
            "key": os.path.join(certs, me.name + ".key"),
            "ca": os.path.join(certs, "shadow-ca.pem"),
            "peers": [self._peer(i, x) for x in self.nodes if x is not me],
            **self.shadow, **shadow}
        return conf

    def _peer(self, i, other):
        port = self.via.get((i, other.i), other.shadow_port)
        peer = {"name": other.name, "address": f"127.0.0.1:{port}"}
        if other.i in self.witness:
            peer["witness"] = True
        return peer

    def configure(self, **shadow):
        """Writes the files of all nodes (again); they are not reloaded."""
        self.shadow.update(shadow)
        for x in self.nodes:
            x.configure(self.conf(x.i))

    # --- life ---------------------------------------------------------------

    def wait_up(self, *nodes, timeout=LONG):
        """Every link between these nodes is up (default: all that run)."""
        run = [self.nodes[i] for i in nodes] if nodes else \
            [x for x in self.nodes if x.running()]

        def missing():
            return [(a.name, b.name) for a in run for b in run
                    if a is not b and not a.linked(b)]
        until(lambda: not missing(), timeout,
              text=lambda: f"no link {missing()}\n{self.tail()}")

    def start(self):
        """Those that do not run; waits until each is ready."""
        for x in self.nodes:
            if not x.running():
                x.start()

    def stop(self):
        """Those that run; the end of each must be clean. A node waits for
        nobody when it is about to stop."""
        for x in self.nodes:
            if x.proc is not None:
                x.stop()

    def discard(self):
        for x in self.nodes:
            x.discard()

    def tail(self, n=30):
        return "\n".join(f"--- {x.name}\n{x.tail(n)}" for x in self.nodes)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                print("--- logs of the failed test ---\n" + self.tail(60))
        finally:
            self.discard()
