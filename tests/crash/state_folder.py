"""What must hold of a state folder at any time, read from the files themselves and with none of the agent's code."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any


class StateFolder:
    """Demands on what a crash left in a state folder; each raises AssertionError. factory: digest of its slots' factory model."""

    def __init__(self, path: Path, factory: str = "") -> None:
        self._path = path
        self._factory = factory

    def sound(self, slot: str, genuine: Collection[str]) -> None:
        """A slot serves one of these bundles, by their digests, and the files of all blobs are what their names say."""
        self.blobs_are_whole()
        digest = self.serves(slot)
        assert digest in genuine, f"{slot} serves {digest[:12]}, which nobody published"
        if digest != self._factory:
            self.bundle_is_whole(digest)

    def serves(self, slot: str) -> str:
        """The digest of what the slot's pointer names; the factory model's where there is no pointer."""
        path = self._path / "models" / slot / "active.json"
        current = _json(path)["current"] if path.exists() else None
        return current["digest"] if current else self._factory

    def phase(self, slot: str) -> str:
        """How the slot's newest deployment stands; `idle` where there is no journal."""
        path = self._path / "models" / slot / "journal.json"
        return str(_json(path)["phase"]) if path.exists() else "idle"

    def bundle_is_whole(self, digest: str) -> None:
        """Its manifest and each file that this names are here, with the right hashes."""
        manifests = [path for path in (self._path / "manifests").glob(f"{digest}.*") if _sha256(path) == digest]
        assert manifests, f"{digest[:12]} has no manifest, or a torn one"
        for name, file in _json(manifests[0])["files"].items():
            path = self._path / "blobs" / "sha256" / file["sha256"]
            assert path.is_file(), f"{digest[:12]}: {name} is not there"
            assert _sha256(path) == file["sha256"], (
                f"{digest[:12]}: {name}: {path.stat().st_size} of {file['length']} bytes, or others"
            )

    def blobs_are_whole(self) -> None:
        """Nothing has the name of a blob that is not that blob."""
        for path in (self._path / "blobs" / "sha256").glob("*"):
            assert _sha256(path) == path.name, f"blob {path.name[:12]} is not what its name says: {path.stat().st_size} bytes"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise AssertionError(f"{path.name} is torn: {path.read_bytes()[:40]!r}") from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
