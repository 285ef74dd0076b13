"""The certificates of a cluster, made for it by openssl, and the files by which its programs and kubectl know it."""

import json
import subprocess
from pathlib import Path

#: Days that a certificate is valid for.
_DAYS = "2"


class Certificates:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, server: str) -> None:
        """Make the authority, in a folder that is made too. `server` is the address of the API server."""
        self.folder, self._server = folder, server
        folder.mkdir(mode=0o700)
        self.authority = folder / "ca.crt"
        self._openssl("ca", "/CN=penstock-test", "keyCertSign,cRLSign", "basicConstraints=critical,CA:true")
        #: What service accounts' tokens are signed with.
        self.accounts = folder / "ca.key"

    def make(self, name: str, subject: str, *hosts: str) -> tuple[Path, Path]:
        """Return a certificate and its key, for a client and, if there are hosts (`DNS:…`, `IP:…`), a server."""
        extensions = [
            "basicConstraints=critical,CA:false",
            "extendedKeyUsage=clientAuth,serverAuth",
            *([f"subjectAltName={','.join(hosts)}"] if hosts else []),
        ]
        signed = ("-CA", str(self.authority), "-CAkey", str(self.folder / "ca.key"))
        return self._openssl(name, subject, "digitalSignature,keyEncipherment", *extensions, signed=signed)

    def configuration(self, name: str, subject: str) -> Path:
        """Return a kubeconfig of a new user, who is known by the subject of its certificate."""
        certificate, key = self.make(name, subject)
        cluster = {"server": self._server, "certificate-authority": str(self.authority)}
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        path = self.folder / f"{name}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def _openssl(
        self, name: str, subject: str, usage: str, *extensions: str, signed: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            _DAYS,
            "-subj",
            subject,
            *signed,
        ]
        command += ["-keyout", str(key), "-out", str(certificate)]
        for each in (f"keyUsage=critical,{usage}", *extensions):
            command += ["-addext", each]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == done.returncode, done.stderr
        return certificate, key
