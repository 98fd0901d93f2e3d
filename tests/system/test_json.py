"""With --json every command says JSON and nothing else: one value per line, on
stdout what was asked for, on stderr what is wrong; with the same exit status
as without."""
import json
import os
import re
import socket
import subprocess

import pytest

import certs
from umbra import UMBRA, Umbra, base
from wait import LONG

#: What is typed for each command: when all is well, and when it is not.
COMMANDS = {
    "status": (["status"], None),
    "pressure": (["pressure"], None),
    "queue list": (["queue", "list"], ["queue", "list", "--where", "x =="]),
    "queue show": (["queue", "show", "out"], ["queue", "show", "nowhere"]),
    "queue retry": (["queue", "retry", "--yes"], ["queue", "retry", "no"]),
    "queue suspend": (["queue", "suspend", "out", "--yes"],
                      ["queue", "suspend"]),
    "queue resume": (["queue", "resume", "--all"], ["queue", "resume", "no"]),
    "queue resubmit": (["queue", "resubmit", "out"],
                       ["queue", "resubmit", "no"]),
    "message list": (["message", "list"], ["message", "list", "--sort", "x"]),
    "message show": (["message", "show", "ID"], ["message", "show", "1234"]),
    "message suspend": (["message", "suspend", "ID", "--yes"],
                        ["message", "suspend"]),
    "message resume": (["message", "resume", "--all", "--yes"],
                       ["message", "resume", "1234"]),
    "message retry": (["message", "retry", "ID"], ["message", "retry"]),
    "message resubmit": (["message", "resubmit", "ID"],
                         ["message", "resubmit"]),
    "message remove": (["message", "remove", "ID"], ["message", "remove"]),
    "message priority": (["message", "priority", "high", "ID", "--yes"],
                         ["message", "priority", "x", "ID"]),
    "message redirect": (["message", "redirect", "--connector", "out", "ID"],
                         ["message", "redirect", "--connector", "x", "ID"]),
    "message export": (["message", "export", "ID", "--dir", "DIR"],
                       ["message", "export", "ID", "--dir", "DIR/none"]),
    "hold list": (["hold", "list"], None),
    "hold add": (["hold", "add", "a", "--where", "size > 1", "--yes"],
                 ["hold", "add", "a"]),
    "hold remove": (["hold", "remove", "a", "--yes"], ["hold", "remove", "x"]),
    "route test": (["route", "test", "a@b.example"],
                   ["route", "test", "nobody"]),
    "config show": (["config", "show"], ["config", "show", "--none"]),
    "config check": (["config", "check", "FILE"],
                     ["config", "check", "DIR/bad.yaml"]),
    "config diff": (["config", "diff"], ["config", "diff", "DIR/bad.yaml"]),
    "config reload": (["config", "reload"], ["config", "reload", "x"]),
    "config manual": (["config", "manual"], None),
    "shadow status": (["shadow", "status"], None),
    "shadow takeover": (None, ["shadow", "takeover", "x.example"]),
    "shadow move": (None, ["shadow", "move", "x.example"]),
    "shadow keygen": (["shadow", "keygen", "a.example", "--dir", "DIR"],
                      ["shadow", "keygen", "a_b c", "--dir", "DIR"]),
    "drain": (["drain", "--no-wait"], ["drain", "--to", "x.example"]),
    "undrain": (["undrain"], None),
    "upgrade": (None, ["upgrade", "--binary", "/no/such"]),
    "db check": (["db", "check", "DATA"], ["db", "check", "DIR/none"]),
    "db backup": (["db", "backup", "DIR/backup", "DATA"],
                  ["db", "backup", "DIR/two", "DIR/none"]),
    "db restore": (["db", "restore", "DIR/backup", "--to", "DIR/restored"],
                   ["db", "restore", "DIR/backup"]),
    "db compact": (["db", "compact", "DIR/restored"],
                   ["db", "compact", "DATA"]),
    "db export": (["db", "export", "DIR/restored", "--to", "DIR/mail"],
                  ["db", "export", "DIR/restored"]),
    "db import": (None, ["db", "import", "DIR/restored", "--yes"]),
    "log level": (["log", "level", "debug"], ["log", "level", "loud"]),
    "help": (["help", "fields"], None),
}
MORE = [
    (["config", "show", "--all"], 0), (["config", "show", "--defaults"], 0),
    (["config", "show", "--manual"], 0), (["queue", "--help"], 0),
    (["message", "list", "--help"], 0), (["frob"], 64), ([], 64),
    (["config", "check"], 64), (["upgrade", "--last"], 0),
    (["mailq"], 0), (["sendmail", "-bp"], 0), (["help", "nonsense"], 64),
]


