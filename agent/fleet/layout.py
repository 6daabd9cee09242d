"""Where things lie in a published repository: what a web server serves below one address, and nothing else.

    metadata/{N.root,timestamp,N.snapshot,N.targets}.json    TUF, consistent snapshots
    targets/<name>/<version>/<sha256>.manifest.json          canonical manifests, the only TUF targets
    blobs/sha256/<hex>                                       every file of every bundle

The names are TUF's: theupdateframework/specification, tuf-spec.md, "Consistent snapshots".
"""

import re
from dataclasses import dataclass
from pathlib import Path

from agent.bundles.load import STORED
from agent.errors import UsageError

MANIFEST = "manifest.json"
TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Layout:
    """Of the repository in a folder."""

    folder: Path

    @property
    def metadata(self) -> Path:
        """Its folder of signed metadata."""
        return self.folder / "metadata"

    @property
    def blobs(self) -> Path:
        """Its folder of files by hash."""
        return self.folder / "blobs" / "sha256"

    def role(self, role: str, version: int) -> Path:
        """A version of a role's metadata; the timestamp has one name for all."""
        return self.metadata / (f"{role}.json" if role == TIMESTAMP else f"{version}.{role}.json")

    def newest(self, role: str) -> int:
        """The highest version of a role that lies there, whether or not it is in force; 0 where there is none."""
        names = (path.name for path in self.metadata.glob(f"*.{role}.json"))
        return max((int(found[1]) for name in names if (found := re.fullmatch(rf"(\d+)\.{role}\.json", name))), default=0)

    def manifest(self, target: str, digest: str) -> Path:
        """A manifest, by its target path and its sha256."""
        folder, _, name = target.rpartition("/")
        return self.folder / "targets" / folder / f"{digest}.{name}"

    def blob(self, sha256: str) -> Path:
        """A file of a bundle."""
        return self.blobs / sha256


def target_path(name: str, version: str) -> str:
    """What TUF calls a release."""
    return f"{name}/{version}/{MANIFEST}"


def name_and_version(release: str) -> tuple[str, str]:
    """Of NAME@VERSION, as people write it. UsageError where it is not that."""
    found = STORED.fullmatch(release)
    if found is None:
        raise UsageError(f"{release}: expected NAME@VERSION, such as people@1.3.0")
    return found[1], found[2]
