"""A published repository in a folder of this computer: what it holds, proven by its own signatures, and who may write to it."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, T, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from agent.bundles.trust import Release
from agent.errors import OutputError, PublishError
from agent.fleet.layout import TIMESTAMP, Layout, target_path


class Current(NamedTuple):
    """The metadata in force."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


class FleetRepository:
    """What lies in a folder. PublishError where that is no repository."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        if not self.layout.role(TIMESTAMP, 0).is_file():
            raise PublishError(f"{folder}: no repository of models; say --repo DIR, or make one with: edge-fleet init DIR")

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.layout.folder

    def releases(self) -> tuple[Release, ...]:
        """Every version that is published, withdrawn ones too. PublishError as `current`."""
        return tuple(_release(target) for target in self.current().targets.signed.targets.values())

    def find(self, name: str, version: str) -> Release | None:
        """A published version."""
        target = self.current().targets.signed.targets.get(target_path(name, version))
        return None if target is None else _release(target)

    def current(self) -> Current:
        """The metadata that clients see now, whether or not it has expired. PublishError names the file that does not hold."""
        root = self._root()
        timestamp = self._load(Timestamp, 0)
        self._prove(root.signed, timestamp)
        snapshot = self._load(Snapshot, timestamp.signed.snapshot_meta.version)
        self._prove(root.signed, snapshot)
        targets = self._load(Targets, snapshot.signed.meta["targets.json"].version)
        self._prove(root.signed, targets)
        return Current(root, timestamp, snapshot, targets)

    @contextmanager
    def written(self) -> Iterator[None]:
        """A context in which nobody else writes to it; what a killed writer left half-written is gone. OutputError as `writing`."""
        with writing(self.folder):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    print(f"edge-fleet: waiting for another edge-fleet, which writes to {self.folder}", file=sys.stderr, flush=True)
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                for pattern in ("metadata/*.part", "targets/*/*/*.part", "blobs/sha256/*.part"):
                    for part in self.folder.glob(pattern):
                        part.unlink()
                yield
            finally:
                os.close(descriptor)

    def _root(self) -> Metadata[Root]:
        root = self._load(Root, 1)
        self._prove(root.signed, root)
        for version in range(2, self.layout.newest(Root.type) + 1):
            newer = self._load(Root, version)
            self._prove(root.signed, newer)
            self._prove(newer.signed, newer)
            root = newer
        return root

    def _load(self, kind: type[T], version: int) -> Metadata[T]:
        path = self.layout.role(kind.type, version)
        try:
            loaded = Metadata[T].from_bytes(path.read_bytes())
        except OSError as error:
            raise PublishError(f"{path}: {error.strerror}; bring it back from a copy of the repository") from None
        except DeserializationError:
            raise PublishError(f"{path}: no TUF metadata; bring it back from a copy of the repository") from None
        if not isinstance(loaded.signed, kind) or (version and loaded.signed.version != version):
            raise PublishError(f"{path}: it holds {loaded.signed.type} {loaded.signed.version}; bring it back from a copy")
        return loaded

    def _prove(self, root: Root, metadata: Metadata[T]) -> None:
        role = metadata.signed.type
        try:
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            path = self.layout.role(role, metadata.signed.version)
            raise PublishError(f"{path}: {error}, as root {root.version} asks; bring it back from a copy") from None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Where a write fails, an OutputError that says where and why."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or place}: it cannot be written: {error.strerror}") from None


def _release(target: TargetFile) -> Release:
    name, version, _ = target.path.split("/")
    return Release(name, version, target.hashes["sha256"], target.length, (target.custom or {}).get("withdrawn"))
