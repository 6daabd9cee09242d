"""cv2.VideoCapture as the sources need it: quiet, with one decoder thread, straight into the caller's array."""

import os
import re
import time
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.stderr import captured_stderr
from agent.sources.urls import without_password

# OpenCV gives up at a packet that does not decode, although later ones may: more than a second's worth is tried
ATTEMPTS = 64

MOST_FPS = 1000  # streams without a rate announce the tick of their clock instead

# several threads would each hold a frame back, and the model needs the cores
ONE_THREAD = {cv2.CAP_PROP_N_THREADS: 1}

_FFMPEG_LINE = re.compile(r"\[[^]]* @ 0x[0-9a-f]+\] (.*)")  # not OpenCV's own, "[ WARN:0@0.05] …"


class Capture:
    """A video or camera that cv2 reads. complaint: the last that FFmpeg said of it, without passwords; empty if nothing."""

    def __init__(self, name: str, read_timeout_s: float) -> None:
        """name: for messages."""
        self.complaint = ""
        self._name = name
        self._read_timeout_s = read_timeout_s
        self._video = cv2.VideoCapture()

    def open(
        self, address: str, api: int, parameters: Mapping[int, int] | None = None, ffmpeg_options: Mapping[str, str] | None = None
    ) -> bool:
        """Whether it could be opened, or opened again. parameters: cv2.CAP_PROP_*. ffmpeg_options: of demuxer and protocols."""
        os.environ.pop("OPENCV_FFMPEG_LOGLEVEL", None)  # FFmpeg is to write its errors to stderr, whence they are taken
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "|".join(f"{key};{value}" for key, value in (ffmpeg_options or {}).items())
        self.complaint = ""
        with captured_stderr() as said:
            opened = self._video.open(address, api, [number for pair in (parameters or {}).items() for number in pair])
        os.environ.pop("OPENCV_FFMPEG_CAPTURE_OPTIONS")  # they are for this stream alone
        self._note(said)
        return opened

    def set(self, parameter: int, value: float) -> None:
        """Ask for a setting, cv2.CAP_PROP_*; a camera takes what comes nearest."""
        self._video.set(parameter, value)

    @property
    def fps(self) -> float:
        """As the stream announces; 0 where it does not, or cannot mean it."""
        fps = self._video.get(cv2.CAP_PROP_FPS)
        return fps if 0 < fps <= MOST_FPS else 0.0

    @property
    def frame_count(self) -> int:
        """An estimate: some containers only say how long they are, and a cut video counts frames that it does not show."""
        return int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))

    def grab(self) -> bool:
        """Decode the next frame; False at the end of the stream or after the read timeout."""
        give_up = time.monotonic() + self._read_timeout_s
        for _ in range(ATTEMPTS):
            with captured_stderr() as said:
                grabbed = self._video.grab()
            self._note(said)
            if grabbed or time.monotonic() >= give_up:
                return grabbed
        return False

    def picture(self, skipped: int = 0) -> Picture:
        """What has been grabbed."""
        width = int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return Picture("bgr24", width, height, skipped=skipped, fps=self.fps)

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Convert the grabbed frame into `out`, (h, w, 3) BGR."""
        converted, pixels = self._video.retrieve(out)
        if not converted or pixels.shape != out.shape:
            raise SourceError(f"{self._name} gave a picture of another size than it said", "corrupt")
        if pixels is not out:  # OpenCV turns pictures as the metadata says in an array of its own
            np.copyto(out, pixels)

    def close(self) -> None:
        """Free it; safe to call twice."""
        self._video.release()

    def _note(self, said: list[str]) -> None:
        for line in said:
            if found := _FFMPEG_LINE.match(line):
                self.complaint = without_password(found[1].strip())
