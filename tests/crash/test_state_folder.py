"""What is demanded of a state folder is missed where it does not hold."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.bundles.store import Store
from agent.update.journal import Active, Journal, Ref, SlotFiles
from tests.bundle_folders import write_bundle
from tests.crash.state_folder import StateFolder

FACTORY = "f" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slot `main` that serves a bundle from the store."""
    folder = tmp_path / "state"
    stored = Store(folder, 0).import_directory(write_bundle(tmp_path / "people"), "repository")
    current = Ref(name=stored.name, version=stored.version, digest=stored.digest, origin="store")
    files = SlotFiles(folder / "models" / "main")
    files.write(Active(factory="people", current=current))
    files.write(Journal(phase="committed"))
    return folder


def digest_of(folder: Path) -> str:
    found: str = json.loads((folder / "models" / "main" / "active.json").read_bytes())["current"]["digest"]
    return found


def test_a_sound_folder(folder: Path) -> None:
    state = StateFolder(folder, FACTORY)
    state.sound("main", {digest_of(folder)})
    assert state.phase("main") == "committed"


def test_a_slot_without_a_pointer_serves_its_factory_model(tmp_path: Path) -> None:
    state = StateFolder(tmp_path, FACTORY)
    state.sound("main", {FACTORY})
    assert (state.serves("main"), state.phase("main")) == (FACTORY, "idle")


def test_a_bundle_that_nobody_published(folder: Path) -> None:
    with pytest.raises(AssertionError, match="nobody published"):
        StateFolder(folder, FACTORY).sound("main", {FACTORY})


@pytest.mark.parametrize(
    ("pattern", "harm", "said"),
    [
        ("models/main/active.json", lambda path: path.write_bytes(b""), "active.json is torn"),
        ("manifests/*", Path.unlink, "no manifest"),
        ("manifests/*", lambda path: path.write_bytes(b"{}"), "no manifest, or a torn one"),
        ("blobs/sha256/*", Path.unlink, "is not there"),
        ("blobs/sha256/*", lambda path: path.write_bytes(b""), "is not what its name says: 0 bytes"),
    ],
)
def test_a_harm(folder: Path, pattern: str, harm: Callable[[Path], None], said: str) -> None:
    genuine = {digest_of(folder)}
    harm(next(folder.glob(pattern)))
    with pytest.raises(AssertionError, match=said):
        StateFolder(folder, FACTORY).sound("main", genuine)
