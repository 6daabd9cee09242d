"""The belt of `agent.sources.belt` as a camera would see it: for a demo, and for trying a config out without a camera."""

import threading
import time
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.sources.belt import Belt
from agent.sources.config import SyntheticConfig
from agent.sources.pace import Pace


class SyntheticSource:
    """In real time and without an end. A frame's number, with those left out, is that of the belt's picture."""

    Config: ClassVar[type[SyntheticConfig]] = SyntheticConfig

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config
        self._belt: Belt | None = None
        self._pace = Pace(config.fps)
        self._next = 0
        self._closed = threading.Event()

    def open(self) -> None:
        """Draw what does not change."""
        self._belt = Belt(self._config.size, self._config.fps, self._config.seed, self._config.parts)

    def grab(self) -> Picture | None:
        """The picture that is due; None once closed."""
        skipped = self._pace.skip(self._next, time.monotonic())
        self._next += skipped + 1
        if self._closed.wait(self._pace.wait(self._next - 1, time.monotonic())):
            return None
        return Picture("bgr24", *self._config.size, skipped=skipped, fps=self._config.fps)

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """(h, w, 3), BGR."""
        if self._belt is not None:
            self._belt.draw(self._next - 1, out)

    def close(self) -> None:
        """End a `grab` that waits."""
        self._closed.set()
