"""The TUF client: python-tuf's, with signed time beside the clock, and metadata on disk that a power cut leaves whole.

Imported where TUF runs, which is never the agent's own process. Workflow: the TUF specification, section 5, as python-tuf's
tuf/ngclient/updater.py and tuf/ngclient/_internal/trusted_metadata_set.py have it.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from agent import durable
from agent.bundles.trust import Listing, release

SIGNED_AT = "x-signed-at"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FLOOR = "floor"  # the timestamp metadata with the highest signed time: as evidence, so that it falls with the key that signed it


class Client(Updater):
    """Trusts `root` and what it proves. A `refresh` can be done once, see tuf.ngclient.Updater for it and the errors it raises.

    Overrides two steps of python-tuf 7; the tests of signed time and of a full disk fail with a version that has others.
    """

    def __init__(self, folder: Path, url: str, root: bytes, fetcher: FetcherInterface, now: datetime) -> None:
        """folder: of the metadata, created. url: of the remote ones. now: the time, by the device's clock, aware."""
        durable.make_folder(folder)
        self._floor_path = folder / FLOOR
        self._now = now
        super().__init__(str(folder), url, fetcher=fetcher, bootstrap=root)

    def refresh(self) -> None:
        """As python-tuf's; what it proves of the time outlives it."""
        super().refresh()
        timestamp = self._trusted_set.timestamp
        proven, floor = signed_time(timestamp), self._floor()
        if proven and (floor is None or proven > floor):
            durable.write(self._floor_path, self._load_local_metadata(Timestamp.type))

    def listing(self) -> Listing:
        """The releases among the top-level targets, after a refresh; other targets are ignored."""
        targets = self._trusted_set.targets.targets.values()
        found = (release(t.path, t.length, t.hashes.get("sha256"), t.custom) for t in targets)
        proven = signed_time(self._trusted_set.timestamp)
        releases = tuple(sorted((r for r in found if r), key=lambda r: (r.name, r.version)))
        return Listing(releases, proven.strftime("%Y-%m-%dT%H:%M:%SZ") if proven else None)

    def fetch(self, path: str, base_url: str, folder: Path) -> Path | None:
        """A target's file in `folder`, fetched unless it is there and right; None where there is no such target.

        Its name there is its path, quoted. Nothing but whole, proven files have such names.
        """
        target = self.get_targetinfo(path)
        if target is None:
            return None
        file = folder / quote(path, safe="")
        if not self.find_cached_target(target, str(file)):
            part = file.with_name(f"{file.name}.part")
            try:
                self.download_target(target, str(part), base_url)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)
        return file

    def _load_timestamp(self) -> None:
        """As python-tuf's, once the last root is known: reference time is the clock's, but never before signed time."""
        self._trusted_set.reference_time = max(self._now, self._floor() or self._now)
        super()._load_timestamp()
        proven = signed_time(self._trusted_set.timestamp)
        if proven and proven > self._trusted_set.reference_time:
            self._trusted_set.reference_time = proven

    def _floor(self) -> datetime | None:
        """The highest signed time that was proven, as long as the root's keys still prove it."""
        with suppress(OSError, RepositoryError):
            evidence = Metadata[Timestamp].from_bytes(self._floor_path.read_bytes())
            self._trusted_set.root.verify_delegate(Timestamp.type, evidence.signed_bytes, evidence.signatures)
            return signed_time(evidence.signed)
        return None

    def _persist_file(self, filename: str, data: bytes) -> None:
        """As python-tuf's, but on disk before it has its name, and not written where it is there."""
        path = Path(filename)
        with suppress(OSError):
            if path.read_bytes() == data:
                return
        durable.write(path, data)


def signed_time(timestamp: Timestamp) -> datetime | None:
    """What `x-signed-at` says, where it is there and a time."""
    text = timestamp.unrecognized_fields.get(SIGNED_AT)
    if isinstance(text, str) and RFC3339.fullmatch(text):
        with suppress(ValueError):
            return datetime.fromisoformat(text).astimezone(UTC)
    return None
