"""A certificate authority of one's own, as people make it at home: the `openssl` command, keys of an elliptic curve."""

import shutil
import subprocess
from pathlib import Path

import pytest

_CONFIG = """
[ca]
default_ca = home
[home]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
default_days = 3
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
"""
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Authority:
    """Signs certificates in `folder`; its own is `certificate`."""

    def __init__(self, folder: Path, name: str = "home") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is absent; `apt install openssl` brings it")
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        (self.folder / "ca.cnf").write_text(_CONFIG)
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        self.certificate = self.folder / "ca.crt"
        subject = ("-subj", f"/CN={name}", "-config", "ca.cnf", "-addext", "basicConstraints=critical,CA:TRUE")
        self._openssl("req", "-x509", *_NEW_KEY, "-nodes", "-keyout", "ca.key", "-out", "ca.crt", *subject)

    def issue(self, name: str, *, names: str = "DNS:localhost", dates: tuple[str, ...] = (), passphrase: str = ""):
        """A certificate and its key as two files; `names` is its subjectAltName, `dates` are of `openssl ca`."""
        crypt = ("-passout", f"pass:{passphrase}") if passphrase else ("-nodes",)
        subject = ("-subj", f"/CN={name}", "-config", "ca.cnf", "-addext", f"subjectAltName={names}")
        self._openssl("req", *_NEW_KEY, *crypt, "-keyout", f"{name}.key", "-out", f"{name}.csr", *subject)
        signing = ("-config", "ca.cnf", "-batch", "-notext", "-cert", "ca.crt", "-keyfile", "ca.key", *dates)
        self._openssl("ca", *signing, "-in", f"{name}.csr", "-out", f"{name}.crt")
        for file in self.folder.iterdir():
            file.chmod(0o644)  # mosquitto may run as a user of its own
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
