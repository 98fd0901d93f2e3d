"""bench - what the measurements share: control groups, the sink, a server, load
and a table of medians."""
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("bench: nothing listens on port %d" % port)


class Group:
    """A control group that counts the CPU time of everything in it."""

    def __init__(self, name):
        v1 = os.path.isdir("/sys/fs/cgroup/cpuacct")
        base = "/sys/fs/cgroup/cpuacct" if v1 else "/sys/fs/cgroup"
        self.path = os.path.join(base, "umbra-bench-" + name)
        self.v1 = v1
        os.makedirs(self.path, exist_ok=True)

    def enter(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def cpu(self):
        if self.v1:
            with open(os.path.join(self.path, "cpuacct.usage")) as f:
                return int(f.read()) / 1e9
        with open(os.path.join(self.path, "cpu.stat")) as f:
            return int(re.search(r"usage_usec (\d+)", f.read())[1]) / 1e6

    def pids(self):
        with open(os.path.join(self.path, "cgroup.procs")) as f:
            return [int(p) for p in f.read().split()]

    def pss(self):
        total = 0
        for pid in self.pids():
            try:
                with open("/proc/%d/smaps_rollup" % pid) as f:
                    total += int(re.search(r"Pss:\s+(\d+)", f.read())[1])
            except OSError:
                pass
        return total

    def end(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(100):
                pids = self.pids()
                if not pids:
                    os.rmdir(self.path)
                    return
                for pid in pids:
                    try:
                        os.kill(pid, sig)
                    except ProcessLookupError:
                        pass
                time.sleep(0.1)


class Sink:
    def __init__(self, work):
        self.port = free_port()
        exe = os.path.join(work, "sink")
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", exe,
                        os.path.join(ROOT, "tests/bench/sink.c")], check=True)
        self.exe, self.p = exe, None

    def start(self):
        self.p = subprocess.Popen([self.exe, str(self.port)], text=True,
                                  stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        wait_port(self.port)

    def stop(self):
        if self.p:
            self.p.stdin.close()
            self.p.wait()
            self.p = None

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().split()

    def zero(self):
        self.ask("zero")

    def wait(self, n, seconds):
        return [int(v) for v in self.ask("wait %d %d" % (n, seconds * 1000))]


class Server:
    def __init__(self, work, sink):
        self.dir = os.path.join(work, self.name)
        self.port, self.sink = free_port(), sink
        self.proc = self.group = None

    def launch(self, argv, env=None):
        self.group = Group(self.name)
        log = open(os.path.join(self.dir, "log"), "ab")
        self.proc = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=self.group.enter, start_new_session=True)
        wait_port(self.port)

    def stop(self):
        if self.proc:
            self.group.end()
            self.proc.wait()
            self.proc = None

    def fresh(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)
        self.setup()
        self.start()


class Umbra(Server):
    name, node = "umbra", "bench.example"
    cert = None

    def connector(self, name, port, more=""):
        return """  - name: %s
    bind: ["127.0.0.1:%d"]
    remote: ["127.0.0.0/8"]
    permissions: [submit, relay]
    limits: { message_size: 100MiB, connections: 20000, connections_per_source: 20000 }
%s""" % (name, port, more)

    def connectors(self):
        return self.connector("in", self.port, (
            "    tls: { mode: offer, cert: %s, key: %s }\n" % self.cert)
            if self.cert else "")

    def more(self):
        return ""

    def setup(self):
        with open(os.path.join(self.dir, "umbra.yaml"), "w") as f:
            f.write("""node:
  name: %s
  data: %s/data
receive_connectors:
%ssend_connectors:
  - name: out
    address_spaces: ["*;10"]
    smart_hosts: ["127.0.0.1:%d"]
control: { socket: %s/control.sock }
%s""" % (self.node, self.dir, self.connectors(), self.sink.port, self.dir,
         self.more()))

    def start(self):
        self.launch([os.path.join(ROOT, "build/umbrad"), "-c",
                     os.path.join(self.dir, "umbra.yaml")])

    def umbra(self, *args):
        return [os.path.join(ROOT, "build/umbra"), "--socket",
                os.path.join(self.dir, "control.sock")] + list(args)

    def listing(self):
        return self.umbra("message", "list", "--limit", "1000000")

    def flush(self):
        return self.umbra("queue", "retry", "--yes")


def flushes(path):
    """Flush requests of the block device under path, since boot."""
    dev = os.stat(path).st_dev
    with open("/proc/diskstats") as f:
        for line in f:
            v = line.split()
            if (int(v[0]), int(v[1])) == (os.major(dev), os.minor(dev)):
                return int(v[18]) if len(v) > 18 else 0
    return 0


def others(groups, sink):
    """How many processors work for somebody else, from now to the call."""
    tick = os.sysconf("SC_CLK_TCK")

    def cpu():
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:]]
        with open("/proc/%d/stat" % sink.p.pid) as f:
            s = f.read().rsplit(")", 1)[1].split()
        mine = os.times()
        return ((sum(v[:3]) + sum(v[5:7]) - int(s[11]) - int(s[12])) / tick -
                sum(mine[:4]) - sum(g.cpu() for g in groups))
    was, at = cpu(), time.monotonic()
    return lambda: (cpu() - was) / (time.monotonic() - at)


def source(server, n, sessions, size, keep, timeout=120):
    argv = ["smtp-source", "-s", str(sessions), "-m", str(n), "-l", str(size),
            "-f", "sender@a.example", "-t", "recipient@b.example",
            "127.0.0.1:%d" % server.port]
    if keep:
        argv.insert(1, "-d")
    t = time.monotonic()
    subprocess.run(argv, check=True, timeout=timeout)
    return time.monotonic() - t


class Table:
    """Rows of values under the names of two servers, and a/b of each round."""

    def __init__(self, a="umbra", b="postfix"):
        self.a, self.b, self.rows = a, b, {}

    def add(self, what, name, value):
        self.rows.setdefault(what, {}).setdefault(name, []).append(value)

    def show(self):
        def cell(v):
            if not v:
                return "-"
            f = "%.3g" if statistics.median(v) < 100 else "%.0f"
            return "%s (%s-%s)" % tuple(
                f % x for x in (statistics.median(v), min(v), max(v)))
        print("\n%-44s %22s %22s %20s" % (
            "median (min-max)", self.a, self.b, "ratio"))
        for what, v in self.rows.items():
            a, b = v.get(self.a, []), v.get(self.b, [])
            print("%-44s %22s %22s %20s" % (what, cell(a), cell(b), cell(
                [x / y for x, y in zip(a, b) if y])))
