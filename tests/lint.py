#!/usr/bin/python3
"""lint - the house rules that a machine can check. Names file and line.

Ranks: nothing includes upward, receive and deliver never include each other.
One library, one room. No forbidden calls. Sizes of files and functions. No
mutable globals. Log events and configuration keys are documented.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RANK = {
    "mta/base": 0,
    "mta/smtp": 1, "mta/conf": 1, "dns": 1, "tls": 1, "queue": 1,
    "mta/net": 2,
    "mta/receive": 3, "mta/policy": 3, "mta/route": 3, "mta/deliver": 3,
    "mta/shadow": 3, "mta/pressure": 3, "mta/report": 3, "mta/pickup": 3, "mta/track": 3,
    "mta/ctl": 4, "mta/cli": 4, "mta": 4,
}
# library header -> places that may include it (a prefix each)
LIBRARY = {
    "openssl/": ["tls/"],
    "lmdb.h": ["queue/store_lmdb.c", "queue/lmdb_"],
    "ares.h": ["dns/dns_cares.c"],
    "uv.h": ["mta/base/loop", "mta/net/", "dns/dns_cares.c",
             "queue/writer", "mta/main.c", "mta/upgrade"],
    "yaml.h": ["mta/conf/"],
    "llhttp.h": ["mta/ctl/http_parse.c"],
    "jansson.h": ["mta/ctl/", "mta/cli/", "mta/track/"],
}
FORBIDDEN = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|strtok|system|popen|"
    r"execl|execv|execvp|wordexp|alloca|setjmp|longjmp)\s*\(")
CLOCKS = re.compile(r"\b(time|gettimeofday|clock_gettime|usleep|sleep)\s*\(")
CLOCK_ROOMS = ("mta/base/", "mta/cli/", "tls/", "mta/conf/")
GLOBAL = re.compile(r"^(static\s+)?(?!const|typedef|extern|struct \w+ \{|enum|"
                    r"union|return|goto|case|default)"
                    r"[a-z_][\w\s\*]*\s\**\w+(\[[^\]]*\])?\s*(=[^;]*)?;\s*$")
FILE_MAX, FUNCTION_MAX, HEADER_MAX = 700, 100, 330

LOG_HEAD = """# Log events

The log goes to stderr (under systemd: the journal), one event per line:

```
2026-11-20T12:25:16.197Z info delivery.sent msg=1G9T0XP3 trace=94356e33742e90324814d0e5b02527f4 \
  from=<a@x.example> to=<b@y.example> hop=mailbox host=mx1.example[192.0.2.1]:25 tls=none \
  delay=0.009 delay_queue=0.002 delay_connect=0.003 delay_transfer=0.004 dsn=2.0.0 \
  status=sent said="250 2.0.0 queued as 4F2A"
```

(one line; broken here to fit). Time is UTC. `msg` is the queue id that the client got in its
250, `trace` stays the same in every fork of a message. Times are in seconds. What a peer said is
escaped and in quotes. To follow one message: `grep msg=1G9T0XP3`, or by its trace.

`log.level` in the configuration, or `umbra log level debug` at run time, decides which levels
are written. Events keep their names.

| event | level | meaning |
| --- | --- | --- |
"""

faults = []


def fault(path, line, text):
    faults.append("%s:%d: %s" % (path, line, text))


def room(path):
    d = os.path.dirname(path)
    while d and d not in RANK:
        d = os.path.dirname(d)
    return d


def includes(path, lines):
    mine = room(path)
    for n, line in enumerate(lines, 1):
        m = re.match(r'#include "([^"]+)"', line)
        if m:
            other = room(m.group(1))
            if not os.path.exists(os.path.join(ROOT, m.group(1))):
                fault(path, n, "include by full path: %s" % m.group(1))
            elif RANK[other] > RANK[mine]:
                fault(path, n, "%s must not include upward: %s" %
                      (mine, m.group(1)))
            elif {mine, other} == {"mta/receive", "mta/deliver"}:
                fault(path, n, "receive and deliver meet only in the queue")
        m = re.match(r"#include <([^>]+)>", line)
        if m:
            for lib, places in LIBRARY.items():
                if m.group(1).startswith(lib) and not any(
                        path.startswith(p) for p in places):
                    fault(path, n, "<%s> belongs to %s only" %
                          (m.group(1), " ".join(places)))


def code_only(text):
    """The text with comments and string contents blanked, lines kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r"/\*.*?\*/", blank, text, flags=re.S)
    text = re.sub(r"//[^\n]*", blank, text)
    return re.sub(r'"(\\.|[^"\\\n])*"', lambda m: '"' + " " *
                  (len(m.group(0)) - 2) + '"', text)


