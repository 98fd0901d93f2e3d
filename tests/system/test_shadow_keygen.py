"""umbra shadow keygen: a private CA and the certificates of nodes."""
import json
import os
import stat
import subprocess

import pytest

from umbra import UMBRA

A, B = "relay1.example.org", "relay2.example.org"


def keygen(folder, *args, want=0):
    """What it printed on standard output and on standard error."""
    p = subprocess.run([UMBRA, "shadow", "keygen", *args], cwd=folder,
                       capture_output=True, text=True, timeout=60,
                       umask=0o077, check=False)
    assert "Sanitizer" not in p.stderr, p.stderr
    assert p.returncode == want, p
    return p.stdout, p.stderr


def openssl(*args):
    return subprocess.run(["openssl", *args], capture_output=True, text=True,
                          timeout=60, check=True).stdout


def files(folder):
    """Every file with its mode and content."""
    return {name: (stat.S_IMODE(os.stat(folder / name).st_mode),
                   (folder / name).read_bytes())
            for name in os.listdir(folder)}


def spki_pin(cert):
    pem = openssl("x509", "-in", str(cert), "-noout", "-pubkey")
    p = subprocess.run("openssl pkey -pubin -outform DER | sha256sum",
                       shell=True, input=pem, capture_output=True, text=True,
                       timeout=60, check=True)
    return "sha256:" + p.stdout.split()[0]


def test_files_modes_and_chain(tmp_path):
    out, err = keygen(tmp_path, A, B.upper())
    assert err == ""
    got = files(tmp_path)
    assert {k: v[0] for k, v in got.items()} == {
        "shadow-ca.pem": 0o644, "shadow-ca.key": 0o600,
        f"{A}.pem": 0o644, f"{A}.key": 0o600,
        f"{B}.pem": 0o644, f"{B}.key": 0o600}
    for node in (A, B):
        cert = str(tmp_path / f"{node}.pem")
        for purpose in ("sslserver", "sslclient"):
            openssl("verify", "-x509_strict", "-no-CApath", "-no-CAstore",
                    "-purpose", purpose, "-CAfile",
                    str(tmp_path / "shadow-ca.pem"), cert)
        text = openssl("x509", "-in", cert, "-noout", "-ext",
                       "subjectAltName,extendedKeyUsage,basicConstraints")
        assert f"DNS:{node}\n" in text
        assert "DNS:" not in text.replace(f"DNS:{node}\n", "")
        assert "CA:FALSE" in text
        key = openssl("pkey", "-in", str(tmp_path / f"{node}.key"), "-pubout")
        assert key == openssl("x509", "-in", cert, "-noout", "-pubkey")
        assert spki_pin(cert) in out
        assert f"./{node}.key" in out
    text = openssl("x509", "-in", str(tmp_path / "shadow-ca.pem"), "-noout",
                   "-ext", "basicConstraints,keyUsage")
    assert "CA:TRUE, pathlen:0" in text and "Certificate Sign" in text
    assert "install -D -m 640 -g umbra" in out


def test_again_keeps_the_ca_and_replaces_nothing(tmp_path):
    keygen(tmp_path, A)
    before = files(tmp_path)
    out, err = keygen(tmp_path, B, A, want=73)
    assert out == ""
    assert f"./{A}.pem exists already and is not replaced" in err
    assert f"mv -i ./{A}.pem ./{A}.pem.old" in err
    assert files(tmp_path) == before
    out, _ = keygen(tmp_path, "--json", "--dir", str(tmp_path), B)
    row = json.loads(out)
    assert row["node"] == B and row["ca_is_new"] is False
    assert row["cert"] == str(tmp_path / f"{B}.pem")
    assert row["pin"] == spki_pin(row["cert"])
    assert {k: v for k, v in files(tmp_path).items() if k in before} == before
    openssl("verify", "-CAfile", row["ca"], row["cert"])


def test_a_link_that_points_nowhere_is_a_file_too(tmp_path):
    (tmp_path / f"{A}.key").symlink_to(tmp_path / "elsewhere")
    _, err = keygen(tmp_path, A, want=73)
    assert f"{A}.key exists already" in err
    assert os.listdir(tmp_path) == [f"{A}.key"]


@pytest.mark.parametrize("name, want", [
    ("", "is empty"), ("a..example", "nothing between two dots"),
    (".example", "nothing between two dots"),
    ("a.example.", "nothing between two dots"),
    ("../a", "nothing between two dots"), ("a/b", "only letters"),
    ("a b", "only letters"), ("*.example", "only letters"),
    ("a,DNS:b", "only letters"), ("a_b", "only letters"),
    ("-a.example", None), ("a-.example", "hyphen"),
    ("192.0.2.1", "ends in a number"), ("shadow-ca", "the CA's files"),
    ("x" * 64, "63 characters"), ("x." * 127 + "xx", "253 characters"),
    (A.upper(), "is given twice")])
def test_wrong_names(tmp_path, name, want):
    _, err = keygen(tmp_path, A, name, want=64)
    assert (want or "no option") in err
    assert os.listdir(tmp_path) == []


def test_a_ca_that_cannot_sign(tmp_path):
    keygen(tmp_path, A)
    (tmp_path / "shadow-ca.key").rename(tmp_path / "kept")
    before = files(tmp_path)
    _, err = keygen(tmp_path, B, want=78)
    assert "shadow-ca.pem is there without ./shadow-ca.key" in err
    (tmp_path / f"{A}.key").rename(tmp_path / "shadow-ca.key")
    _, err = keygen(tmp_path, B, want=78)
    assert "does not match certificate ./shadow-ca.pem" in err
    (tmp_path / "shadow-ca.pem").rename(tmp_path / "ca")
    (tmp_path / f"{A}.pem").rename(tmp_path / "shadow-ca.pem")
    _, err = keygen(tmp_path, B, want=78)
    assert "is not that of a CA" in err
    assert len(files(tmp_path)) == len(before)


def test_no_such_directory(tmp_path):
    gone = str(tmp_path / "gone")
    _, err = keygen(tmp_path, "--dir", gone, A, want=73)
    assert f"mkdir -m 700 {gone}" in err
    keygen(tmp_path, "--dir", "", A, want=64)
    keygen(tmp_path, want=64)


def test_the_disk_is_full(tmp_path):
    """What cannot be written whole is not there at all."""
    p = subprocess.run(["sh", "-c", f"trap '' XFSZ; ulimit -f 0; "
                        f"exec {UMBRA} shadow keygen {A}"], cwd=tmp_path,
                       capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 73 and "shadow-ca.key" in p.stderr, p
    assert os.listdir(tmp_path) == []
