"""Certificates for tests, made by openssl."""
import os
import subprocess


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True,
                   timeout=60)


def self_signed(folder, name="mx.umbra.test", stem=None, days=30):
    """A key and a certificate that signs itself: (cert, key) paths."""
    stem = os.path.join(folder, stem or name)
    cert, key = stem + ".pem", stem + ".key"
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
             "-out", cert, "-days", str(days), "-subj", f"/CN={name}",
             "-addext", f"subjectAltName=DNS:{name}")
    os.chmod(key, 0o600)
    return cert, key


def signed(folder, ca, name, stem=None):
    """A certificate for name from ca, which is what self_signed returned."""
    stem = os.path.join(folder, stem or name)
    cert, key, req, ext = (stem + e for e in (".pem", ".key", ".csr", ".ext"))
    _openssl("req", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
             "-out", req, "-subj", f"/CN={name}")
    with open(ext, "w", encoding="ascii") as f:
        f.write(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n")
    _openssl("x509", "-req", "-in", req, "-CA", ca[0], "-CAkey", ca[1],
             "-CAcreateserial", "-days", "30", "-extfile", ext, "-out", cert)
    os.chmod(key, 0o600)
    return cert, key
