"""What a slot remembers of its models and deployments, and the two files that hold it.

`active.json` is the pointer: which bundle serves, and which did before. `journal.json` is how the newest deployment goes. Each is
replaced as a whole; one that is torn, or of a version that is not known, is worth nothing, and what the other says still holds.
"""

import logging
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent import durable
from agent.bundles.disk import storage_errors
from agent.publish.messages import At, Count
from agent.publish.orders import BundleRef, Digest, Phase, Rev, Swap, UpdateFailure, UpdatePolicy

log = logging.getLogger(__name__)

MAX_QUARANTINE = 64  # digests; the oldest is forgotten

Origin = Literal["factory", "store"]
Record = TypeVar("Record", bound=Struct)


class Ref(BundleRef, frozen=True, kw_only=True):
    """A bundle, and where it is opened: the slot's entry in the config, or the store."""

    origin: Origin


class Wish(Struct, frozen=True, kw_only=True):
    """Which bundle a slot is to have, and who wants that.

    rev: of an operator's desired, 0 for a wish from this computer. digest: None for whatever the repository has. source: whether a
    repository has to vouch for it now, or it is a bundle that the store or the config has already.
    """

    rev: Rev = 0
    deployment: str
    name: str
    version: str
    digest: Digest | None = None
    not_after: At | None = None
    by: str = ""
    policy: UpdatePolicy = UpdatePolicy()
    source: Literal["repository", "store", "factory"] = "repository"


class Active(Struct, frozen=True, kw_only=True):
    """What a slot serves, None before its first. factory: the `bundle:` of its config, so that a changed one is noticed."""

    v: Literal[1] = 1
    factory: str
    current: Ref | None = None
    previous: Ref | None = None


class Journal(Struct, frozen=True, kw_only=True):
    """How a slot's newest deployment goes.

    seen: sha256 of the desired with `rev_seen`. waiting: the newest wish, while a switch or a probation is under way. steps: since
    the last new byte. starts: of the agent while the target was in probation. quarantine: digests that failed here, oldest first.
    """

    v: Literal[1] = 1
    phase: Phase = "idle"
    rev_seen: Rev = 0
    seen: str = ""
    rev_applied: Rev = 0
    wish: Wish | None = None
    waiting: Wish | None = None
    target: Ref | None = None
    error: UpdateFailure | None = None
    swap: Swap | None = None
    steps: Count = 0
    starts: Count = 0
    quarantine: Annotated[tuple[Digest, ...], Meta(max_length=MAX_QUARANTINE)] = ()


class SlotFiles:
    """The two files of a slot, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def active(self) -> Active | None:
        """What serves; None where nothing is known."""
        return self._read("active.json", Active)

    def journal(self) -> Journal:
        """How things stand; a new journal where nothing is known."""
        return self._read("journal.json", Journal) or Journal()

    def write(self, record: Active | Journal) -> None:
        """Replace a file, in a way that survives a power cut. StorageError, and the old one, where the disk does not take it."""
        path = self._folder / ("active.json" if isinstance(record, Active) else "journal.json")
        with storage_errors(self._folder):
            durable.make_folder(self._folder)
            durable.write(path, msgspec.json.encode(record))

    def _read(self, name: str, kind: type[Record]) -> Record | None:
        path = self._folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be read and is set aside: %s", path, " ".join(str(error).split()))
            try:
                path.rename(path.with_suffix(".unreadable"))
            except OSError:
                log.debug("%s stays where it is", path)
            return None
