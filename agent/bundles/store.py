"""The bundles that a device has, by the hashes of what they are made of.

blobs/sha256/HEX          the content of a file, whole and checked; two bundles may share it
manifests/HEX.ORIGIN.json a bundle's canonical manifest, whose hash is the bundle's digest, and where it came from
partial/HEX.part          what is there of a blob
views/HEX/                a bundle's files under its own names: links, made when it is opened, since formats look at names

A manifest is written before its blobs are fetched, so that what is on its way has a name. Nothing has its name before it is synced.
"""

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from agent import durable
from agent.bundles.content import format_of
from agent.bundles.digest import digest, file_sha256
from agent.bundles.disk import check_room, storage_errors
from agent.bundles.download import download, part_of, settle, sync_file
from agent.bundles.external_data import external_data, part_of_bundle
from agent.bundles.http import HTTP_TOO, USUAL_LIMITS, Cancelled, FetchLimits, receive
from agent.bundles.load import MANIFEST, METADATA, Bundle, bundles_of, manifest_bytes, read_directory
from agent.bundles.published import MAX_BYTES, Blob, Published, read_files, read_published
from agent.errors import BundleError, DownloadError

__all__ = ["Blob", "Origin", "Store", "StoredBundle"]

Origin = Literal["repository", "factory", "sideload"]
ORIGINS = get_args(Origin)  # what is proven comes first
COPY_BYTES = 1 << 20
LOOK_S = 0.2


class StoredBundle(Struct, frozen=True):
    """A bundle whose manifest is here. complete: its files are, too."""

    name: str
    version: str
    digest: str
    origin: Origin
    complete: bool


