"""The digest of a bundle: the SHA-256 of its canonical manifest, which lists length and SHA-256 of every file.

Canonical: JSON, UTF-8, keys sorted, no spaces, so that it is the same for a directory, a plain file and a published bundle.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def canonical_manifest(data: Mapping[str, Any], files: Mapping[str, Path]) -> bytes:
    """data: what bundle.yaml holds. files: each file that it names, and where it is. OSError where one cannot be read."""
    return canonical({**data, "files": {name: _entry(path) for name, path in files.items()}})


def canonical(data: Mapping[str, Any]) -> bytes:
    """The one form of some data. ValueError where they have none: NaN, infinities, half a surrogate pair."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(manifest: bytes) -> str:
    """SHA-256, hex, of a canonical manifest."""
    return hashlib.sha256(manifest).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256, hex, of a file. OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"length": file.tell(), "sha256": sha256}
