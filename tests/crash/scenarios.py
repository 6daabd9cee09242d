"""The parts of the agent whose crash points are tried, and what must hold of each."""

import hashlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.bundles.load import open_variants
from agent.bundles.store import Store
from agent.bundles.trust import Repository
from agent.update.journal import Active, Ref, SlotFiles
from tests import tuf_repository
from tests.bundle_folders import publish, write_bundle
from tests.certificates import Authority
from tests.crash.injection import Ended
from tests.crash.scenario import Scenario
from tests.crash.state_folder import StateFolder
from tests.https_server import Site, serving, trusting
from tests.tuf_repository import TufRepository

BODY = random.Random(4).randbytes(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
START = 41
DEPLOY = (sys.executable, "-m", "tests.crash.deploy")
CONFIG = """
version: 1
state_dir: ${{CRASH_STATE}}
device: {{id: tester}}
sources: {{main: {{type: synthetic, fps: 20}}}}
models: {{main: {{bundle: {folder}/factory}}}}
pipelines: {{main: {{source: main, model: main}}}}
mqtt: {{host: localhost, port: 9}}
updates:
  {{repository: "{repository}", trust_root: {folder}/root.json, min_probation_s: 0, min_probation_frames: 2, reserve_mb: 0}}
"""


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


@contextmanager
def store() -> Iterator[Scenario]:
    """A slot's pointer names a whole bundle, whatever happens while another one takes its place and the first is deleted."""
    with tempfile.TemporaryDirectory(prefix="bundles-") as outside:
        labels = {"1.0.0": "person\ncar\n", "1.1.0": "person\nbicycle\n"}
        old, new = (publish(write_bundle(Path(outside) / version, version=version, labels=labels[version])) for version in labels)

        def prepare(folder: Path) -> None:
            bundles = Store(folder, 0)
            bundles.import_directory(Path(outside) / "1.0.0", "repository")
            current = Ref(name="people", version="1.0.0", digest=old.digest, origin="store")
            SlotFiles(folder / "models" / "main").write(Active(factory="", current=current))

        def left(folder: Path) -> None:
            StateFolder(folder).sound("main", {old.digest, new.digest})

        def done(folder: Path) -> None:
            assert StateFolder(folder).serves("main") == new.digest, "the new bundle is not in use"
            blobs = {path.name for path in (folder / "blobs" / "sha256").iterdir()}
            assert blobs == set(new.blobs), "blobs were left behind"
            assert not list((folder / "partial").iterdir()), "parts were left behind"

        files = {"/manifest": new.manifest, **{f"/{sha256}": data for sha256, data in new.blobs.items()}}
        with serving(Site(files=files), None) as address:
            yield Scenario(
                "store",
                lambda folder: _part("store", folder, address, str(len(new.manifest)), new.digest),
                prepare,
                left,
                done,
            )


@contextmanager
def trust() -> Iterator[Scenario]:
    """What was proven stays known, and signed time never goes back, while newer metadata and a new root come."""
    site = tuf_repository.Site()
    repository = TufRepository(site, datetime.now(UTC))
    repository.vouch(repository.now)
    repository.add("people", "1.0.0")
    repository.publish()
    with tempfile.TemporaryDirectory(prefix="root-") as outside, tuf_repository.serving(site) as address:
        root, known = repository.write_root(Path(outside) / "root.json"), Path(outside) / "known"
        Repository(address, root, known, clock_synced=lambda: True).refresh()
        repository.now += timedelta(hours=1)
        repository.add("people", "1.1.0")
        repository.rotate("targets")
        repository.publish()

        def newest(folder: Path) -> str:
            listing = Repository(address, root, folder / "trust", clock_synced=lambda: True).known()
            assert listing, "nothing is known any more"
            return listing.releases[-1].version

        def left(folder: Path) -> None:
            assert newest(folder) in {"1.0.0", "1.1.0"}
            assert list(folder.glob("trust/*/metadata/floor")), "signed time is forgotten"

        def done(folder: Path) -> None:
            assert newest(folder) == "1.1.0"

        yield Scenario(
            "trust",
            lambda folder: _part("trust", folder, address, str(root)),
            lambda folder: _copy(known, folder / "trust"),
            left,
            done,
        )


@contextmanager
def agent() -> Iterator[Scenario]:
    """The whole agent, from its first start on its factory model to a bundle of a repository, committed."""
    site = tuf_repository.Site()
    with tempfile.TemporaryDirectory(prefix="agent-") as outside, tuf_repository.serving(site) as address:
        folder = Path(outside)
        factory = open_variants(str(write_bundle(folder / "factory")), None)[0].digest
        new = publish(write_bundle(folder / "new", version="1.1.0", labels="person\nbicycle\n"))
        site.files |= {f"blobs/sha256/{sha256}": data for sha256, data in new.blobs.items()}
        repository = TufRepository(site, datetime.now(UTC))
        repository.add("people", "1.1.0", manifest=new.manifest)
        repository.publish()
        repository.write_root(folder / "root.json")
        (folder / "config.yaml").write_text(CONFIG.format(folder=folder, repository=address))

        def left(state: Path) -> None:
            StateFolder(state, factory).sound("main", {factory, new.digest})

        def done(state: Path) -> None:
            assert StateFolder(state, factory).serves("main") == new.digest, "the new bundle is not in use"

        def refused(ended: Ended) -> None:
            assert "Traceback" not in ended.stderr, ended.stderr
            assert ended.status in {0, 1, 2}, f"status {ended.status}: {ended.stderr}"

        yield Scenario(
            "agent",
            # not in the environment of the run: the state folder is another one at each point
            lambda state: ["env", f"CRASH_STATE={state}", *DEPLOY, folder / "config.yaml", "people", "1.1.0"],
            left=left,
            done=done,
            refused=refused,
        )


SCENARIOS: Mapping[str, Callable[[], AbstractContextManager[Scenario]]] = {
    "session": session,
    "download": download,
    "store": store,
    "trust": trust,
    "agent": agent,
}


def _part(name: str, folder: Path, *arguments: str) -> list[str | Path]:
    return [sys.executable, "-m", "tests.crash.parts", name, folder, *arguments]


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)


def _number(folder: Path) -> int:
    text = (folder / "session").read_text().strip()
    assert text.isdecimal(), f"session: {text!r}"
    return int(text)
