"""What a source of pictures is, to who implements one (agent.sources) and to who runs one (a thread, or the camera worker)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.core.types import PixelFormat


@dataclass(frozen=True, slots=True)
class Picture:
    """What has been grabbed: its format and size.

    name: of the picture's file, empty where it comes from a stream. skipped: pictures that the source itself left out since the one
    before; they count in a frame's seq. fps: that a video announces, 0 where nothing does.
    """

    format: PixelFormat
    width: int
    height: int
    name: str = ""
    skipped: int = 0
    fps: float = 0.0


class Source(Protocol):
    """One camera, video, folder of pictures or program. Opened once, then grab and retrieve in turn until the end, then closed.

    A failure ends it: whoever owns it makes a new one. Nothing here retries.
    """

    Config: ClassVar[type[Any]]

    def __init__(self, config: Any) -> None:
        """`config` is this kind's section, its secrets already read."""

    def open(self) -> None:
        """Raise SourceError, one line without secrets, where there is nothing to open; takes at most the open timeout."""

    def grab(self) -> Picture | None:
        """Wait for the next picture, at most the read timeout; None at the end. SourceError where none comes or it is corrupt."""

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Write the grabbed picture into `out`, shaped by `picture_shape`. May be left out: the picture is then dropped."""

    def close(self) -> None:
        """Free everything. Safe to call twice and, where it runs in a thread, from another one to end a waiting `grab`."""