class Store:
    """All of it may be called from several threads, of one process alone.

    reserve_bytes: of the disk, kept free. read_only: for who looks into a daemon's store: what is opened is then seen through a
    temporary folder, and what is damaged stays.
    """

    def __init__(self, folder: Path, reserve_bytes: int, *, read_only: bool = False) -> None:
        self._folder = folder.absolute()
        self._reserve_bytes = reserve_bytes
        self._read_only = read_only
        folder = self._folder
        self._blobs = folder / "blobs" / "sha256"
        self._manifests = folder / "manifests"
        self._partial = folder / "partial"
        self._views = folder / "views"
        self._temporary: Path | None = None
        self._lock = threading.Condition()
        self._fetching: set[str] = set()

    def bundles(self) -> tuple[StoredBundle, ...]:
        """All, whole or not; of several with one name and version the most trusted first. StorageError."""
        with storage_errors(self._manifests):
            stored = [self._stored(sha256, origin) for sha256, origin in self._listed().items()]
        known = [bundle for bundle in stored if bundle is not None]
        return tuple(sorted(known, key=lambda b: (b.name, b.version, ORIGINS.index(b.origin), not b.complete, b.digest)))

    def find(self, name: str, version: str) -> StoredBundle | None:
        """The first of that name and version. StorageError."""
        return next((bundle for bundle in self.bundles() if (bundle.name, bundle.version) == (name, version)), None)

    def add_manifest(self, data: bytes, digest: str, origin: Origin) -> tuple[Blob, ...]:
        """Take a bundle's canonical manifest in, and say what is missing of its files. BundleError, StorageError."""
        published = read_published(data, digest)
        with self._lock, storage_errors(self._folder):
            for folder in (self._manifests, self._blobs, self._partial):
                durable.make_folder(folder)
            path = self._manifests / f"{digest}.{origin}.json"
            if _read(path) != data:
                check_room(self._folder, len(data), self._reserve_bytes)
                durable.write(path, data)
        return self._missing(published)

    def missing(self, digest: str) -> tuple[Blob, ...]:
        """What is not here of a bundle's files. BundleError where its manifest is not, or is damaged; StorageError."""
        return self._missing(self._published(digest))

    def fetch(
        self,
        blob: Blob,
        url: str,
        progress: Callable[[int], None],
        limits: FetchLimits = USUAL_LIMITS,
        cancelled: Cancelled = lambda: False,
    ) -> None:
        """Fetch a file's content, going on where an earlier call ended. progress: told how many bytes are here, as they come.

        cancelled: asked often, from two threads; only connecting, of at most `limits.timeout_s`, is waited for. DownloadError where
        a later call may succeed, BundleError where the server has other content, StorageError.
        """

        def more(done: int) -> None:
            check_room(self._folder, blob.length - done, self._reserve_bytes)
            progress(done)

        with self._alone(blob.sha256, url, cancelled), storage_errors(self._folder):
            durable.make_folder(self._blobs)
            durable.make_folder(self._partial)
            path, part = self._blobs / blob.sha256, self._part(blob)
            if _size(path) != blob.length:
                check_room(self._folder, blob.length - max(_size(part), 0), self._reserve_bytes)
            download(url, path, blob.length, blob.sha256, more, limits, cancelled, HTTP_TOO, part)

    def fetch_bytes(
        self,
        url: str,
        length: int,
        sha256: str,
        limits: FetchLimits = USUAL_LIMITS,
        cancelled: Cancelled = lambda: False,
    ) -> bytes:
        """A manifest, whose length and hash were proven. DownloadError, BundleError."""
        if length > MAX_BYTES:
            raise BundleError(f"{url}: {length} bytes, more than the {MAX_BYTES} of any manifest")
        data = b"".join(piece.data for piece in receive(url, 0, length, None, limits, cancelled, HTTP_TOO))
        if (found := digest(data)) != sha256:
            raise BundleError(f"{url}: it is not the file that was expected: its sha256 is {found}, not {sha256}")
        return data

    def import_directory(self, path: Path, origin: Origin) -> StoredBundle:
        """Copy a bundle's directory. BundleError where it is none that can be published, StorageError."""
        place = path / MANIFEST
        directory = read_directory(place)
        data = manifest_bytes(place, directory.data, directory.files)
        sha256 = digest(data)
        missing = {blob.sha256 for blob in self.add_manifest(data, sha256, origin)}
        for name, blob in self._published(sha256).files.items():
            if blob.sha256 in missing:
                self._copy(directory.files[name], blob)
        self.open(sha256)
        return StoredBundle(directory.manifest.name, directory.manifest.version, sha256, origin, complete=True)

    def open(self, digest: str) -> tuple[Bundle, ...]:
        """A Bundle a variant, best first. BundleError where files are missing, damaged or of no use together; StorageError."""
        published = self._published(digest)
        self._verify(published)
        with storage_errors(self._folder):
            files = self._view(published)
        _check_parts(published, files)
        return bundles_of(published.manifest, digest, files, Path(published.title))

    def verify(self, digest: str) -> None:
        """Read all files again. BundleError names those that are missing or damaged; the latter are removed, to be fetched anew."""
        self._verify(self._published(digest))

    def collect(self, keep: Collection[str]) -> int:
        """Remove every bundle whose digest is not in `keep`, and what then belongs to none; how many bytes that gave. StorageError.

        What is being fetched stays, and every blob does while a manifest that is kept cannot be read.
        """
        with self._lock, storage_errors(self._folder):
            freed = sum(_remove(path) for path in _entries(self._manifests) if path.name.partition(".")[0] not in keep)
            durable.sync_folder(self._manifests)
            for view in _entries(self._views):
                if view.name not in keep:
                    shutil.rmtree(view, ignore_errors=True)
            try:
                named = {blob.sha256 for sha256 in self._listed() for blob in read_files(self._manifest(sha256), sha256).values()}
            except BundleError:
                return freed
            named |= self._fetching
            for path in (*_entries(self._partial), *_entries(self._blobs)):
                if path.name.partition(".")[0] not in named:
                    freed += _remove(path)
            return freed

    def _listed(self) -> dict[str, Origin]:
        """The digest of each manifest, and the most trusted of its origins."""
        listed: dict[str, Origin] = {}
        names = [path.name.split(".") for path in _entries(self._manifests)]
        for origin in reversed(ORIGINS):
            listed |= {name[0]: origin for name in names if name[1:] == [origin, "json"]}
        return listed

    def _stored(self, sha256: str, origin: Origin) -> StoredBundle | None:
        """None where its manifest was damaged."""
        try:
            published = self._published(sha256)
        except BundleError:
            return None
        complete = not self._missing(published)
        return StoredBundle(published.manifest.name, published.manifest.version, sha256, origin, complete)

    def _published(self, sha256: str) -> Published:
        return read_published(self._manifest(sha256), sha256)

    def _manifest(self, sha256: str) -> bytes:
        """Of several copies one that is intact, if there is any."""
        with storage_errors(self._manifests):
            found = [data for origin in ORIGINS if (data := _read(self._manifests / f"{sha256}.{origin}.json")) is not None]
        if not found:
            raise BundleError(f"{self._folder}: it has no bundle with the digest {sha256}")
        return next((data for data in found if digest(data) == sha256), found[0])

    def _missing(self, published: Published) -> tuple[Blob, ...]:
        with storage_errors(self._blobs):
            return tuple(blob for blob in published.blobs if _size(self._blobs / blob.sha256) != blob.length)

    def _verify(self, published: Published) -> None:
        missing = {blob.sha256 for blob in self._missing(published)}
        wrong: list[str] = []
        with storage_errors(self._blobs):
            damaged = {b.sha256 for b in published.blobs if b.sha256 not in missing and self._damaged(b)}
        for name, blob in published.files.items():
            if blob.sha256 in missing | damaged:
                what = "is not here yet" if blob.sha256 in missing else "is damaged on this disk"
                wrong.append(f"{published.title}: {name} {what}; install it again")
        if wrong:
            raise BundleError("\n".join(wrong))

    def _damaged(self, blob: Blob) -> bool:
        path = self._blobs / blob.sha256
        if file_sha256(path) == blob.sha256:
            return False
        if not self._read_only:
            with suppress(OSError):  # on a read-only disk it is refused all the same
                path.unlink()
        return True

    def _part(self, blob: Blob) -> Path:
        return part_of(self._partial / blob.sha256)

    def _copy(self, source: Path, blob: Blob) -> None:
        path = self._blobs / blob.sha256
        part = self._part(blob)
        with self._alone(blob.sha256, str(source), lambda: False), storage_errors(self._folder):
            check_room(self._folder, blob.length, self._reserve_bytes)
            with source.open("rb") as from_, part.open("wb") as to:
                while data := from_.read(COPY_BYTES):
                    to.write(data)
                    check_room(self._folder, 0, self._reserve_bytes)
                sync_file(to)
            if settle(part, path, blob.sha256) != blob.sha256:
                raise BundleError(f"{source}: it changed while it was copied; try again")

    @contextmanager
    def _alone(self, sha256: str, place: str, cancelled: Cancelled) -> Iterator[None]:
        """Two slots may want the same blob: the second waits for the first, and then finds it."""
        with self._lock:
            while sha256 in self._fetching:
                self._lock.wait(LOOK_S)
                if cancelled():
                    raise DownloadError(f"{place}: given up, it is no longer wanted")
            self._fetching.add(sha256)
        try:
            yield
        finally:
            with self._lock:
                self._fetching.remove(sha256)
                self._lock.notify_all()

    def _view(self, published: Published) -> dict[str, Path]:
        """The bundle's files by its own names, in a folder of its own; in a temporary one where the store cannot be written."""
        with self._lock:
            if not self._read_only:
                with suppress(OSError):
                    return self._linked(self._views / published.digest, published)
            if self._temporary is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="edge-agent-"))
                atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)
            return self._linked(self._temporary / published.digest, published)

    def _linked(self, view: Path, published: Published) -> dict[str, Path]:
        files = {name: view / name for name in published.files}
        for name, path in files.items():
            target = self._blobs / published.files[name].sha256
            with suppress(OSError):
                if path.readlink() == target:
                    continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        return files


def _check_parts(published: Published, files: dict[str, Path]) -> None:
    """Whether the files are those that the bundle and its models name, now that these can be read."""
    manifest = published.manifest
    named = set(manifest.files())
    for model in manifest.models():
        kind = format_of(files[model])
        if kind == "openvino":
            named.add(str(Path(model).with_name(METADATA)))
        elif kind == "onnx":
            for location in external_data(files[model]):
                part = part_of_bundle(model, location)
                if part not in files:
                    raise BundleError(f"{published.title}: {model} keeps numbers in {part}, which is no file of the bundle")
                named.add(part)
    if unnamed := sorted(files.keys() - named):
        raise BundleError(f"{published.title}: {', '.join(unnamed)}: nothing in the bundle names it")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    """In bytes; -1 where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size
