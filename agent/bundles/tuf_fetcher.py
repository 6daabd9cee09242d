"""How TUF's client fetches: over HTTP(S), with deadlines, a minimum rate, and no second try of its own."""

import http.client
import time
from collections.abc import Iterator
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from agent.bundles.http import HEADERS, FetchLimits, reason

URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"  # RFC 3986: reserved ones, and what is quoted already
HANDLERS = (
    ProxyHandler,
    UnknownHandler,
    HTTPHandler,
    HTTPSHandler,
    HTTPDefaultErrorHandler,
    HTTPRedirectHandler,
    HTTPErrorProcessor,
)


class Fetcher(FetcherInterface):
    """Fetches the files of one refresh, which together have `limits.total_s` from now. FetcherInterface caps their lengths."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._ends = time.monotonic() + limits.total_s
        self._opener = OpenerDirector()  # http and https alone: no file:, no ftp:
        for handler in HANDLERS:
            self._opener.add_handler(handler())

    def _fetch(self, url: str) -> Iterator[bytes]:
        """See FetcherInterface; whatever goes wrong is a tuf DownloadError, also while the body is read."""
        try:
            request = Request(quote(url, safe=URL_CHARACTERS), headers=HEADERS)  # noqa: S310  the opener knows no other schemes
            with self._opener.open(request, timeout=self._wait_s(url)) as response:
                yield from self._body(url, response)
        except HTTPError as error:
            error.close()
            raise DownloadHTTPError(f"{_name(url)}: the server answers {error.code} {error.reason}".rstrip(), error.code) from None
        except TimeoutError:
            raise self._slow(url) from None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._slow(url) from None
            raise DownloadError(f"{_name(url)}: {reason(error.reason)}") from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise DownloadError(f"{_name(url)}: {reason(error)}") from None

    def _body(self, url: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
        since, received = time.monotonic(), 0
        while data := response.read1(self._limits.chunk_bytes):
            yield data
            received += len(data)
            self._wait_s(url)
            if time.monotonic() - since >= self._limits.window_s:
                if received < self._limits.min_bytes_per_s * self._limits.window_s:
                    raise SlowRetrievalError(f"{_name(url)}: fewer than {self._limits.min_bytes_per_s:g} bytes/s came")
                since, received = time.monotonic(), 0
        if response.length:  # how much of Content-Length is still to come
            raise DownloadError(f"{_name(url)}: the connection ended {response.length} bytes too early")

    def _wait_s(self, url: str) -> float:
        """How long to wait for the next piece; SlowRetrievalError once all time is used up."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self._slow(url)
        return min(left, self._limits.timeout_s)

    def _slow(self, url: str) -> SlowRetrievalError:
        if time.monotonic() >= self._ends:
            return SlowRetrievalError(f"{_name(url)}: not here after {self._limits.total_s:g} s, which all files together have")
        return SlowRetrievalError(f"{_name(url)}: nothing came for {self._limits.timeout_s:g} s")


def _name(url: str) -> str:
    """What a file is called in messages; whoever catches them names the repository."""
    return url.rpartition("/")[2]