def calls(path, lines):
    for n, line in enumerate(lines, 1):
        m = FORBIDDEN.search(line)
        if m and not line.startswith("#"):
            fault(path, n, "forbidden call: %s" % m.group(1))
        m = CLOCKS.search(line)
        if m and not path.startswith(CLOCK_ROOMS):
            fault(path, n, "%s() is behind the seam loop.h" % m.group(1))


# A signal handler gets no argument (crash.h).
MAY_HAVE_GLOBALS = ("mta/base/crash.c",)


def functions(path, lines):
    start = None
    for n, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = n
        elif line.startswith("}") and start:
            if n - start > FUNCTION_MAX:
                fault(path, start, "function of %d lines (at most %d)" %
                      (n - start, FUNCTION_MAX))
            start = None
        elif start is None and not line.startswith("#") and \
                not re.match(r"struct \w+;", line) and \
                GLOBAL.match(line) and "const" not in line and \
                "(" not in line and path not in MAY_HAVE_GLOBALS:
            fault(path, n, "mutable global: %s" % line.strip())


def sizes(path, lines):
    most = FILE_MAX if path.endswith(".c") else HEADER_MAX
    if len(lines) > most and not path.endswith(("_keys.h", "_events.h")):
        fault(path, 1, "%d lines (at most %d): split it" % (len(lines), most))


def log_events(write):
    """docs/log-events.md is made from the table in log_events.h."""
    with open(os.path.join(ROOT, "mta/base/log_events.h")) as f:
        rows = re.findall(
            r'X\(EV_\w+, "([\w.]+)", LOG_(\w+),\s+"([^"]*)"\)', f.read())
    text = LOG_HEAD + "".join("| `%s` | %s | %s |\n" % (
        name, level.lower(), meaning) for name, level, meaning in rows)
    doc = os.path.join(ROOT, "docs/log-events.md")
    if write:
        with open(doc, "w") as f:
            f.write(text)
    elif not os.path.exists(doc) or open(doc).read() != text:
        fault("docs/log-events.md", 1,
              "differs from mta/base/log_events.h: make docs")


METRICS_HEAD = """# Metrics

With `http.bind` in the configuration, `/metrics` answers in the text format of Prometheus (0.0.4):

    http: { bind: "127.0.0.1:8025" }

    $ curl -s http://127.0.0.1:8025/metrics

and in Prometheus' own configuration

    scrape_configs:
      - job_name: umbra
        static_configs: [ { targets: ["127.0.0.1:8025"] } ]

There is no password and no TLS: listen on the loopback, or on an address that only monitoring can reach. A page costs
about as much as `umbra status`: it looks at every next hop that has mail, and at no message.

Names are stable. Counters end with `_total` and begin with 0 at a start; times are in seconds, sizes in octets. The
same numbers are in `umbra status --json` and `umbra shadow status --json`. Beside it are `/livez` and `/readyz`, see
[maintenance.md](maintenance.md#health-over-http).

What to alarm on first: `umbra_queue_oldest_seconds`, `umbra_queue_next_hops{state="retry"}`,
`umbra_shadow_alone_seconds`, `umbra_shadow_bare` that only grows, `umbra_service{state="in_service"}` that is 0 for
longer than work takes.

| metric | type | label | meaning |
| --- | --- | --- | --- |
"""


def metrics(write):
    """docs/metrics.md is made from the table in metrics.h."""
    with open(os.path.join(ROOT, "mta/ctl/metrics.h")) as f:
        rows = re.findall(r'X\(M_\w+, "(\w+)", (\w+), "(\w*)", "([^"]*)"\)',
                          f.read())
    text = METRICS_HEAD + "".join("| `%s` | %s | %s | %s |\n" % (
        name, kind.lower(), "`%s`" % label if label else "", meaning)
        for name, kind, label, meaning in rows)
    doc = os.path.join(ROOT, "docs/metrics.md")
    if write:
        with open(doc, "w") as f:
            f.write(text)
    elif not os.path.exists(doc) or open(doc).read() != text:
        fault("docs/metrics.md", 1, "differs from mta/ctl/metrics.h: make docs")


def main():
    if sys.argv[1:] == ["--write-docs"]:
        log_events(True)
        metrics(True)
        return 0
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard",
                          "*.c", "*.h"], cwd=ROOT, capture_output=True,
                         text=True, check=True).stdout.split()
    for path in sorted(out):
        if path.startswith("tests/") or not room(path):
            continue
        with open(os.path.join(ROOT, path)) as f:
            text = f.read()
        lines = text.split("\n")
        code = code_only(text).split("\n")
        includes(path, lines)
        calls(path, code)
        functions(path, code)
        sizes(path, lines)
    log_events(False)
    metrics(False)
    for line in faults:
        print(line)
    print("lint: %d faults" % len(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
