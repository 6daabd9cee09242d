"""New versions of a repository's metadata: signed in memory, then written so that a client, or a kill, meets a whole repository at
any moment. What nothing refers to yet is written first; the timestamp, by which clients find the rest, last.
"""

from collections.abc import Collection
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, T, Targets, Timestamp

from agent import durable
from agent.errors import PublishError
from agent.fleet.keys import HeldKey, Keyring
from agent.fleet.layout import Layout
from agent.fleet.repository import Current

EXPIRY_DAYS = "x-expiry-days"  # in each role's signed part: how long its versions are good for
SIGNED_AT = "x-signed-at"
CLOCK_TOLERANCE = timedelta(hours=1)


class Edition:
    """Of the metadata in force, the next versions.

    root: the one that is to come into force with them, None where that stays. bridge: the one before it, where keys
    of the one in force cannot sign what comes.
    """

    def __init__(
        self,
        layout: Layout,
        current: Current,
        keys: Keyring,
        root: Metadata[Root] | None = None,
        bridge: Metadata[Root] | None = None,
    ) -> None:
        self._layout = layout
        self._current = current
        self._keys = keys
        self._root = root
        self._bridge = bridge
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._files: list[tuple[Path, bytes]] = []

    def write(self, *, targets: Targets | None = None, snapshot: bool = True, timestamp: bool = True) -> None:
        """Sign and write them. targets: its new content, None where it stays. timestamp: also without, only the root is written.

        Raises PublishError, before anything is written, where a key is missing or the clock is wrong, and OSError.
        """
        if self._bridge is not None:
            self._add_root(self._bridge)
        new_targets = None if targets is None else self._next(targets, Targets.type)
        if timestamp:
            self._sign_timestamp(self._sign_snapshot(new_targets) if snapshot else None)
        if self._root is not None:
            self._add_root(self._root)
        for path, data in self._files:
            durable.write(path, data)

    def _add_root(self, root: Metadata[Root]) -> None:
        self._files.append((self._layout.role(Root.type, root.signed.version), root.to_bytes()))

    def _sign_snapshot(self, targets: MetaFile | None) -> MetaFile:
        content = deepcopy(self._current.snapshot.signed)
        if targets is not None:
            content.meta["targets.json"] = targets
        return self._next(content, Snapshot.type)

    def _sign_timestamp(self, snapshot: MetaFile | None) -> None:
        content = deepcopy(self._current.timestamp.signed)
        if snapshot is not None:
            content.snapshot_meta = snapshot
        signed_at = content.unrecognized_fields.get(SIGNED_AT)
        if signed_at and datetime.fromisoformat(signed_at) - self._now > CLOCK_TOLERANCE:
            raise PublishError(
                f"the clock of this computer says {stamp(self._now)}, but the timestamp was signed at {signed_at}; set it"
            )
        content.unrecognized_fields[SIGNED_AT] = max(stamp(self._now), signed_at or "")
        self._next(content, Timestamp.type)

    def _next(self, content: T, role: str) -> MetaFile:
        """Sign a role's next version; what refers to it needs the answer."""
        content.version = 1 + max(content.version, self._layout.newest(role))  # files that a killed writer left are not overwritten
        renew(content, self._now)
        data = sign(content, self._signers(role)).to_bytes()
        self._files.append((self._layout.role(role, content.version), data))
        return MetaFile.from_data(content.version, data, ["sha256"])

    def _signers(self, role: str) -> list[HeldKey]:
        """Where a root is to come, of both: clients may meet either one with what is signed here."""
        before = self._current.root.signed
        if self._root is None:
            return self._keys.of(role, before)
        trusted = [keyid for keyid in before.roles[role].keyids if keyid not in self._root.signed.roles[role].keyids]
        return self._keys.of(role, self._root.signed) + [key for key in self._keys.held(role) if key.id in trusted]


def stamp(at: datetime) -> str:
    """RFC 3339, whole seconds, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def renew(content: Signed, now: datetime) -> None:
    """Let it expire as long from now as its role has been given."""
    content.expires = now + timedelta(days=content.unrecognized_fields[EXPIRY_DAYS])


def sign(content: T, keys: Collection[HeldKey]) -> Metadata[T]:
    """Metadata signed by each of the keys."""
    metadata = Metadata(content)
    for key in keys:
        metadata.sign(key.signer, append=True)
    return metadata
