"""The parts of the agent whose crash points are tried, and what must hold of each."""

import hashlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.certificates import Authority
from tests.crash.scenario import Scenario
from tests.https_server import Site, serving, trusting

BODY = random.Random(4).randbytes(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
START = 41


@contextmanager
def session() -> Iterator[Scenario]:
    """The counter of starts never goes back to a number that was used."""

    def prepare(folder: Path) -> None:
        (folder / "session").write_text(f"{START}\n")

    def left(folder: Path) -> None:
        assert _number(folder) >= START, f"session {_number(folder)} after {START}"

    def done(folder: Path) -> None:
        assert _number(folder) > START, f"still session {START}"

    yield Scenario("session", lambda folder: _part("session", folder), prepare, left, done)


@contextmanager
def download() -> Iterator[Scenario]:
    """The file has its name only when all of it is there."""

    def left(folder: Path) -> None:
        file = folder / "file"
        assert not file.exists() or file.read_bytes() == BODY, f"{len(file.read_bytes())} bytes have the name of the whole file"

    def done(folder: Path) -> None:
        assert [path.name for path in folder.iterdir()] == ["file"], "the file is not there alone"

    with tempfile.TemporaryDirectory(prefix="certificates-") as outside:
        authority = Authority(Path(outside))
        with serving(Site(files={"/file": BODY}), authority.issue("server")) as address:
            yield Scenario(
                "download",
                lambda folder: _part("download", folder, f"{address}/file", str(len(BODY)), SHA256),
                left=left,
                done=done,
                environment=trusting(authority.cert),
            )


SCENARIOS: Mapping[str, Callable[[], AbstractContextManager[Scenario]]] = {"session": session, "download": download}


def _part(name: str, folder: Path, *arguments: str) -> list[str | Path]:
    return [sys.executable, "-m", "tests.crash.parts", name, folder, *arguments]


def _number(folder: Path) -> int:
    text = (folder / "session").read_text().strip()
    assert text.isdecimal(), f"session: {text!r}"
    return int(text)
