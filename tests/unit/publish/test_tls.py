from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.publish.config import TlsConfig
from agent.publish.tls import client_context
from tests.certificates import Authority


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    authority.issue("gate-03")
    authority.issue("gate-04")
    (folder / "empty.pem").touch()
    device = folder / "gate-03.pem"
    (folder / "both.pem").write_text(device.read_text() + device.with_suffix(".key").read_text())
    return folder


@pytest.mark.parametrize(
    ("ca", "cert", "key"),
    [(None, None, None), ("ca.pem", None, None), ("ca.pem", "gate-03.pem", "gate-03.key"), ("ca.pem", "both.pem", None)],
)
def test_certificates_that_can_be_used(folder: Path, ca: str | None, cert: str | None, key: str | None) -> None:
    ca, cert, key = (None if name is None else str(folder / name) for name in (ca, cert, key))
    client_context(TlsConfig(ca=ca, cert=cert, key_file=key))


@pytest.mark.parametrize(
    ("ca", "cert", "key", "text"),
    [
        ("absent.pem", None, None, r"mqtt\.tls\.ca: /.*/absent\.pem: No such file or directory"),
        ("empty.pem", None, None, r"mqtt\.tls\.ca: /.*/empty\.pem: not a PEM file of certificates"),
        ("ca.pem", "absent.pem", "gate-03.key", r"mqtt\.tls\.cert: /.*/absent\.pem: No such file"),
        ("ca.pem", "gate-03.pem", "absent.key", r"mqtt\.tls\.key_file: /.*/absent\.key: No such file"),
        ("ca.pem", "gate-03.pem", "gate-04.key", r"mqtt\.tls\.cert, mqtt\.tls\.key_file: .*: not a PEM certificate and its key"),
        (
            "ca.pem",
            "gate-03.pem",
            None,
            r"mqtt\.tls\.cert, mqtt\.tls\.key_file: /.*/gate-03\.pem: not a PEM certificate",
        ),
        ("ca.pem", None, "gate-03.key", r"mqtt\.tls\.key_file: there is no mqtt\.tls\.cert"),
    ],
)
def test_certificates_that_cannot(folder: Path, ca: str | None, cert: str | None, key: str | None, text: str) -> None:
    ca, cert, key = (None if name is None else str(folder / name) for name in (ca, cert, key))
    with pytest.raises(ConfigError, match=text) as caught:
        client_context(TlsConfig(ca=ca, cert=cert, key_file=key))
    assert "\n" not in str(caught.value)
