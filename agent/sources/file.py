"""A video file."""

import os
import time
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.capture import ONE_THREAD, Capture
from agent.sources.config import FileConfig
from agent.sources.pace import Pace

READ_TIMEOUT_S = 30.0  # a file may lie on a network or a failing disk
FPS_WHERE_UNKNOWN = 25.0
TEXT_BYTES = 512  # no container begins with so much text
OPTIONS = {"protocol_whitelist": "file"}  # a playlist in the guise of a video shall not fetch anything


class FileSource:
    """Every frame once and then the end, unless it loops; in real time, frames that are over are left out."""

    Config: ClassVar[type[FileConfig]] = FileConfig

    def __init__(self, config: FileConfig) -> None:
        self._config = config
        self._name = f"video {config.path}"
        self._video = Capture(self._name, READ_TIMEOUT_S)
        self._pace: Pace | None = None
        self._index = 0  # of the next frame, for the pace: goes on where the video starts over
        self._frames = 0  # of this showing

    def open(self) -> None:
        """SourceError where it is not there or no video."""
        path = Path(self._config.path)
        if path.is_dir():
            raise SourceError(f"{self._name} is a folder; for the pictures in it say type: images", "not_found")
        if not path.is_file():
            raise SourceError(f"{self._name} is not there", "not_found")
        if not os.access(path, os.R_OK):
            raise SourceError(f"{self._name} may not be read by this user", "open_failed")
        if _is_text(path):
            raise SourceError(f"{self._name} is text, not a video", "corrupt")
        self._start_over()
        if self._config.realtime:
            self._pace = Pace(self._video.fps or FPS_WHERE_UNKNOWN)

    def grab(self) -> Picture | None:
        """The next frame; in real time, the one that is due."""
        skipped = self._pace.skip(self._index, time.monotonic()) if self._pace else 0
        for _ in range(skipped + 1):
            if not self._advance():
                return None
        if self._pace:
            time.sleep(self._pace.wait(self._index - 1, time.monotonic()))
        return self._video.picture(skipped)

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """(h, w, 3), BGR."""
        self._video.retrieve(out)

    def close(self) -> None:
        """Free the decoder."""
        self._video.close()

    def _start_over(self) -> None:
        self._frames = 0
        path = str(Path(self._config.path).absolute())  # FFmpeg would take "clip:1.mp4" for a protocol
        if not self._video.open(path, cv2.CAP_FFMPEG, ONE_THREAD, OPTIONS):
            raise SourceError(f"{self._name} cannot be decoded: {self._video.complaint or 'it is no video'}", "corrupt")
        self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # as its metadata says; not every OpenCV does so unasked

    def _advance(self) -> bool:
        """Decode the next frame, at the end of a loop the first; False at the end."""
        if not self._video.grab():
            self._check_whole()
            if not self._config.loop:
                return False
            self._start_over()
            if not self._video.grab():
                self._check_whole()
        self._frames += 1
        self._index += 1
        return True

    def _check_whole(self) -> None:
        """FFmpeg complains of a video that was cut off. Whole ones end without a word, however badly they estimate their frames."""
        expected = self._video.frame_count
        if self._frames == 0 or (self._video.complaint and self._frames < expected):
            why = self._video.complaint or "nothing in it can be decoded"
            raise SourceError(f"{self._name} is corrupt after {self._frames} of {expected} frames: {why}", "corrupt")


def _is_text(path: Path) -> bool:
    """FFmpeg would take it for what a terminal shows, and draw it."""
    with path.open("rb") as file:
        head = file.read(TEXT_BYTES)
    text = head.decode("utf-8", "ignore")
    return len(text.encode()) > len(head) - 4 and all(character.isprintable() or character.isspace() for character in text)
