"""A picture of what a pipeline sees, for people: made when it is asked for, of the next frame."""

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.types import Frame

MAX_JPEG_BYTES = 256 * 1024
QUALITIES = (90, 75, 60)  # of the full size, and of each half of it
TO_BGR = {
    "rgb24": cv2.COLOR_RGB2BGR,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "yuv420p": cv2.COLOR_YUV2BGR_I420,
}


class Snapshot:
    """Hands a frame from the pipeline's thread to whoever waits for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self._frame: Frame | None = None

    def offer(self, frame: Frame) -> None:
        """The pipeline has taken a frame. Nobody waits, most of the time: then it is not kept."""
        with self._changed:
            if self._waiting:
                self._frame = frame
                self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | None:
        """The next frame, None where none comes in time."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._frame is not None, timeout_s)
            frame = self._frame
            self._waiting -= 1
            if self._waiting == 0:
                self._frame = None
            return frame


def jpeg(frame: Frame) -> bytes:
    """The frame as JPEG of at most `MAX_JPEG_BYTES`: coarser, and then smaller, until it fits."""
    picture: NDArray[np.uint8] = np.asarray(frame.pixels)
    if frame.format in TO_BGR:
        picture = np.asarray(cv2.cvtColor(picture, TO_BGR[frame.format]), np.uint8)
    while True:
        for quality in QUALITIES:
            _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))
            if len(encoded) <= MAX_JPEG_BYTES:
                return encoded.tobytes()
        height, width = picture.shape[:2]
        size = (max(1, width // 2), max(1, height // 2))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
