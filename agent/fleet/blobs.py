"""Files of bundles in a repository, named by their SHA-256."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent import durable
from agent.errors import BundleError
from agent.fleet.layout import Layout

CHUNK_BYTES = 1 << 20


def has_blob(layout: Layout, entry: Mapping[str, Any]) -> bool:
    """Whether the file that an entry of a manifest lists is there, by its length."""
    path = layout.blob(entry["sha256"])
    return path.is_file() and path.stat().st_size == entry["length"]


def copy_blob(source: Path, blob: Path, sha256: str) -> Iterator[int]:
    """Copy a file; yields how many bytes are there, from time to time. BundleError where its hash is another, or OSError."""
    part = blob.with_name(f"{blob.name}.part")
    hashed, done = hashlib.sha256(), 0
    with source.open("rb") as original, part.open("wb") as copy:
        while chunk := original.read(CHUNK_BYTES):
            hashed.update(chunk)
            copy.write(chunk)
            done += len(chunk)
            yield done
        copy.flush()
        os.fsync(copy.fileno())
    if hashed.hexdigest() != sha256:
        raise BundleError(f"{source}: it changed while it was read; try again when nothing writes to it")
    part.replace(blob)
    durable.sync_folder(blob.parent)


def sha256_of(path: Path) -> str:
    """Of a file, hex. OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
