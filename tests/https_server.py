"""An HTTP or HTTPS server on this computer that serves files, and misbehaves where it is told to."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from tests.certificates import Pair

PIECE_BYTES = 16 * 1024


@dataclass
class Site:
    """What the server has, by path, and how it behaves.

    redirects: path to address. cut_after: bytes of a body after which the connection is closed; stall_after: after which nothing
    more comes. piece_s: pause between pieces of a body, of piece_bytes each. ranges: whether it sends parts. lengths: whether it
    says Content-Length. etag: of all files; if_range: whether it heeds one that is asked for. status: in place of every file.
    endless: what follows a body, again and again. slow_head: the head of an answer comes with pauses of piece_s a byte.
    requests: the path and the Range of each request that came. sent: bytes of bodies.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    stall_after: int | None = None
    piece_s: float = 0.0
    piece_bytes: int = PIECE_BYTES
    etag: str | None = None
    if_range: bool = True
    status: HTTPStatus | None = None
    endless: bytes = b""
    slow_head: bool = False
    sent: int = 0
    ranges: bool = True
    lengths: bool = True
    wrong_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.requests.append((self.path, wanted))
        if self.path in site.redirects:
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", site.redirects[self.path])
            self.end_headers()
        elif site.status is not None:
            self.send_error(site.status)
        elif self.path not in site.files:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            stale = site.if_range and self.headers.get("If-Range") not in (None, site.etag)
            self._send(site.files[self.path], wanted if site.ranges and not stale else None)

    def _send(self, body: bytes, wanted: str | None) -> None:
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and start >= len(body):
            self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK)
        if self.site.etag is not None:
            self.send_header("ETag", self.site.etag)
        if wanted:
            said = start + 1 if self.site.wrong_range else start
            self.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
        if self.site.lengths:
            self.send_header("Content-Length", str(len(body) - start))
        self._end_head()
        end = len(body) if self.site.cut_after is None else min(len(body), start + self.site.cut_after)
        for at in range(start, end, self.site.piece_bytes):
            if self.site.stall_after is not None and at - start >= self.site.stall_after:
                self.site.ended.wait(60)
                return
            self._write(body[at : min(end, at + self.site.piece_bytes)])
        while self.site.endless and not self.site.ended.is_set():
            self._write(self.site.endless)

    def _end_head(self) -> None:
        if not self.site.slow_head:
            self.end_headers()
            return
        while not self.site.ended.is_set():
            self.wfile.write(b"x")
            self.site.ended.wait(self.site.piece_s)

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.site.sent += len(data)
        if self.site.piece_s:
            self.site.ended.wait(self.site.piece_s)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # its end waits for them, so that no descriptor outlives its test

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or did not trust us, is what tests are about."""


@contextmanager
def serving(site: Site, pair: Pair | None) -> Iterator[str]:
    """The address of a server that runs in this context; plain HTTP without a certificate."""
    handler = type("Handler", (_Handler,), {"site": site})
    with _Server(("127.0.0.1", 0), handler) as server:
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.cert, pair.key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http{'s' if pair else ''}://localhost:{server.server_address[1]}"
        site.ended.set()
        server.shutdown()
        thread.join()


def trusting(ca: Path) -> dict[str, str]:
    """The environment in which OpenSSL trusts that authority."""
    return {"SSL_CERT_FILE": str(ca)}
