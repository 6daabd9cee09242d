"""Downloads from a real HTTPS server that cuts off, stalls, lies and redirects."""

import hashlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bundles.download import download
from agent.bundles.http import FetchLimits
from agent.errors import BundleError, DownloadError
from tests.certificates import Authority
from tests.https_server import PIECE_BYTES, Site, serving, trusting

BODY = random.Random(1).randbytes(10 * PIECE_BYTES)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site() -> Site:
    return Site(files={"/m.tflite": BODY})


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    folder = tmp_path / "certificates"
    folder.mkdir()
    made = Authority(folder)
    for name, value in trusting(made.cert).items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def address(site: Site, authority: Authority) -> Iterator[str]:
    with serving(site, authority.issue("server")) as root:
        yield f"{root}/m.tflite"


def fetch(url: str, path: Path, *, size: int = len(BODY), sha256: str = SHA256, timeout_s: float = 10) -> list[int]:
    """The progress that was told."""
    told: list[int] = []
    download(url, path, size, sha256, told.append, FetchLimits(timeout_s=timeout_s))
    return told


def failure(kind: type[Exception], url: str, path: Path, **options: object) -> str:
    """What is said of a download that fails, without its address; nothing may have the file's name."""
    with pytest.raises(kind) as error:
        fetch(url, path, **options)  # type: ignore[arg-type]
    assert not path.exists()
    message = str(error.value)
    assert message.startswith(f"{url}: ")
    assert "\n" not in message
    return message.removeprefix(f"{url}: ")


def test_a_whole_file(address: str, tmp_path: Path) -> None:
    told = fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY
    assert told == sorted(told)
    assert told[-1] == len(BODY)
    assert not (tmp_path / "m.part").exists()


def test_what_is_there_is_not_fetched_again(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(BODY)
    assert fetch(address, tmp_path / "m") == []
    (tmp_path / "m").write_bytes(BODY[:-1])
    fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY
    assert len(site.requests) == 1


def test_a_throttled_server_is_waited_for(address: str, site: Site, tmp_path: Path) -> None:
    site.piece_s = 0.05
    assert len(fetch(address, tmp_path / "m", timeout_s=1)) > 5


@pytest.mark.parametrize("lengths", [True, False])
def test_what_was_cut_off_goes_on_where_it_ended(address: str, site: Site, tmp_path: Path, lengths: bool) -> None:
    site.cut_after, site.lengths = 3 * PIECE_BYTES, lengths
    said = failure(DownloadError, address, tmp_path / "m")
    assert said.endswith(f"{3 * PIECE_BYTES} of {len(BODY)} bytes are here, and the next try goes on from there")
    assert (tmp_path / "m.part").read_bytes() == BODY[: 3 * PIECE_BYTES]
    site.cut_after = None
    fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY
    assert site.requests == [("/m.tflite", None), ("/m.tflite", f"bytes={3 * PIECE_BYTES}-")]


def test_a_server_without_parts_sends_it_from_its_beginning(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"x" * 1000)
    site.ranges = False
    fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY


def test_a_whole_part_is_only_checked(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(BODY)
    fetch(address, tmp_path / "m")
    assert site.requests == []
    (tmp_path / "m").unlink()
    (tmp_path / "m.part").write_bytes(BODY + b"more")
    fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY


def test_a_server_whose_file_ends_before_ours(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(BODY[:1000])
    site.files["/m.tflite"] = BODY[:500]
    said = failure(BundleError, address, tmp_path / "m")
    assert said.endswith("it has no more than 1000 bytes: not the file that was expected")
    assert (tmp_path / "m.part").read_bytes() == BODY[:1000]


def test_a_part_of_something_else_is_thrown_away(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"x" * 1000)
    fetch(address, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == BODY
    assert site.requests == [("/m.tflite", "bytes=1000-"), ("/m.tflite", None)]


def test_another_part_than_was_asked_for(address: str, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(BODY[:1000])
    site.wrong_range = True
    assert failure(DownloadError, address, tmp_path / "m") == "the server sends another part than was asked for"
    assert (tmp_path / "m.part").read_bytes() == BODY[:1000]


def test_a_server_that_falls_silent(address: str, site: Site, tmp_path: Path) -> None:
    site.stall_after = 2 * PIECE_BYTES
    said = failure(DownloadError, address, tmp_path / "m", timeout_s=0.5)
    assert said.startswith("nothing came for 0.5 s; ")


def test_another_file(address: str, tmp_path: Path) -> None:
    said = failure(BundleError, address, tmp_path / "m", sha256="0" * 64)
    assert said == f"it is not the file that was expected: its sha256 is {SHA256}, not {'0' * 64}"
    assert list(tmp_path.glob("m*")) == []


@pytest.mark.parametrize(
    ("size", "lengths", "said"),
    [
        (len(BODY) - 1, True, f"it has {len(BODY)} bytes, not {len(BODY) - 1}: not the file that was expected"),
        (len(BODY) + 1, True, f"it has {len(BODY)} bytes, not {len(BODY) + 1}: not the file that was expected"),
        (len(BODY) - 1, False, f"it has more than {len(BODY) - 1} bytes: not the file that was expected"),
    ],
)
def test_a_file_of_another_size(address: str, site: Site, tmp_path: Path, size: int, lengths: bool, said: str) -> None:
    site.lengths = lengths
    assert failure(BundleError, address, tmp_path / "m", size=size) == said


def test_no_such_file(address: str, tmp_path: Path) -> None:
    said = failure(DownloadError, f"{address}x", tmp_path / "m")
    assert said == "the server answers 404 Not Found; is the address still right?"


def test_redirections(address: str, site: Site, tmp_path: Path) -> None:
    root = address.removesuffix("/m.tflite")
    site.redirects = {
        "/old": "/m.tflite",
        "/ring": "/ring",
        "/plain": address.replace("https:", "http:"),
        "/file": "file:///etc/hosts",
    }
    fetch(f"{root}/old", tmp_path / "m")
    (tmp_path / "m").unlink()
    assert (
        failure(DownloadError, f"{root}/ring", tmp_path / "m")
        == "the server redirects in a ring, or to nothing that can be followed"
    )
    assert failure(DownloadError, f"{root}/file", tmp_path / "m").startswith("the server redirects in a ring, or to nothing")
    with pytest.raises(DownloadError, match=f"{site.redirects['/plain']}: only https:// is followed"):
        fetch(f"{root}/plain", tmp_path / "m")


def test_http_is_not_asked_at_all(site: Site, tmp_path: Path) -> None:
    with serving(site, None) as root:
        assert failure(DownloadError, f"{root}/m.tflite", tmp_path / "m") == "only https:// is followed"
    assert site.requests == []


def test_a_certificate_of_an_unknown_authority(authority: Authority, site: Site, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    with serving(site, Authority(stranger).issue("server")) as root:
        assert failure(DownloadError, f"{root}/m.tflite", tmp_path / "m").startswith("its certificate is not trusted: ")
    with serving(site, authority.issue("other", "DNS:other.example")) as root:
        assert "localhost" in failure(DownloadError, f"{root}/m.tflite", tmp_path / "m")
    assert site.requests == []


@pytest.mark.usefixtures("authority")
def test_no_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert failure(DownloadError, f"https://localhost:{port}/m", tmp_path / "m") == "Connection refused"
    unknown = failure(DownloadError, "https://no-such-host.invalid/m", tmp_path / "m")
    assert unknown in ("Name or service not known", "Temporary failure in name resolution")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"https://localhost:{mute.getsockname()[1]}/m"
        assert failure(DownloadError, address, tmp_path / "m", timeout_s=0.5) == "no answer"
