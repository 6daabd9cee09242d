"""What a repository of bundles proves."""

from msgspec import Struct


class Release(Struct, frozen=True):
    """A published version. digest: sha256 of its manifest, hex; length: the manifest's, in bytes. withdrawn: why, or None."""

    name: str
    version: str
    digest: str
    length: int
    withdrawn: str | None = None