def typed(u, args, folder, *options, config=True):
    args = [a.replace("DIR", folder).replace("DATA", u.data)
            .replace("FILE", u.file) for a in args]
    args = [u.id if a == "ID" else a for a in args]
    return subprocess.run(
        [UMBRA, *(["-c", u.file] if config else []), *args, *options],
        capture_output=True, text=True, timeout=60, check=False,
        env={**u.env, "UMBRA_SOCKET": u.socket})


def objects(text):
    got = [json.loads(x) for x in text.splitlines()]
    assert all(isinstance(x, dict) for x in got), text
    return got


@pytest.fixture(scope="module")
def relay():
    with Umbra(base()) as u:
        u.id = u.send("a@b.test", "c@example.org", b"Subject: x\r\n\r\ny\r\n")
        u.wait("nexthop.delayed")
        yield u


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("json")
    (path / "bad.yaml").write_text("node: { name: x.example, nam: 1 }\n")
    return str(path)


def test_every_command_is_here(relay, folder):
    text = typed(relay, ["help"], folder).stdout
    known = re.findall(r"^  ((?:[a-z]+ )+(?:[a-z]+)?)", text, re.M)
    names = {n for n in COMMANDS}
    for line in known:
        words = line.split()
        if words[0] in ("sendmail", "mailq", "newaliases"):
            continue
        assert " ".join(words[:2]) in names or words[0] in names, line
    assert len(known) > 30


@pytest.mark.parametrize("name", COMMANDS)
def test_json(relay, folder, name):
    well, ill = COMMANDS[name]
    if well:
        p = typed(relay, well, folder, "--json")
        assert p.returncode == 0, p
        objects(p.stdout)
        assert not p.stderr, p.stderr
        assert p.stdout or name in ("hold list", "message export",
                                    "config diff"), p
    if ill:
        p = typed(relay, ill, folder, "--json")
        words = typed(relay, ill, folder)
        assert p.returncode == words.returncode != 0, (p, words)
        objects(p.stdout)
        said = objects(p.stderr)
        if name != "config check":
            assert said[-1]["status"] == p.returncode, p
            assert said[-1]["error"] and words.stderr


@pytest.mark.parametrize("args,want", MORE, ids=lambda v: " ".join(v)
                         if isinstance(v, list) else None)
def test_other_forms(relay, folder, args, want):
    p = typed(relay, args, folder, "--json",
              config=args != ["config", "check"])
    assert p.returncode == want, p
    assert len(objects(p.stdout) + objects(p.stderr)) == 1, p


def test_nobody_answers(relay, folder):
    for options in (["--socket", folder + "/none"],
                    ["--socket", folder + "/" + "x" * 200],
                    ["-c", folder + "/bad.yaml"], ["-c", folder + "/no.yaml"]):
        for command in (["status"], ["db", "check"], ["db", "import", folder]):
            p = subprocess.run([UMBRA, *options, *command, "--json"],
                               capture_output=True, text=True, timeout=60,
                               check=False, env=relay.env)
            if command[0] == "db" and options[0] == "--socket" and \
                    os.path.exists("/etc/umbra/umbra.yaml"):
                continue
            assert p.returncode not in (0, 1), p
            assert not p.stdout
            said = objects(p.stderr)
            assert said[-1]["status"] == p.returncode
            if options[0] == "-c" and command == ["status"]:
                assert len(said) == 1
                assert ("To ask without it: umbra --socket /run/umbra/"
                        "control.sock ...") in said[0]["error"]


