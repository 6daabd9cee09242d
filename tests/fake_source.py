"""A source that implements the production Protocol without a camera, in any thread or process."""

import threading
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError


class FakeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the fake does: pictures of one colour each, then the end, an error or silence.

    levels: how gray each picture is. color: of all of them instead, blue, green, red. missing: it cannot be opened. error: what it
    says after the last picture, as (message, reason). waits: nothing comes after the last picture until it is closed.
    """

    levels: tuple[int, ...] = (0, 10, 20)
    color: tuple[int, int, int] | None = None
    size: tuple[int, int] = (64, 48)
    missing: bool = False
    error: tuple[str, str] | None = None
    waits: bool = False


class FakeSource:
    """Plain pictures."""

    Config: ClassVar[type[FakeConfig]] = FakeConfig

    def __init__(self, config: FakeConfig) -> None:
        self._config = config
        self._next = 0
        self._closed = threading.Event()

    def open(self) -> None:
        """See `Source`."""
        if self._config.missing:
            raise SourceError("fake camera is not there", "not_found")

    def grab(self) -> Picture | None:
        """See `Source`."""
        if self._closed.is_set():
            return None
        if self._next < len(self._config.levels):
            self._next += 1
            return Picture("bgr24", *self._config.size)
        if self._config.error:
            raise SourceError(*self._config.error)
        if self._config.waits:
            self._closed.wait()
        return None

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """See `Source`."""
        out[:] = self._config.color or self._config.levels[self._next - 1]

    def close(self) -> None:
        """See `Source`."""
        self._closed.set()
