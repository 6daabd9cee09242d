"""Fetches one file over HTTPS: resumable, of a known length and SHA-256, on disk before it has its name."""

import hashlib
import http.client
import os
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from agent import __version__
from agent.durable import sync_folder
from agent.errors import BundleError, DownloadError

TIMEOUT_S = 30.0  # of connecting, and of each wait for more
CHUNK_BYTES = 64 * 1024
HTTPS = "https://"
REDIRECTIONS = (301, 302, 303, 307, 308)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")  # RFC 9110, section 14.4

Progress = Callable[[int], None]


def download(url: str, path: Path, size: int, sha256: str, progress: Progress, timeout_s: float = TIMEOUT_S) -> None:
    """Fetch what is at `url`, `size` bytes with that SHA-256 (hex), to `path`. What an earlier call left there or in
    `path`.part is used.

    progress: called with the number of bytes that are there. Raises DownloadError where a later try may succeed, and will go on
    where this one ended; BundleError where the server has another file; OSError where `path` cannot be written.
    """
    if path.is_file() and _sha256(path) == sha256:
        return
    part = path.with_name(f"{path.name}.part")
    with part.open("ab") as file:
        _cut(file, min(file.tell(), size))
        resumed = file.tell() > 0
        if file.tell() < size:
            for at, data in _receive(url, file.tell(), size, timeout_s):
                if at != file.tell():
                    _cut(file, at)
                    resumed = False
                file.write(data)
                progress(file.tell())
        file.flush()
        os.fsync(file.fileno())
    found = _sha256(part)
    if found != sha256:
        part.unlink()
        if resumed:
            raise DownloadError(f"{url}: what an earlier try left does not fit to it, and is removed; try again")
        raise BundleError(f"{url}: it is not the file that was expected: its sha256 is {found}, not {sha256}")
    part.rename(path)
    sync_folder(path.parent)


def _receive(url: str, at: int, size: int, timeout_s: float) -> Iterator[tuple[int, bytes]]:
    """The file from byte `at` on, or from byte 0 where the server does not do that: where each piece begins, and the piece."""
    try:
        with _open(url, at, timeout_s) as response:
            at = _start(url, response, at, size)
            while data := response.read1(CHUNK_BYTES):
                if at + len(data) > size:
                    raise BundleError(f"{url}: it has more than {size} bytes: not the file that was expected")
                yield at, data
                at += len(data)
    except HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise BundleError(f"{url}: it has no more than {at} bytes: not the file that was expected") from None
        raise DownloadError(f"{url}: {_status(error)}") from None
    except URLError as error:
        raise DownloadError(f"{url}: {_reason(error.reason)}") from None
    except TimeoutError:
        raise DownloadError(f"{url}: nothing came for {timeout_s:g} s; {_rest(at, size)}") from None
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise DownloadError(f"{url}: {_reason(error)}; {_rest(at, size)}") from None
    if at < size:
        raise DownloadError(f"{url}: the connection ended too early; {_rest(at, size)}")


def _open(url: str, start: int, timeout_s: float) -> http.client.HTTPResponse:
    _refuse_plain(url)
    headers = {"User-Agent": f"edge-agent/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener: OpenerDirector = build_opener(HTTPSHandler(context=ssl.create_default_context()), _HttpsAlone())
    response: http.client.HTTPResponse = opener.open(Request(url, headers=headers), timeout=timeout_s)  # noqa: S310  https, see above
    return response


class _HttpsAlone(HTTPRedirectHandler):
    """Follows a redirection to https only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        """See urllib."""
        _refuse_plain(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_plain(url: str) -> None:
    if not url.lower().startswith(HTTPS):
        raise DownloadError(f"{url}: only {HTTPS} is followed")


def _start(url: str, response: http.client.HTTPResponse, wanted: int, size: int) -> int:
    """The byte at which a response begins: the one that was asked for, or 0. Refuses what cannot be the file, or the part of it."""
    start = 0
    if response.status == http.client.PARTIAL_CONTENT:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start = int(found[1]) if found else -1
        if start != wanted:
            raise DownloadError(f"{url}: the server sends another part than was asked for")
    length = response.headers.get("Content-Length")
    if length is not None and start + int(length) != size:
        raise BundleError(f"{url}: it has {start + int(length)} bytes, not {size}: not the file that was expected")
    return start


def _status(error: HTTPError) -> str:
    if error.code in REDIRECTIONS:
        return "the server redirects in a ring, or to nothing that can be followed"
    what = f"the server answers {error.code} {error.reason}".rstrip()
    return f"{what}; is the address still right?" if error.code in (404, 410) else what


def _reason(reason: object) -> str:
    """What went wrong, in one line, without Python's decoration."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return "no answer"
    text = (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__
    return " ".join(text.split())


def _rest(at: int, size: int) -> str:
    return f"{at} of {size} bytes are here, and the next try goes on from there"


def _cut(file: IO[bytes], size: int) -> None:
    file.truncate(size)
    file.seek(size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
