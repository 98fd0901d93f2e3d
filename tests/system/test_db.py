"""umbra db: checking, copying and rescuing a queue's directory."""
import json
import os
import shutil
import subprocess

import pytest

from disk import mounted
from peer import Peer
from umbra import UMBRA, Umbra, base

SMALL = b"Subject: small\r\n\r\n" + b"small small small\r\n" * 40
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 30000


def db(*args, want=0, env=None):
    p = subprocess.run([UMBRA, "db", *args], capture_output=True, text=True,
                       timeout=120, check=False,
                       env={**os.environ, **(env or {})})
    assert "Sanitizer" not in p.stderr, p.stderr
    assert p.returncode == want, (args, p)
    return p


def check(where, want=0):
    """The damaged messages, and the summary."""
    lines = [json.loads(x) for x in
             db("check", where, "--json", want=want).stdout.splitlines()]
    return lines[:-1], lines[-1]


@pytest.fixture
def filled():
    """A stopped relay with ten messages, each third one large, and the peer
    that will take them when it is up."""
    peer = Peer()
    peer.down()
    with Umbra(base(peer.port)) as u, peer:
        u.ids = [u.send("a@b.test", f"u{i}@example.org",
                        LARGE if i % 3 == 0 else SMALL) for i in range(10)]
        u.stop()
        u.peer = peer
        yield u


def arrives(u, data=None, count=10):
    """Started on data, all messages arrive, each once."""
    if data:
        shutil.rmtree(u.data)
        os.rename(data, u.data)
    u.peer.up()
    at = u.mark()
    u.start()
    u.wait("message.done", since=at, count=count)
    u.stop()
    got = sorted(r for m in u.peer.messages for r in m.to)
    assert len(got) == len(set(got)) == count, got
    for m in u.peer.messages:
        i = int(m.to[0][1:].split("@")[0])
        assert m.body == (LARGE if i % 3 == 0 else SMALL)


def page_with(u, text, change):
    """change(page) of every page of data.mdb that has text in it."""
    path = os.path.join(u.data, "data.mdb")
    with open(path, "r+b") as f:
        data = f.read()
        found = 0
        for at in range(0, len(data), 4096):
            page = data[at:at + 4096]
            if text in page:
                f.seek(at)
                f.write(change(page))
                found += 1
    assert found


def body_file(u, i):
    return next(os.path.join(d, n) for d, _, names in os.walk(
        os.path.join(u.data, "bodies")) for n in names if n == u.ids[i])


def damage_file(path, what):
    if what == "file":
        os.unlink(path)
    elif what == "file_short":
        os.truncate(path, 1000)
    else:
        with open(path, "r+b") as f:
            f.seek(5000)
            f.write(b"X")


# --- check -------------------------------------------------------------------


def test_check_of_a_queue_that_is_well(filled):
    bad, all_ = check(filled.data)
    assert not bad
    assert all_["ok"] and all_["messages"] == 10 and not all_["in_use"]
    assert 0 < all_["body_bytes"] - 4 * len(LARGE) - 6 * len(SMALL) < 5000
    assert "all is well" in db("check", filled.data).stdout
    filled.start()
    bad, all_ = check(filled.data)
    assert not bad and all_["ok"] and all_["in_use"]
    out = subprocess.run([UMBRA, "-c", filled.file, "db", "check"],
                         capture_output=True, text=True, check=True).stdout
    assert "in use by the daemon" in out


@pytest.mark.parametrize("what", ["envelope", "body_checksum", "file",
                                  "file_short", "file_checksum"])
def test_check_finds_what_is_damaged(filled, what):
    u = filled
    if what == "envelope":
        page_with(u, b"u4@example.org", lambda p: p.replace(
            b"u4@example.org", b"u4@exbmple.org"))
    elif what == "body_checksum":
        page_with(u, b"for <u4@example.org>", lambda p: p.replace(
            b"small small small", b"smbll small small"))
    else:
        damage_file(body_file(u, 3), what)
    bad, all_ = check(u.data, want=65)
    name = "file" if what == "file_short" else what
    assert {x["damage"] for x in bad} == {name}
    assert (u.ids[4 if what in ("envelope", "body_checksum") else 3]
            in [x["id"] for x in bad])
    assert not all_["ok"] and all_["damage"][name] == len(bad)
    text = db("check", u.data, want=65).stdout
    assert f"  {name} " in text and "->" in text


def test_check_counts_orphans(filled):
    os.makedirs(os.path.join(filled.data, "bodies", "00"), exist_ok=True)
    with open(os.path.join(filled.data, "bodies", "00", "10000000"),
              "wb") as f:
        f.write(b"x")
    _, all_ = check(filled.data)
    assert all_["ok"] and all_["orphan_files"] == 1


