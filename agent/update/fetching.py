"""The phase `downloading`: what is missing of a bundle that the repository has proven."""

from agent.bundles.http import FetchLimits
from agent.bundles.store import Blob, Store
from agent.bundles.trust import Release, Repository
from agent.errors import BundleError, DownloadError
from agent.update.journal import Journal
from agent.update.machine import Done, Failed
from agent.update.phase import Attention, Deferral, Outcome, Tools, failure, overdue, target_of, wish_of

LIMITS = FetchLimits()


def download(tools: Tools, journal: Journal, attention: Attention) -> Outcome:
    """Bring all files of the target into the store. StorageError where the disk does not take them, BundleError where the manifest
    is none.
    """
    wish, target, releases = wish_of(journal), target_of(journal), tools.releases
    known = releases.repository.known() if releases else None
    release = known.find(target.name, target.version) if known else None
    if releases is None or release is None or release.digest != target.digest:
        return Failed(failure("not_found", "downloading", "the repository does not offer it any more", retryable=True))
    try:
        manifest = _fetch_manifest(releases.repository, tools.store, release, attention)
        missing = tools.store.add_manifest(manifest, release.digest, "repository")
        _fetch(releases.repository, tools.store, missing, attention)
    except DownloadError as error:
        if attention.is_wanted():
            return None
        if overdue(wish, tools.computer):
            return Failed(failure("expired", "downloading", f"it was wanted by {wish.not_after}; {error}"))
        return Deferral("network", None, failure(error.code, "downloading", error, retryable=True))
    except _MismatchError as error:
        return Failed(failure("hash_mismatch", "downloading", error, retryable=True))
    return Done()


class _MismatchError(Exception):
    """The server has another file than the one that was proven."""


def _fetch_manifest(repository: Repository, store: Store, release: Release, attention: Attention) -> bytes:
    try:
        url = repository.manifest_url(release)
        return store.fetch_bytes(url, release.length, release.digest, LIMITS, attention.is_wanted)
    except BundleError as error:
        raise _MismatchError(error) from None


def _fetch(repository: Repository, store: Store, missing: tuple[Blob, ...], attention: Attention) -> None:
    total, before = sum(blob.length for blob in missing), 0
    for blob in missing:
        progress = _Progress(attention, before, total)
        try:
            store.fetch(blob, repository.blob_url(blob.sha256), progress, LIMITS, attention.is_wanted)
        except BundleError as error:
            raise _MismatchError(error) from None
        before += blob.length


class _Progress:
    """Of one file, as a part of all that is missing."""

    def __init__(self, attention: Attention, before: int, total: int) -> None:
        self._attention = attention
        self._before = before
        self._total = total
        self._received: int | None = None

    def __call__(self, received: int) -> None:
        if self._received is not None and received > self._received:
            self._attention.new_bytes()
        self._received = received
        self._attention.progress((self._before + received) / max(1, self._total))
