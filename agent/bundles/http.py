"""Asks an HTTP server for a file or the rest of it: bounded in length, time and rate, and given up when it is no longer wanted."""

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from types import TracebackType
from typing import IO, NamedTuple, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from agent import __version__
from agent.errors import BundleError, DownloadError

HEADERS = {"User-Agent": f"edge-agent/{__version__}", "Accept-Encoding": "identity"}
HTTPS_ALONE = ("https",)
HTTP_TOO = ("https", "http")  # where a hash that was proven otherwise says what must come
REDIRECTIONS = (301, 302, 303, 307, 308)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")  # RFC 9110, section 14.4
LOOK_S = 0.1

Cancelled = Callable[[], bool]


class FetchLimits(NamedTuple):
    """What a server must keep to. min_bytes_per_s: over every `window_s`. total_s: of one try, connecting and all.
    timeout_s: of connecting, and of each wait for more. chunk_bytes: that are read at once, at most.
    """

    min_bytes_per_s: float = 1000.0
    window_s: float = 30.0
    total_s: float = 6 * 3600.0
    timeout_s: float = 30.0
    chunk_bytes: int = 64 * 1024


USUAL_LIMITS = FetchLimits()


class Piece(NamedTuple):
    """Bytes of a file from byte `at` on. etag: the strong one that the server gave the file."""

    at: int
    data: bytes
    etag: str | None


def receive(
    url: str, at: int, length: int, etag: str | None, limits: FetchLimits, cancelled: Cancelled, schemes: Collection[str]
) -> Generator[Piece, None, None]:
    """A file of `length` bytes from byte `at` on; from byte 0 where the server does not do that, or has another file than `etag`.

    etag: of what is there of it already. cancelled: looked at between pieces and, from another thread, while nothing comes. Raises
    DownloadError where a later try may succeed, BundleError where the server has another file.
    """
    with _Guard(url, limits, cancelled) as guard:
        try:
            response, at = _begin(url, at, length, etag, limits, guard, schemes)
            with response:
                etag = _strong(response)
                while at < length and not guard.given_up() and (data := response.read1(limits.chunk_bytes)):
                    guard.received += len(data)
                    if at + len(data) > length:
                        raise BundleError(f"{url}: it has more than {length} bytes: not the file that was expected")
                    guard.reading = False
                    yield Piece(at, data, etag)
                    guard.reading = True
                    at += len(data)
        except HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise BundleError(f"{url}: it has no more than {at} bytes: not the file that was expected") from None
            raise DownloadError(f"{url}: {_status(error)}") from None
        except URLError as error:
            raise guard.error or DownloadError(f"{url}: {reason(error.reason)}") from None
        except TimeoutError:
            raise DownloadError(f"{url}: nothing came for {limits.timeout_s:g} s; {_rest(at, length)}") from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise guard.error or DownloadError(f"{url}: {reason(error)}; {_rest(at, length)}") from None
        if at < length:
            raise guard.error or DownloadError(f"{url}: the connection ended too early; {_rest(at, length)}")


class _Guard:
    """Ends a request that comes too slowly or is no longer wanted, from a thread of its own: a read cannot be interrupted."""

    def __init__(self, url: str, limits: FetchLimits, cancelled: Cancelled) -> None:
        self.received = 0
        self.reading = True  # and not writing to a disk that may be slow
        self.error: DownloadError | None = None
        self._url = url
        self._limits = limits
        self._cancelled = cancelled
        self._connection: socket.socket | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="download guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def watch(self, connection: socket.socket) -> None:
        """The connection that the request is on, from before its TLS handshake."""
        before, self._connection = self._connection, connection.dup()
        if before is not None:
            before.close()

    def given_up(self) -> bool:
        """Whether `error` says why nothing more is to be read."""
        if self.error is None and self._cancelled():
            self.error = DownloadError(f"{self._url}: given up, it is no longer wanted")
        return self.error is not None

    def _run(self) -> None:
        limits, began = self._limits, time.monotonic()
        marked, before = began, 0
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            if now - began > limits.total_s:
                self._too_slow(f"not all of it came in {limits.total_s:g} s")
            elif not self.reading:
                marked, before = now, self.received
            elif now - marked >= limits.window_s:
                if self.received - before < limits.min_bytes_per_s * limits.window_s:
                    self._too_slow(f"{self.received - before} bytes in {limits.window_s:g} s are too slow")
                marked, before = now, self.received
            if self.given_up() and self._connection is not None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _too_slow(self, why: str) -> None:
        self.error = self.error or DownloadError(f"{self._url}: {why}; what is here is kept for the next try", "too_slow")