def test_a_broken_page_costs_only_what_was_in_it():
    """Envelopes of many pages; one of them is overwritten."""
    with Umbra(base()) as u:
        u.ids = [u.send("a@b.test", f"u{i}@example.org", SMALL)
                 for i in range(120)]
        u.stop()
        lost = []

        def wreck(page):
            if b"E\x01\0\0" not in page:   # a body's
                return page
            lost.extend(i for i in range(120)
                        if b"u%d@example.org" % i in page)
            return b"\xff" * 4096
        page_with(u, b"u60@example.org", wreck)
        bad, all_ = check(u.data, want=65)
        assert all_["damage"]["unreadable_places"] >= 1
        assert all_["messages"] >= 120 - len(set(lost)) > 60
        out = os.path.join(u.dir, "out")
        p = db("export", u.data, "--to", out, "--json", want=65)
        assert json.loads(p.stdout)["written"] == all_["messages"] - len(bad)
        assert len([n for n in os.listdir(out) if n.endswith(".eml")]) == \
            all_["messages"] - len(bad)


@pytest.mark.parametrize("what", ["nothing", "empty", "garbage"])
def test_check_of_what_is_no_queue(tmp_path, what):
    where = tmp_path / "x"
    if what != "nothing":
        where.mkdir()
    if what == "garbage":
        (where / "data.mdb").write_bytes(b"\xa5" * 16384)
    p = db("check", str(where), want=65 if what == "garbage" else 66)
    assert str(where) in p.stderr


# --- backup and restore ------------------------------------------------------


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_backup_and_restore(filled, running):
    u = filled
    out, new = os.path.join(u.dir, "backup"), os.path.join(u.dir, "new")
    if running:
        u.start()
    made = json.loads(db("backup", out, u.data, "--json").stdout)
    assert made["messages"] == 10 and made["files"] == 4
    assert not made["damaged"] and made["left_meanwhile"] == 0
    manifest = json.load(open(os.path.join(out, "umbra.manifest")))
    assert manifest["messages"] == 10
    assert manifest["database"] == check(u.data)[1]["database"]
    if running:
        u.stop()
    db("restore", out, "--to", new)
    assert check(new)[1]["database"] == manifest["database"]
    assert os.stat(new).st_mode & 0o777 == 0o700
    assert os.stat(os.path.join(new, "data.mdb")).st_mode & 0o777 == 0o600
    arrives(u, new)


def test_backup_while_messages_leave():
    """What leaves during a backup is in it whole, or not at all."""
    with Peer() as peer, Umbra(base(peer.port)) as u:
        for turn in range(6):
            peer.down()
            for i in range(25):
                u.send("a@b.test", f"t{turn}u{i}@example.org", LARGE)
            out = os.path.join(u.dir, f"backup{turn}")
            peer.up()
            u.cli("queue", "retry", "--all", "--yes")
            made = json.loads(db("backup", out, u.data, "--json").stdout)
            bad, all_ = check(out)
            assert not bad and all_["ok"]
            assert all_["messages"] == made["messages"]
            u.wait("message.done", count=25 * (turn + 1))


def test_backup_never_goes_over_something(filled):
    u = filled
    out = os.path.join(u.dir, "backup")
    db("backup", out, u.data)
    p = db("backup", out, u.data, want=73)
    assert out in p.stderr and "not empty" in p.stderr
    p = db("restore", out, "--to", u.data, want=73)
    assert "not empty" in p.stderr
    for order in (["backup", f"{out}/a/b", u.data],
                  ["restore", out, "--to", f"{out}/a/b"]):
        p = db(*order, want=73)
        assert f"type: install -d -m 700 {out}/a\n" in p.stderr, p.stderr
    assert check(out)[1]["ok"] and check(u.data)[1]["ok"]
    # An earlier one that was cut off does not stand in the way.
    other = os.path.join(u.dir, "other")
    shutil.copytree(out, other + ".part")
    db("backup", other, u.data)
    assert not os.path.exists(other + ".part")


def test_restore_takes_only_backups(filled):
    p = db("restore", filled.data, "--to", filled.dir + "/new", want=65)
    assert "umbra db backup" in p.stderr
    p = db("restore", filled.dir + "/none", "--to", filled.dir + "/new",
           want=66)
    assert not os.path.exists(filled.dir + "/new")


