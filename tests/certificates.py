"""Certificates for tests, made with the openssl program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM files of a certificate and of its key, which has no password."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority; the test is skipped where openssl is not installed."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self._folder = folder
        self._pair = self._make(name, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.cert = self._pair.cert

    def issue(self, name: str, subject_alt_name: str = "IP:127.0.0.1,DNS:localhost") -> Pair:
        """A certificate for `name`, the common name, and for the hosts of `subject_alt_name`, valid for a day."""
        return self._make(
            *(name, "-CA", str(self._pair.cert), "-CAkey", str(self._pair.key)),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"subjectAltName={subject_alt_name}"),
        )

    def _make(self, name: str, *options: str) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"),
                *("-subj", f"/CN={name}", "-out", str(pair.cert), "-keyout", str(pair.key), *options),
            ],
            check=True,
            capture_output=True,
        )
        return pair
