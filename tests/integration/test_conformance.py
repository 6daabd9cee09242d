"""The device's TUF client on its own command line: what a conformance suite may ask of it."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.tuf_repository import Site, TufRepository, answers, cut, serving

COMMAND = (sys.executable, "-m", "agent.bundles.conformance")
TARGETS = [f"people/{version}/manifest.json" for version in ("1.0.0", "1.1.0", "1.2.0")]


class Client:
    """A client with folders of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.metadata, self.targets, self.url = folder / "metadata", folder / "targets", url
        self.targets.mkdir()

    def init(self, root: Path) -> int:
        """The exit status."""
        return self._run("init", str(root))

    def refresh(self) -> int:
        """As `init`."""
        return self._run("--metadata-url", f"{self.url}/metadata/", "refresh")

    def download(self, *targets: str) -> int:
        """As `init`."""
        names = [word for target in targets for word in ("--target-name", target)]
        to = ["--target-dir", str(self.targets), "--target-base-url", f"{self.url}/targets/"]
        return self._run("--metadata-url", f"{self.url}/metadata", *names, *to, "download")

    def downloaded(self) -> list[bytes]:
        """What is in the folder of targets."""
        return [path.read_bytes() for path in sorted(self.targets.rglob("*"))]

    def _run(self, *words: str) -> int:
        command = [*COMMAND, "--metadata-dir", str(self.metadata), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr.count("\n") == (1 if done.returncode else 0), done.stderr
        return done.returncode


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def repository(site: Site) -> TufRepository:
    made = TufRepository(site, datetime.now(UTC))
    for target in TARGETS:
        made.add("people", target.split("/")[1])
    made.publish()
    return made


@pytest.fixture
def client(site: Site, repository: TufRepository, tmp_path: Path) -> Iterator[Client]:
    with serving(site) as url:
        made = Client(tmp_path, url)
        assert made.init(repository.write_root(tmp_path / "first.json")) == 0
        assert site.requests == []
        yield made


def hashed(site: Site, target: str) -> str:
    """The path of a target on the server."""
    return next(path for path in site.files if path.startswith(f"targets/{target.rpartition('/')[0]}/"))


def test_metadata_are_stored_as_they_came(client: Client, repository: TufRepository, site: Site) -> None:
    assert client.refresh() == 0
    found = {path.name: path.read_bytes() for path in client.metadata.glob("*.json")}
    assert found == {f"{role}.json": site.files[repository.path(role)] for role in ("root", "timestamp", "snapshot", "targets")}
    assert site.requests == [f"metadata/{name}.json" for name in ("2.root", "timestamp", "2.snapshot", "2.targets")]


def test_a_root_that_is_none_is_refused_without_a_request(client: Client, site: Site, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    assert client.init(tmp_path / "bad.json") == 0
    assert client.refresh() == 1
    assert site.requests == []


def test_a_rollback_is_refused(client: Client, repository: TufRepository) -> None:
    assert client.refresh() == 0
    before = {path: path.read_bytes() for path in client.metadata.glob("*.json")}
    repository.timestamp.version = 1
    repository.put("timestamp", repository.sign("timestamp"))
    assert client.refresh() == 1
    assert {path: path.read_bytes() for path in client.metadata.glob("*.json")} == before


def test_a_refresh_without_init_fails(client: Client) -> None:
    (client.metadata / "trusted_root").unlink()
    assert client.refresh() == 1


def test_targets_are_fetched_once_and_in_order(client: Client, site: Site) -> None:
    assert client.download(TARGETS[1], TARGETS[0]) == 0
    assert site.requests[4:] == [hashed(site, TARGETS[1]), hashed(site, TARGETS[0])]
    assert sorted(client.downloaded()) == sorted(site.files[hashed(site, target)] for target in TARGETS[:2])
    site.requests.clear()
    assert client.download(TARGETS[0], TARGETS[1]) == 0
    assert site.requests == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_the_first_failure_ends_a_download(client: Client, site: Site) -> None:
    site.faults[hashed(site, TARGETS[1])] = answers(404)
    assert client.download(*TARGETS) == 1
    assert client.downloaded() == [site.files[hashed(site, TARGETS[0])]]
    assert site.requests[-1] == hashed(site, TARGETS[1])


def test_no_part_of_a_file_stays(client: Client, site: Site) -> None:
    path = hashed(site, TARGETS[0])
    site.faults[path] = cut
    assert client.download(TARGETS[0]) == 1
    site.faults.clear()
    site.files[path] = site.files[path][::-1]
    assert client.download(TARGETS[0]) == 1
    assert client.downloaded() == []


def test_an_unknown_target_fails_after_the_refresh(client: Client, site: Site) -> None:
    assert client.download("other") == 1
    assert len(site.requests) == 4
    assert client.downloaded() == []


def test_a_damaged_target_is_fetched_again(client: Client, site: Site) -> None:
    assert client.download(TARGETS[0]) == 0
    (file,) = client.targets.iterdir()
    file.write_bytes(b"damaged")
    assert client.download(TARGETS[0]) == 0
    assert client.downloaded() == [site.files[hashed(site, TARGETS[0])]]
