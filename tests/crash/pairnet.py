"""Two relays in network namespaces of their own, and the wire between them.

    with lab() as net, PairLab(net, ledger) as p:
        net.fault("drop")
        ...
        net.heal()

The namespace of the thread that calls lab() becomes the clients' and next
hops'; each relay has a wire to it and one to the other relay, and only that
one is ever damaged.
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest

import umbra
from lab import network
from ledger import token_of
from node import Hop, Node, quick, stamp
from pair import NAMES, certificates
from smtp import Smtp
from wait import LONG, until

FAULTS = ["drop", "there", "back", "reset", "slow", "lossy"]
#: The clients' side of the wire to a relay, the relay's, and its shadow link.
HUB = ["10.77.1.1", "10.77.2.1"]
FRONT = ["10.77.1.2", "10.77.2.2"]
LINK = ["10.77.3.1", "10.77.3.2"]
PORT, SHADOW_PORT = 2525, 2526


def run(*args, text=None):
    subprocess.run(args, input=text, text=True, check=True, timeout=60,
                   capture_output=True)


class Net:
    def __init__(self):
        self.spaces = [f"umbra-{os.getpid()}-{threading.get_native_id()}-{x}"
                       for x in "ab"]
        self.damage = None
        self.tbf = False

    def up(self):
        a, b = self.spaces
        for i, ns in enumerate(self.spaces):
            run("ip", "netns", "add", ns)
            run("ip", "link", "add", f"hub{i}", "type", "veth", "peer",
                "name", "front", "netns", ns)
            run("ip", "addr", "add", HUB[i] + "/30", "dev", f"hub{i}")
            run("ip", "link", "set", f"hub{i}", "up")
        run("ip", "-n", a, "link", "add", "wire", "type", "veth", "peer",
            "name", "wire", "netns", b)
        for i, ns in enumerate(self.spaces):
            for dev, addr in ("front", FRONT[i]), ("wire", LINK[i]):
                run("ip", "-n", ns, "addr", "add", addr + "/30", "dev", dev)
                run("ip", "-n", ns, "link", "set", dev, "up")
            run("ip", "-n", ns, "link", "set", "lo", "up")

    def down(self):
        for ns in self.spaces:
            subprocess.run(["ip", "netns", "del", ns], capture_output=True,
                           timeout=60, check=False)

    def rules(self, i, rule):
        """What arrives over the wire at relay i is treated so; "": nothing."""
        text = "table inet t\ndelete table inet t\n"
        if rule:
            text += "table inet t {\nchain i {\n" \
                "type filter hook input priority 0\n" \
                f"iifname \"wire\" {rule}\n}}\n}}\n"
        run("ip", "netns", "exec", self.spaces[i], "nft", "-f", "-",
            text=text)

    def rate(self, rate):
        """Both ways; None: as fast as it can."""
        for ns in self.spaces:
            if rate:
                run("ip", "netns", "exec", ns, "tc", "qdisc", "replace",
                    "dev", "wire", "root", "tbf", "rate", rate, "burst",
                    "1600", "limit", "60000")
            elif self.tbf:
                run("ip", "netns", "exec", ns, "tc", "qdisc", "del", "dev",
                    "wire", "root")
        self.tbf = bool(rate)

    def fault(self, kind):
        """there: what goes from relay 0 to 1 is lost; back: the other way."""
        lossy = "numgen random mod 100 < 20 drop"
        rst = "meta l4proto tcp reject with tcp reset"
        a, b = {"drop": ("drop", "drop"), "there": ("", "drop"),
                "back": ("drop", ""), "reset": (rst, rst), "slow": ("", ""),
                "lossy": (lossy, lossy)}[kind]
        self.rate("8kbit" if kind == "slow" else None)
        self.rules(0, a)
        self.rules(1, b)
        self.damage = kind

    def heal(self):
        self.rate(None)
        for i in 0, 1:
            self.rules(i, "")
        self.damage = None


@contextlib.contextmanager
def lab():
    for program in "ip", "nft", "tc", "nsenter":
        if not shutil.which(program):
            pytest.skip(f"{program} is missing")
    with network([]):
        net = Net()
        try:
            try:
                net.up()
                net.fault("lossy")
                net.fault("slow")
                net.heal()
            except subprocess.CalledProcessError as e:
                pytest.skip(f"no network for this: {e.cmd}: {e.stderr}")
            yield net
        finally:
            net.down()


# --- next hops ---------------------------------------------------------------


class Stop(Hop):
    """A next hop of one relay. late: nothing is taken, for now."""

    def __init__(self, ledger, late=False, **more):
        self.late = late
        super().__init__(ledger, host="0.0.0.0",
                         oops=lambda: "451 4.3.0 later" if self.late else None,
                         **more)
        self.event = None

    def hold(self):
        """Whoever has sent a message waits for the answer."""
        self.event = self.gate["END"] = threading.Event()

    def release(self):
        e, self.event = self.event, None
        self.gate.pop("END", None)
        if e:
            e.set()

    def held(self):
        """Somebody waits there."""
        return self.waiting > 0

    waiting = 0

    def note(self, what):
        if what == ("gate", "END"):
            self.waiting += 1
        super().note(what)


# --- relays ------------------------------------------------------------------

TIMES = {"heartbeat": "150ms", "takeover_after": "2s", "solo_after": "1s",
         "store_timeout": "2s", "start_barrier": "5s", "reshadow_after": "1s"}


def faketime():
    """The library that makes another clock, or None."""
    for d in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
              "/usr/lib", "/usr/lib64", "/usr/local/lib"):
        so = os.path.join(d, "faketime", "libfaketime.so.1")
        if os.path.exists(so):
            return so
    return None


class Relay(Node):
    """Relay i of a lab. stops: its next hops for one.test, and all else."""

    def __init__(self, i, net, ledger, stops, policy="require", times=None,
                 clock=False):
        self.i, self.net, self.name = i, net, NAMES[i]
        self.listened = 0
        super().__init__(ledger.node(NAMES[i]), stops,
                         conf=self.conf(i, stops, policy, times),
                         binary=quick())
        self.prefix = ["nsenter", f"--net=/run/netns/{net.spaces[i]}"]
        self.clock = os.path.join(self.dir, "clock") if clock else None
        if clock:
            self.jump(0)
            self.faults = faketime()
            self.env.update(
                LD_PRELOAD=self._preload(), FAKETIME_TIMESTAMP_FILE=self.clock,
                FAKETIME_CACHE_DURATION="1", FAKETIME_DONT_FAKE_MONOTONIC="1",
                DONT_FAKE_MONOTONIC="1", FAKETIME_DISABLE_SHM="1")

    @staticmethod
    def conf(i, stops, policy, times):
        c = certificates()
        conf = umbra.base(log={"level": "debug"})
        conf["node"]["name"] = NAMES[i]
        conf["receive_connectors"] = [
            {"name": "relay", "bind": [f"{FRONT[i]}:{PORT}"],
             "remote": ["10.77.0.0/16"],
             "permissions": ["submit", "relay", "any_sender"],
             "limits": {"connections_per_source": 1000, "commands": 1000000},
             "shadow": policy}]
        conf["send_connectors"] = [
            {"name": n, "address_spaces": [s], "tls": {"mode": "none"},
             "smart_hosts": [f"{HUB[i]}:{h.port}"]}
            for n, s, h in zip(("one", "rest"), ("one.test", "*"), stops)]
        conf["queue"]["large_body"] = "32KiB"
        conf["shadow"] = {
            **(times or TIMES), "listen": f"{LINK[i]}:{SHADOW_PORT}",
            "cert": f"{c}/{NAMES[i]}.pem", "key": f"{c}/{NAMES[i]}.key",
            "ca": f"{c}/shadow-ca.pem",
            "peers": [{"name": NAMES[1 - i],
                       "address": f"{LINK[1 - i]}:{SHADOW_PORT}"}]}
        return conf

    def client(self, timeout=LONG):
        c = Smtp(FRONT[self.i], PORT, timeout=timeout)
        c.ehlo()
        return c

    def jump(self, seconds):
        """Its wall clock is off by so much, from now on."""
        with open(self.clock + ".new", "w", encoding="ascii") as f:
            f.write("%+d\n" % seconds)
        os.rename(self.clock + ".new", self.clock)

    # --- what it says -------------------------------------------------------

    def ask(self, verb, *args):
        """JSON values of a command, by the control socket itself."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LONG)
            s.connect(self.socket)
            ask = {"verb": verb, "args": args, "json": True}
            if verb == "message list":
                ask["limit"] = 0
            s.sendall(json.dumps(ask).encode() + b"\n")
            got = b""
            while True:
                more = s.recv(65536)
                if not more:
                    break
                got += more
        return [json.loads(x) for x in got.decode().splitlines()
                if x[:1] == "{"]

    def mids(self):
        """mid -> state, of what is its own."""
        got = {}
        for row in self.ask("message list"):
            for m in self.ask("message show", row["id"]):
                if m.get("mid"):
                    got[m["mid"]] = m["copy_state"]
        return got

    def hear(self):
        with self._cond:
            new, at = self.lines[self.read:], self.read
            self.read = len(self.lines)
        whole = self.ledger.whole
        for n, x in enumerate(new):
            # Its clock may be another one than ours.
            self.hear_delivery(x, None if self.clock else stamp(x))
            if x.event == "message.accepted" and x.get("mid"):
                whole.mids[x["mid"]] = token_of(x["from"].strip("<>"))
            elif x.event == "shadow.takeover":
                whole.pending.append((x["mid"], self.name, x["reason"], at + n,
                                      x["msg"], self))

    def token_of_msg(self, msg, since):
        """Whose delivery it logged under this id from there on."""
        with self._cond:
            for x in self.lines[since:]:
                if x.event.startswith("delivery.") and x.get("msg") == msg:
                    return token_of(x["from"].strip("<>"))
        return None

    # --- what befalls it ----------------------------------------------------

    def crash(self):
        self.ledger.killing()
        self.proc.kill()
        self.proc.wait()
        for h in self.hops:
            h.release()
        self._over()

    def wipe(self):
        shutil.rmtree(self.data)

    def backup(self):
        self.stop()
        self.kept = self.dir + "/backup"
        shutil.copytree(self.data, self.kept)
        self.start()

    def restore(self):
        shutil.rmtree(self.data)
        shutil.copytree(self.kept, self.data)
        self.ledger.whole.restore(self.name)


