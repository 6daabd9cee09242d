"""A network camera: RTSP, or MJPEG over HTTP."""

import time
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.capture import ONE_THREAD, Capture
from agent.sources.config import UrlConfig
from agent.sources.refusal import refusal
from agent.sources.urls import with_credentials, without_password

SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")

# what a camera sends shall not make FFmpeg open files
PROTOCOLS = "rtp,srtp,rtsp,rtsps,udp,tcp,tls,http,https,httpproxy"


class UrlSource:
    """Pictures of a network camera. Such a stream has no end: where it ends, that is an error."""

    Config: ClassVar[type[UrlConfig]] = UrlConfig

    def __init__(self, config: UrlConfig) -> None:
        self._config = config
        self._name = f"camera {without_password(config.url)}"
        self._stream = Capture(self._name, config.read_timeout_s)

    def open(self) -> None:
        """SourceError where nothing answers in time, or what answers refuses us or has no such stream."""
        config = self._config
        if not config.url.startswith(SCHEMES):
            raise SourceError(f"{self._name}: a url begins with {', '.join(SCHEMES)}", "open_failed")
        try:
            address = with_credentials(config.url, config.username, config.password)
        except ValueError as error:
            raise SourceError(f"{self._name}: {error}", "open_failed") from None
        parameters = {
            **ONE_THREAD,
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(config.read_timeout_s * 1000),
        }
        # without fpsprobesize it watches for two seconds to learn a frame rate that nobody needs
        options = {"rtsp_transport": config.transport, "fpsprobesize": "0", "protocol_whitelist": PROTOCOLS}
        start = time.monotonic()
        if not self._stream.open(address, cv2.CAP_FFMPEG, parameters, options):
            raise self._why_not(address, start + config.open_timeout_s - time.monotonic())

    def grab(self) -> Picture | None:
        """The next frame; SourceError where the stream stops."""
        start = time.monotonic()
        grabbed = self._stream.grab()
        if time.monotonic() - start >= self._config.read_timeout_s:  # what is grabbed then was left over in the decoder
            raise SourceError(f"{self._name} gave no picture within {self._config.read_timeout_s:g} s", "read_timeout")
        if grabbed:
            return self._stream.picture()
        raise SourceError(f"{self._name} ended the stream", "ended")

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """(h, w, 3), BGR."""
        self._stream.retrieve(out)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _why_not(self, address: str, left_s: float) -> SourceError:
        """left_s: of the open timeout."""
        if left_s <= 0:
            return SourceError(f"{self._name} cannot be opened: no answer within {self._config.open_timeout_s:g} s", "open_failed")
        complaint = self._stream.complaint
        if known := refusal(complaint, address, left_s):
            return SourceError(f"{self._name} cannot be opened: {known.words}", known.reason)
        return SourceError(f"{self._name} cannot be opened: {complaint or 'what answers there is no video'}", "open_failed")