def asked(relay, line):
    """What comes of a line on the socket, whose writer has nothing to add."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(LONG)
        s.connect(relay.socket)
        s.sendall(line)
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(65536), b""))


def test_whoever_asks_may_be_done_with_sending(relay):
    """As nc -N and socat are: the answer comes to its end, also one that the
    daemon has to wait for."""
    got = asked(relay, b'{"verb":"status","json":true}\n')
    assert json.loads(got.partition(b"\n")[0])["name"] and \
        got.endswith(b"\4 0\n")
    got = asked(relay, b'{"verb":"config diff","json":true}\n')
    assert got.endswith(b"\4 0\n")
    assert asked(relay, b'{"verb":"sta') == b""
    with socket.socket(socket.AF_UNIX) as s:  # and nobody waits for this one
        s.connect(relay.socket)
        s.sendall(b'{"verb":"status"}\n')
    assert relay.cli("status")


@pytest.mark.parametrize("args", [
    ["status"], ["log", "level"], ["config", "show", "--manual"], ["--help"],
    ["sendmail", "-bp"], ["--version"]])
def test_answer_is_lost(relay, args):
    """Nothing of what was asked for could be written: that is no success, and
    it is said."""
    plain = args[0] in ("sendmail", "--version")
    for json_too in [False] if plain else [False, True]:
        with open("/dev/full", "w", encoding="utf-8") as full:
            p = subprocess.run(
                [UMBRA, *([] if args == ["--version"] else
                          ["--socket", relay.socket]), *args,
                 *(["--json"] if json_too else [])], env=relay.env, stdout=full,
                stderr=subprocess.PIPE, text=True, check=False)
        assert p.returncode == 74, p
        if json_too:
            said, = objects(p.stderr)
            assert said["status"] == 74
            assert "could not be written" in said["error"]
        else:
            assert p.stderr.startswith("umbra: the answer could not be written")


def test_config_check(relay, folder):
    """Errors and warnings with their places; certificates have none."""
    p = typed(relay, ["config", "check", "FILE"], folder, "--json")
    assert objects(p.stdout) == [{
        "file": relay.file, "faults": [], "errors": 0, "warnings": 0,
        "ok": True}]
    bad = folder + "/bad.yaml"
    p = typed(relay, ["config", "check", bad], folder, "--json")
    assert p.returncode == 78 and not p.stderr
    got = objects(p.stdout)[0]
    assert not got["ok"] and got["errors"] == len(got["faults"]) > 1
    assert {"severity": "error", "file": bad, "line": 1, "column": 26,
            "text": 'nam: unknown key (did you mean "name"?)'} in [
                {**f, "text": f["text"].replace("node.", "")}
                for f in got["faults"]], got
    # The same, in the same order, as in words.
    words = typed(relay, ["config", "check", bad], folder).stderr
    assert [f"{f['file']}:{f['line']}:{f['column']}: error: "
            f"{f['text'].splitlines()[0]}" for f in got["faults"]] == [
                x for x in words.splitlines() if x.startswith(bad)]
    p = typed(relay, ["config", "check", folder + "/no.yaml"], folder,
              "--json")
    assert p.returncode == 78
    fault = objects(p.stdout)[0]["faults"][0]
    assert fault["file"] == folder + "/no.yaml" and fault["line"] is None


def test_config_check_certificates(folder):
    conf = base()
    _cert, key = certs.self_signed(folder, stem="one")
    for i, c in enumerate(conf["receive_connectors"]):
        c["tls"] = {"mode": "offer", "cert": f"/no{i}.pem", "key": key}
    with Umbra(conf, start=False) as u:
        p = subprocess.run([UMBRA, "config", "check", u.file, "--json"],
                           capture_output=True, text=True, timeout=60,
                           check=False, env=u.env)
        assert p.returncode == 78
        got = objects(p.stdout)[0]
        assert got["errors"] == 2
        for i, f in enumerate(got["faults"]):
            assert f["line"] is None and f"/no{i}.pem" in f["text"]
        # Who asks the daemon need not be able to read its keys.
        p = subprocess.run([UMBRA, "-c", u.file, "status"], text=True,
                           capture_output=True, timeout=60, check=False,
                           env=u.env)
        assert p.returncode == 69 and "not running" in p.stderr