def _begin(
    url: str, at: int, length: int, etag: str | None, limits: FetchLimits, guard: _Guard, schemes: Collection[str]
) -> tuple[http.client.HTTPResponse, int]:
    """The answer, and the byte at which it begins."""
    response = _open(url, at, etag, limits, guard, schemes)
    if response.status == http.client.PARTIAL_CONTENT and at and etag and _strong(response) not in (None, etag):
        response.close()
        response, at = _open(url, 0, None, limits, guard, schemes), 0
    try:
        return response, _start(url, response, at, length)
    except BaseException:
        response.close()
        raise


def _open(
    url: str, at: int, etag: str | None, limits: FetchLimits, guard: _Guard, schemes: Collection[str]
) -> http.client.HTTPResponse:
    _check_scheme(url, schemes)
    headers = dict(HEADERS)
    if at:
        headers["Range"] = f"bytes={at}-"
        if etag:
            headers["If-Range"] = etag
    opener = build_opener(*_handlers(guard), _Redirects(schemes))
    response: http.client.HTTPResponse = opener.open(Request(url, headers=headers), timeout=limits.timeout_s)  # noqa: S310  see above
    return response


def _handlers(guard: _Guard) -> tuple[HTTPHandler, HTTPSHandler]:
    """urllib's, with connections that the guard can end."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            guard.watch(self.sock)

    class Secure(http.client.HTTPSConnection, Plain):
        """Its base connects before the handshake."""

    class Http(HTTPHandler):
        def http_open(self, req: Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class Https(HTTPSHandler):
        def https_open(self, req: Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req, context=ssl.create_default_context())

    return Http(), Https()


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect to the schemes that are allowed."""

    def __init__(self, schemes: Collection[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        """See urllib, which leaves the answer open where this raises."""
        try:
            _check_scheme(newurl, self._schemes)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise DownloadError(f"{url}: only {' and '.join(f'{scheme}://' for scheme in schemes)} is followed")


def _strong(response: http.client.HTTPResponse) -> str | None:
    """Its ETag, unless that is a weak one, which cannot say that bytes are equal (RFC 9110, section 8.8.1)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') and etag.isascii() and etag.isprintable() else None


def _start(url: str, response: http.client.HTTPResponse, wanted: int, length: int) -> int:
    """The byte at which a response begins: the one that was asked for, or 0. Refuses what cannot be the file, or the part of it."""
    start = 0
    if response.status == http.client.PARTIAL_CONTENT:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        start = int(found[1]) if found else -1
        if start != wanted:
            raise DownloadError(f"{url}: the server sends another part than was asked for")
    body = response.headers.get("Content-Length")
    if body is not None and start + int(body) != length:
        raise BundleError(f"{url}: it has {start + int(body)} bytes, not {length}: not the file that was expected")
    return start


def _status(error: HTTPError) -> str:
    if error.code in REDIRECTIONS:
        return "the server redirects in a ring, or to nothing that can be followed"
    what = f"the server answers {error.code} {error.reason}".rstrip()
    return f"{what}; is the address still right?" if error.code in (404, 410) else what


def reason(error: object) -> str:
    """What went wrong, in one line, without Python's decoration."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())


def _rest(at: int, length: int) -> str:
    return f"{at} of {length} bytes are here, and the next try goes on from there"
