"""What a repository of bundles publishes, proven by TUF.

TUF itself runs in a short-lived child, `agent.bundles.trust_child`: nothing of it stays in the agent's memory, and what it reads
from the network can neither crash nor hang the agent. Layout of a repository, and what is believed: docs/trust.md.
"""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from agent import durable
from agent.bundles.disk import storage_errors
from agent.bundles.http import FetchLimits
from agent.checked import Name, Version
from agent.errors import DownloadError, StorageError, TrustError

POLL_S = 0.1  # how soon a wish to cancel is noticed
LIMITS = FetchLimits(total_s=300.0)
START_S = 60.0  # for the child to start, and to check what it fetches
CHILD = (sys.executable, "-P", "-m", "agent.bundles.trust_child")
TARGET = re.compile(r"([^/\s]+)/([^/\s]+)/manifest\.json")

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Precedence = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


class Release(Struct, frozen=True):
    """A published bundle. digest, length: SHA-256 (hex) and bytes of its canonical manifest. withdrawn: why, where it is."""

    name: Name
    version: Version
    digest: Sha256
    length: Annotated[int, Meta(ge=1)]
    withdrawn: str | None = None


class Listing(Struct, frozen=True):
    """All releases, by name and version. signed_at: when the repository last vouched for it, RFC 3339, where it says so."""

    releases: tuple[Release, ...]
    signed_at: str | None = None

    def find(self, name: str, version: str) -> Release | None:
        """That release, withdrawn or not."""
        return next((r for r in self.releases if (r.name, r.version) == (name, version)), None)

    def newest(self, names: Collection[str]) -> Release | None:
        """Of these names, the highest version that is not withdrawn."""
        able = [r for r in self.releases if r.name in names and r.withdrawn is None]
        return max(able, key=lambda r: precedence(r.version), default=None)


def precedence(version: str) -> Precedence:
    """What semantic versions are compared by (semver.org 2.0.0, section 11): 1.0.0-rc.1 is before 1.0.0."""
    core, _, pre = version.partition("-")
    parts = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in pre.split(".") if part)
    return tuple(int(number) for number in core.split(".")), not pre, parts


def release(path: str, length: int, sha256: str | None, custom: object) -> Release | None:
    """The release that a TUF target stands for, or None where it is none.

    path: `<name>/<version>/manifest.json`. custom: the target's own data, `{"withdrawn": reason}` where it is withdrawn.
    """
    found = TARGET.fullmatch(path)
    withdrawn = custom["withdrawn"] if isinstance(custom, dict) and "withdrawn" in custom else None
    if not found:
        return None
    fields = {"name": found[1], "version": found[2], "digest": sha256, "length": length}
    try:
        return msgspec.convert({**fields, "withdrawn": None if withdrawn is None else _line(str(withdrawn))}, Release)
    except msgspec.ValidationError:
        return None


class Request(Struct, frozen=True):
    """What the child is to do. root: the root metadata that are trusted. now: the time, by the device's clock. limits: of the rate
    each file's own, of the time for all together.
    """

    metadata_url: str
    folder: str
    root: bytes
    now: datetime
    limits: FetchLimits


class Failure(Struct, frozen=True):
    """Why it could not be done."""

    kind: Literal["untrusted", "expired", "network", "too_slow", "disk_full", "disk_error"]
    message: str


