"""Real network cameras for tests: RTSP by GStreamer in a process of its own, MJPEG over HTTP in a thread."""

import base64
import functools
import http.server
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.mosquitto import free_port

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"  # the one that Debian's python3-gi belongs to
NEEDS = """
import gi
gi.require_version("Gst", "1.0"), gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
raise SystemExit(not Gst.ElementFactory.find("x264enc"))
"""


@functools.cache
def can_serve_rtsp() -> bool:
    """Whether GStreamer's RTSP server, its Python bindings and x264enc are installed."""
    return Path(PYTHON).exists() and subprocess.run([PYTHON, "-c", NEEDS], check=False, capture_output=True).returncode == 0


class RtspCamera:
    """An RTSP camera on a port of its own, as a context manager; the test is skipped where GStreamer is not installed.

    arguments: of tests/rtsp_server.py.
    """

    def __init__(self, *arguments: str) -> None:
        if not can_serve_rtsp():
            pytest.skip("python3-gi, gir1.2-gst-rtsp-server-1.0 or gstreamer1.0-plugins-ugly is not installed")
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/cam"
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again on the same port; returns when it listens."""
        command = [PYTHON, str(SERVER), "--port", str(self.port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"ready {self.port}\n"

    def kill(self) -> None:
        """SIGKILL: connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def suspend(self) -> None:
        """SIGSTOP: connections stay open, and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class MjpegCamera:
    """An HTTP camera that sends one picture over and over at http://127.0.0.1:PORT/cam, as a context manager.

    credentials: "user:password" that it asks for.
    """

    def __init__(self, pixels: NDArray[np.uint8], credentials: str | None = None) -> None:
        self.hang = threading.Event()  # once set, connections stay open and nothing comes
        self.hang_up = threading.Event()  # once set, connections end
        jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
        expected = credentials and f"Basic {base64.b64encode(credentials.encode()).decode()}"
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if expected and self.headers["Authorization"] != expected:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                elif self.path != "/cam":
                    self.send_error(404)
                else:
                    self.send_response(200)
                    self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                    self.end_headers()
                    camera.send(self, part)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/cam"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hang_up.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def send(self, handler: http.server.BaseHTTPRequestHandler, part: bytes) -> None:
        """The stream of one connection."""
        try:
            while not self.hang_up.wait(1 / 30):
                if not self.hang.is_set():
                    handler.wfile.write(part)
        except OSError:  # the client has gone
            pass


def skip_without(program: str) -> None:
    """Skip the test where a program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
