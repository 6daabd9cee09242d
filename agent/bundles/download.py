"""Fetches one file: resumable, of a known length and SHA-256, on disk before it has its name.

`NAME.part` is what is there of it, `NAME.part.etag` what the server called that.
"""

import os
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

from agent.bundles.digest import file_sha256
from agent.bundles.http import HTTPS_ALONE, USUAL_LIMITS, Cancelled, FetchLimits, receive
from agent.durable import sync_folder
from agent.errors import BundleError

SYNC_BYTES = 8 << 20  # at most so much is lost in a power cut

Progress = Callable[[int], None]


def download(
    url: str,
    path: Path,
    length: int,
    sha256: str,
    progress: Progress,
    limits: FetchLimits = USUAL_LIMITS,
    cancelled: Cancelled = lambda: False,
    schemes: Collection[str] = HTTPS_ALONE,
    part: Path | None = None,
) -> None:
    """Fetch what is at `url`, `length` bytes with that SHA-256 (hex), to `path`. What an earlier call left there or in `part`,
    `path`.part unless it is said, is used; where that turns out to be wrong, all of it is fetched anew.

    progress: called with the number of bytes that are there; what it raises ends the download. Raises DownloadError where a later
    try may succeed, and will go on where this one ended; BundleError where the server has another file; OSError where `path`
    cannot be written.
    """
    if path.is_file() and file_sha256(path) == sha256:
        return
    part = part or part_of(path)
    etag = part.with_name(f"{part.name}.etag")
    while True:
        resumed = _complete(url, part, etag, length, progress, limits, cancelled, schemes)
        found = settle(part, path, sha256)
        etag.unlink(missing_ok=True)
        if found == sha256:
            return
        if not resumed:
            raise BundleError(f"{url}: it is not the file that was expected: its sha256 is {found}, not {sha256}")


def part_of(path: Path) -> Path:
    """Where a file is until all of it is there."""
    return path.with_name(f"{path.name}.part")


def sync_file(file: IO[bytes]) -> None:
    """Make what was written survive a power cut, and be read from the disk when it is read next. OSError."""
    file.flush()
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def settle(part: Path, path: Path, sha256: str) -> str:
    """Give a part that was synced its name, unless what the disk has of it is wrong: then remove it. Its SHA-256. OSError."""
    found = file_sha256(part)
    if found == sha256:
        part.replace(path)
        sync_folder(path.parent)
    else:
        part.unlink()
    return found


def _complete(
    url: str,
    part: Path,
    etag: Path,
    length: int,
    progress: Progress,
    limits: FetchLimits,
    cancelled: Cancelled,
    schemes: Collection[str],
) -> bool:
    """Fetch what the part lacks. Whether bytes of an earlier call are in it."""
    with part.open("ab") as file:
        _cut(file, min(file.tell(), length))
        resumed, synced = file.tell() > 0, file.tell()
        if file.tell() < length:
            with closing(receive(url, file.tell(), length, _known(etag), limits, cancelled, schemes)) as pieces:
                for piece in pieces:
                    if piece.at != file.tell():
                        _cut(file, piece.at)
                    if piece.at == 0:
                        resumed, synced = False, 0
                        _remember(etag, piece.etag)
                    file.write(piece.data)
                    progress(file.tell())
                    if file.tell() - synced >= SYNC_BYTES:
                        sync_file(file)
                        synced = file.tell()
        sync_file(file)
    return resumed


def _known(etag: Path) -> str | None:
    """One that a power cut damaged is none."""
    with suppress(OSError, ValueError):
        text = etag.read_text("ascii")
        return text if text.isprintable() and text.startswith('"') else None
    return None


def _remember(etag: Path, value: str | None) -> None:
    if value is None:
        etag.unlink(missing_ok=True)
    else:
        etag.write_text(value, "ascii")


def _cut(file: IO[bytes], size: int) -> None:
    file.truncate(size)
    file.seek(size)
