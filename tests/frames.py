"""Frames and streams for tests."""

import threading
from collections.abc import Sequence

import numpy as np

from agent.core.types import Frame
from agent.errors import SourceError


def make_frame(seq: int, *, mono_s: float = 0.0, value: int | None = None, source: str = "main") -> Frame:
    """A 64 x 48 bgr24 frame of one grey value, by default its seq."""
    pixels = np.full((48, 64, 3), (seq if value is None else value) % 256, np.uint8)
    return Frame(pixels, "bgr24", 64, 48, seq, int(mono_s * 1e9), 0, source)


class FakeStream:
    """Implements FrameStream: gives its items in turn, raises those that are errors, and then ends, or waits if it is live."""

    def __init__(self, items: Sequence[Frame | SourceError], *, live: bool = False) -> None:
        self.fps = 0.0
        self.closed = False
        self._items = list(items)
        self._live = live
        self._interrupted = threading.Event()

    def read(self) -> Frame | None:
        if self._items:
            item = self._items.pop(0)
            if isinstance(item, SourceError):
                raise item
            return item
        if self._live:
            assert self._interrupted.wait(20)
            raise SourceError("interrupted", "read_timeout")
        return None

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        self.closed = True
