"""The phase `downloading`: what is missing of a bundle that the repository has proven."""

from agent.bundles.http import FetchLimits
from agent.bundles.store import Store
from agent.bundles.trust import Release, Repository
from agent.errors import BundleError, DownloadError
from agent.update.journal import Journal
from agent.update.machine import Done, Failed, Tried
from agent.update.phase import Attention, Deferral, Outcome, Tools, failure, has_passed, target_of, wish_of


def download(tools: Tools, journal: Journal, attention: Attention) -> Outcome:
    """Bring all files of the target into the store. StorageError where the disk does not take them."""
    wish, target, releases = wish_of(journal), target_of(journal), tools.releases
    known = releases.repository.known() if releases else None
    release = known.find(target.name, target.version) if known else None
    if releases is None or release is None or release.digest != target.digest:
        return Failed(failure("not_found", "downloading", "the repository does not offer it any more", retryable=True))
    try:
        _fetch(releases.repository, tools.store, release, attention)
    except DownloadError as error:
        if attention.is_wanted():
            return None
        if wish.not_after is not None and has_passed(wish.not_after):
            return Failed(failure("expired", "downloading", f"it was wanted by {wish.not_after}; {error}"))
        return Deferral("network", None, failure(error.code, "downloading", error, retryable=True))
    except BundleError as error:
        return Tried(failure("hash_mismatch", "downloading", error, retryable=True))
    return Done()


def _fetch(repository: Repository, store: Store, release: Release, attention: Attention) -> None:
    limits = FetchLimits()
    stored = store.find(release.name, release.version)
    if stored is None or stored.digest != release.digest:
        url = repository.manifest_url(release)
        manifest = store.fetch_bytes(url, release.length, release.digest, limits, attention.is_wanted)
        missing = store.add_manifest(manifest, release.digest, "repository")
    else:
        missing = store.missing(release.digest)
    total, before = sum(blob.length for blob in missing), 0
    for blob in missing:
        progress = _Progress(attention, before, total)
        store.fetch(blob, repository.blob_url(blob.sha256), progress, limits, attention.is_wanted)
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