class Answer(Struct, frozen=True):
    """One of the two."""

    listing: Listing | None = None
    failure: Failure | None = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Repository:
    """The repository that a device trusts; one a device. Its methods may be called from any thread."""

    def __init__(
        self,
        url: str,
        root: Path,
        folder: Path,
        *,
        clock_synced: Callable[[], bool],
        clock: Callable[[], datetime] = _utc_now,
        limits: FetchLimits = LIMITS,
        start_s: float = START_S,
    ) -> None:
        """url: of the published folder, http or https. root: the file with the root metadata that are trusted first.

        folder: for what is known of repositories, one below it for each pair of url and root, so that nothing is believed of one
        because another said so. clock_synced: whether the clock was set from the network; clock: the time, aware.
        """
        self._url = url.rstrip("/")
        self._root = root
        self._folder = folder
        self._clock_synced = clock_synced
        self._clock = clock
        self._limits = limits
        self._limit_s = limits.total_s + start_s
        self._refreshing = threading.Lock()

    def refresh(self, cancelled: Callable[[], bool] = lambda: False) -> Listing:
        """Fetch and prove what is published now. Waits where another thread does so already.

        Raises TrustError where it is not proven, DownloadError where it cannot be fetched or is cancelled, StorageError where the
        disk cannot be written.
        """
        root = self._trusted_root()
        folder = self._own_folder(root)
        while not self._refreshing.acquire(timeout=POLL_S):
            self._heed(cancelled)
        try:
            request = Request(f"{self._url}/metadata", str(folder / "metadata"), root, self._clock(), self._limits)
            listing = self._told(self._ask(msgspec.json.encode(request), cancelled))
            with storage_errors(folder):
                durable.write(folder / "listing.json", msgspec.json.encode(listing))
        finally:
            self._refreshing.release()
        return listing

    def known(self) -> Listing | None:
        """What the last refresh proved, from disk; None where there was none, or nothing readable is left of it."""
        try:
            data = (self._own_folder(self._trusted_root()) / "listing.json").read_bytes()
            return msgspec.json.decode(data, type=Listing)
        except (OSError, TrustError, msgspec.DecodeError):
            return None

    def manifest_url(self, release: Release) -> str:
        """Where a release's manifest is; what comes from there has its length and digest, or is not it."""
        return f"{self._url}/targets/{release.name}/{release.version}/{release.digest}.manifest.json"

    def blob_url(self, sha256: str) -> str:
        """Where a bundle's file is."""
        return f"{self._url}/blobs/sha256/{sha256}"

    def _trusted_root(self) -> bytes:
        try:
            return self._root.read_bytes()
        except OSError as error:
            raise TrustError(
                f"{self._root}: the trusted root cannot be read: {error.strerror}; copy the repository's root.json there",
                "untrusted",
            ) from None

    def _own_folder(self, root: bytes) -> Path:
        return self._folder / hashlib.sha256(self._url.encode() + b"\n" + root).hexdigest()[:16]

    def _ask(self, request: bytes, cancelled: Callable[[], bool]) -> Answer:
        pipe = subprocess.PIPE
        try:
            child = subprocess.Popen(  # noqa: S603  ours
                [*CHILD, str(os.getpid())],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,  # Ctrl-C at the agent's terminal is for the agent alone
            )
        except OSError as error:  # no memory, too many processes
            raise DownloadError(f"{self._url}: the check of its metadata cannot be started: {error.strerror}") from None
        with child:
            try:
                output, said = self._wait(child, request, cancelled)
            finally:
                child.kill()
        try:
            return msgspec.json.decode(output, type=Answer)
        except msgspec.DecodeError:
            last = _line(said.decode(errors="replace").strip().rpartition("\n")[2])
            raise TrustError(
                f"{self._url}: the check of its metadata ended with status {child.returncode}: {last or 'nothing was said'}",
                "untrusted",
            ) from None

    def _wait(self, child: subprocess.Popen[bytes], request: bytes, cancelled: Callable[[], bool]) -> tuple[bytes, bytes]:
        """What it says on stdout and stderr until it ends."""
        ends = time.monotonic() + self._limit_s
        unsent: bytes | None = request
        while True:
            try:
                return child.communicate(unsent, timeout=POLL_S)
            except subprocess.TimeoutExpired:
                unsent = None  # the next call goes on with this one's
            self._heed(cancelled)
            if time.monotonic() > ends:
                raise DownloadError(f"{self._url}: its metadata were not here after {self._limit_s:g} s", "too_slow")

    def _heed(self, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise DownloadError(f"{self._url}: the check for new bundles was cancelled")

    def _told(self, answer: Answer) -> Listing:
        if answer.listing:
            return answer.listing
        failure = answer.failure or Failure("untrusted", "no answer")
        message = f"{self._url}: {_line(failure.message)}"
        match failure.kind:
            case "untrusted":
                raise TrustError(f"{message}; nothing of it is believed", failure.kind)
            case "expired" if self._clock_synced():
                raise TrustError(f"{message}; whoever publishes it has to sign it anew: edge-fleet refresh", "metadata_expired")
            case "expired":
                raise TrustError(f"{message}, by a clock that was not set from the network; it is tried again when it was", "clock")
            case "network" | "too_slow":
                raise DownloadError(message, failure.kind)
            case "disk_full" | "disk_error":
                raise StorageError(_line(failure.message), failure.kind)
            case _:
                assert_never(failure.kind)


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
