"""Notices a camera that delivers the same picture for ever, or a black one."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.types import Frame

SAMPLES = 48  # points a side that are looked at
BLACK_MEAN, BLACK_STD = 20.0, 4.0  # of 0..255; video's black is 16, a dark sensor has some noise

Look = Literal["running", "frozen", "black"]


class PictureWatch:
    """Looks at each frame of a live source. A real sensor's noise makes no two pictures equal."""

    def __init__(self, frozen_after_s: float, black_after_s: float) -> None:
        self._frozen_after_ns = int(frozen_after_s * 1e9)
        self._black_after_ns = int(black_after_s * 1e9)
        self._last: NDArray[np.uint8] | None = None
        self._changed_ns = 0
        self._lit_ns = 0

    def look(self, frame: Frame) -> Look:
        """What the pictures up to this one look like."""
        sample = frame.pixels[: frame.height : max(1, frame.height // SAMPLES), :: max(1, frame.width // SAMPLES)].copy()
        if self._last is None:
            self._changed_ns = self._lit_ns = frame.mono_ns
        if self._last is None or not np.array_equal(sample, self._last):
            self._changed_ns = frame.mono_ns
            self._last = sample
        if sample.mean() >= BLACK_MEAN or sample.std() >= BLACK_STD:
            self._lit_ns = frame.mono_ns
        if frame.mono_ns - self._lit_ns >= self._black_after_ns:
            return "black"
        if frame.mono_ns - self._changed_ns >= self._frozen_after_ns:
            return "frozen"
        return "running"