class PairLab:
    """Two relays, with two next hops each: `main` takes one.test, `late` all
    else, and nothing before it is told to."""

    def __init__(self, net, ledger, clock=None, **options):
        self.net, self.ledger = net, ledger
        ledger.pending = []
        self.main, self.late, self.relays = [], [], []
        try:
            for i in 0, 1:
                led = ledger.node(NAMES[i])
                self.main.append(Stop(led))
                self.late.append(Stop(led, late=True))
                self.relays.append(Relay(i, net, ledger, [
                    self.main[i], self.late[i]], clock=clock == i, **options))
        except BaseException:
            self.discard()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                for r in self.relays:
                    if r.proc:
                        r.stop()
        finally:
            self.discard()
        if kind is None:
            for h in self.main + self.late:
                assert not h.notes, h.notes

    def discard(self):
        for h in self.main + self.late:
            h.release()
        for r in self.relays:
            r.discard()
        for h in self.main + self.late:
            h.close()

    def start(self):
        for r in self.relays:
            if not r.proc:
                r.start()

    def tail(self, n=60):
        return "\n".join(f"--- {r.name}\n{r.tail(n)}" for r in self.relays)

    def hear(self):
        for r in self.relays:
            r.hear()
        still = []
        for mid, who, reason, at, msg, r in self.ledger.pending:
            token = self.ledger.mids.get(mid) or r.token_of_msg(msg, at)
            if token:
                self.ledger.took_over(token, who, reason)
            else:
                still.append((mid, who, reason, at, msg, r))
        self.ledger.pending = still

    def linked(self):
        """Both links are up and nobody waits for an answer."""
        for r in self.relays:
            try:
                (s,) = r.ask("shadow status")
            except (OSError, ValueError):
                return False
            p = s["peers"][0]
            if p["link"] != "up" or p["serves"] != "up" or p["waiting"]:
                return False
        return True

    def settled(self):
        """Every message has one owner, and a copy; nothing is between two
        states."""
        if not self.linked():
            return False
        a, b = (r.mids() for r in self.relays)
        return not set(a) & set(b) and \
            all(s == "live" for m in (a, b) for s in m.values()) and \
            all(r.ask("shadow status")[0]["bare"] == 0 for r in self.relays)

    def drained(self, timeout=LONG):
        def done():
            self.hear()
            if self.ledger.missing() or not self.linked():
                return False
            return not any(r.ask("message list") or
                           r.ask("shadow status")[0]["held"]
                           for r in self.relays)
        until(done, timeout, every=0.1, text=lambda: "not drained: missing "
              f"{self.ledger.missing()[:5]}, {self.ledger.counts()}, "
              f"{[r.ask('message list') for r in self.relays]}, "
              f"{[r.ask('shadow status') for r in self.relays]}")
        self.hear()