@pytest.mark.parametrize("size", ["200k", "1m"])
def test_backup_to_a_full_disk(filled, size):
    """It fails in words, and nothing is left that looks like one."""
    u = filled
    disk = os.path.join(u.dir, "disk")
    with mounted(disk, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        p = db("backup", disk + "/backup", u.data, want=74)
        assert "No space left" in p.stderr and "df " in p.stderr
        assert os.listdir(disk) == []
        p = db("backup", disk, u.data, want=74)
        assert os.listdir(disk) == []
    assert check(u.data)[1]["ok"]


def test_restore_to_the_root_of_a_file_system(filled):
    u = filled
    out, disk = os.path.join(u.dir, "backup"), os.path.join(u.dir, "disk")
    db("backup", out, u.data)
    shutil.rmtree(u.data)
    with mounted(disk, "-t", "tmpfs", "-o", "size=50m,mode=700", "tmpfs"):
        db("restore", out, "--to", disk)
        shutil.copytree(disk, u.data)
        os.chmod(u.data, 0o700)
    arrives(u)


def test_files_belong_to_whom_the_directory_belongs(filled):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    u = filled
    out, new = os.path.join(u.dir, "backup"), os.path.join(u.dir, "new")
    subprocess.run(["chown", "-R", "65534:65534", u.data], check=True)
    db("backup", out, u.data)
    db("restore", out, "--to", new)
    db("compact", u.data)
    for top in (out, new, u.data):
        for d, _, names in os.walk(top):
            for path in [d] + [os.path.join(d, n) for n in names]:
                assert os.stat(path).st_uid == 65534, path
    mine = os.path.join(u.dir, "mine")
    os.mkdir(mine, 0o700)
    db("restore", out, "--to", mine)
    assert os.stat(mine + "/data.mdb").st_uid == 0
    subprocess.run(["chown", "-R", "0:0", u.data], check=True)


def test_a_damaged_queue_is_backed_up_as_it_is(filled):
    u = filled
    os.unlink(body_file(u, 6))
    out = os.path.join(u.dir, "backup")
    p = db("backup", out, u.data, want=65)
    assert "1 messages are damaged" in p.stderr
    bad, all_ = check(out, want=65)
    assert [x["id"] for x in bad] == [u.ids[6]] and all_["messages"] == 10


# --- compact -----------------------------------------------------------------


def test_compact(filled):
    u = filled
    before = os.path.getsize(u.data + "/data.mdb")
    done = json.loads(db("compact", u.data, "--json").stdout)
    assert done["before_bytes"] == before
    assert done["after_bytes"] == os.path.getsize(u.data + "/data.mdb") < before
    assert sorted(n for n in os.listdir(u.data) if "mdb" in n) == ["data.mdb"]
    assert check(u.data)[1]["ok"]
    arrives(u)


def test_compact_of_one_that_runs(filled):
    filled.start()
    p = db("compact", filled.data, want=75)
    assert f"pid {filled.proc.pid}" in p.stderr


# --- export ------------------------------------------------------------------


def test_export(filled):
    u = filled
    out = os.path.join(u.dir, "out")
    done = json.loads(db("export", u.data, "--to", out, "--json").stdout)
    assert done["written"] == 10 and not done["damaged"]
    assert sorted(os.listdir(out)) == sorted(i + ".eml" for i in u.ids)
    text = open(os.path.join(out, u.ids[4] + ".eml"), "rb").read()
    head, _, message = text.partition(b"X-EndOfInjectedXHeaders: ")
    assert b"X-Sender: <a@b.test>" in head
    assert b"X-Receiver: <u4@example.org>" in head
    size, _, message = message.partition(b"\r\n")
    assert len(message) == int(size) and message.endswith(SMALL)
    # Again: what is there stays.
    again = json.loads(db("export", u.data, "--to", out, "--json").stdout)
    assert again["there_already"] == 10 and again["written"] == 0


@pytest.fixture
def half_done():
    """One message that one of its two recipients has, stopped."""
    with Peer() as peer, Umbra(base(peer.port)) as u:
        peer.on["RCPT"] = lambda conn, line: \
            "450 4.2.1 later" if "late@" in line else None
        u.id = u.send("a@b.test", ["soon@example.org", "late@example.org"],
                      SMALL)
        u.wait("delivery.sent", to="<soon@example.org>")
        u.wait("delivery.deferred", to="<late@example.org>")
        u.stop()
        u.peer = peer
        yield u


def test_export_writes_who_is_still_to_get_it(half_done):
    u = half_done
    db("export", u.data, "--to", u.dir + "/out")
    db("export", u.data, "--to", u.dir + "/all", "--all")
    some = open(f"{u.dir}/out/{u.id}.eml", encoding="utf-8").read()
    full = open(f"{u.dir}/all/{u.id}.eml", encoding="utf-8").read()
    assert "X-Receiver: <late@" in some and "X-Receiver: <soon@" not in some
    assert "X-Receiver: <late@" in full and "X-Receiver: <soon@" in full


def test_a_damaged_status_is_nobodys_guess(half_done):
    """Who has the message already is not known: no file that is delivered."""
    u = half_done
    page_with(u, b"later", lambda p: p.replace(b"later", b"lateR"))
    bad, _ = check(u.data, want=65)
    assert [(x["id"], x["damage"]) for x in bad] == [(u.id, "status")]
    db("export", u.data, "--to", u.dir + "/out", want=65)
    assert os.listdir(u.dir + "/out") == [u.id + ".damaged"]


def test_export_from_a_read_only_disk(filled):
    u = filled
    ro, out = os.path.join(u.dir, "ro"), os.path.join(u.dir, "out")
    os.makedirs(ro)
    with mounted(ro, "--bind", u.data):
        if subprocess.run(["mount", "-o", "remount,ro,bind", ro],
                          capture_output=True, check=False).returncode:
            pytest.skip("cannot remount read-only")
        assert check(ro)[1]["ok"]
        db("export", ro, "--to", out)
        db("backup", u.dir + "/backup", ro)
    assert len(os.listdir(out)) == 10
    assert check(u.dir + "/backup")[1]["ok"]


def test_export_names_what_is_damaged(filled):
    u = filled
    os.truncate(body_file(u, 9), 1000)
    page_with(u, b"u4@example.org", lambda p: p.replace(
        b"u4@example.org", b"u4@exbmple.org"))
    out = os.path.join(u.dir, "out")
    p = db("export", u.data, "--to", out, want=65)
    assert u.ids[9] in p.stderr and u.ids[4] in p.stderr
    names = os.listdir(out)
    assert len(names) == 9 and u.ids[9] + ".damaged" in names
    assert not [n for n in names if n.endswith(".tmp")]


def test_somebody_without_the_right(filled):
    """Is told to be root, not to take the directory away from the daemon."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    os.chmod(filled.dir, 0o755)
    os.chmod(filled.data, 0o700)
    program = "/tmp/umbra-for-nobody"
    shutil.copy(UMBRA, program)
    os.chmod(program, 0o755)
    p = subprocess.run([program, "db", "check", filled.data], user=65534,
                       capture_output=True, text=True, check=False)
    os.unlink(program)
    assert p.returncode == 77, p
    assert "as root" in p.stderr and "chown" not in p.stderr


# --- a directory whose owner means harm --------------------------------------


def test_a_link_leads_nowhere(filled):
    """root looks after what is another user's: a link that this user left
    there is neither followed to be emptied nor to be read."""
    u = filled
    treasure = os.path.join(u.dir, "treasure")
    os.makedirs(treasure + "/deep")
    for name in ("one", "deep/two"):
        with open(f"{treasure}/{name}", "w", encoding="ascii") as f:
            f.write("secret")
    file = body_file(u, 0)
    os.unlink(file)
    os.symlink(treasure + "/one", file)
    out = os.path.join(u.dir, "backup")
    db("backup", out, u.data, want=65)
    for top, _, names in os.walk(out):
        for name in names:
            with open(os.path.join(top, name), "rb") as f:
                assert b"secret" not in f.read(), name
    new = os.path.join(u.dir, "new")
    for inside in (new + "/umbra.part", new + "/umbra.part/bodies"):
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(os.path.dirname(inside))
        os.symlink(treasure, inside)
        p = subprocess.run([UMBRA, "db", "restore", out, "--to", new],
                           capture_output=True, timeout=120, check=False)
        assert p.returncode in (65, 74), p
        assert sorted(os.listdir(treasure)) == ["deep", "one"]
        assert os.listdir(treasure + "/deep") == ["two"]
    assert check(new, want=65)[1]["messages"] == 10


def test_set_aside_is_no_link(filled):
    u = filled
    secret = os.path.join(u.dir, "secret")
    with open(secret, "w", encoding="ascii") as f:
        f.write("secret")
    os.mkdir(u.data + "/damaged")
    os.symlink(secret, f"{u.data}/damaged/{u.ids[0]}")
    out = os.path.join(u.dir, "backup")
    p = subprocess.run([UMBRA, "db", "backup", out, u.data], timeout=120,
                       capture_output=True, check=False)
    assert p.returncode != 0 and b"damaged/" in p.stderr, p
    assert not os.path.exists(out)


def test_a_lock_file_that_is_a_link(filled):
    """LMDB writes to its lock file: not to one of root's choosing."""
    u = filled
    target = os.path.join(u.dir, "target")
    with open(target, "wb"):
        pass
    u.start()
    lock = u.data + "/lock.mdb"
    os.unlink(lock)
    os.symlink(target, lock)
    db("check", u.data, want=74)
    assert os.path.getsize(target) == 0
