"""A folder on the web, as far as this computer: what any web server does for a published repository."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scripts.demo.broker import HOST

LOOK_S = 0.1  # for the end


class WebFolder:
    """Serves a folder over HTTP from a thread of its own, as a context manager. url: of the folder."""

    def __init__(self, folder: Path) -> None:
        self._server = ThreadingHTTPServer((HOST, 0), partial(_Quiet, directory=folder))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(LOOK_S,), name="web")
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as its base names it
        """Say nothing."""
