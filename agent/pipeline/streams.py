"""One opening of a source as a stream of frames, wherever it runs: in a camera worker, or here where it decodes nothing."""

import time
import weakref
from collections import deque
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Source
from agent.core.types import Frame, picture_shape
from agent.errors import SourceError
from agent.loading import load_class
from agent.sources import SOURCES
from agent.sources.config import CommandConfig, FileConfig, ImagesConfig, SourceConfig, UrlConfig, UsbConfig
from agent.worker.camera import CameraOptions, CameraWorker
from agent.worker.spawner import Spawner

MEMORY_LIMIT_BYTES = 1 << 30  # of a camera worker: an 8K picture takes 100 MB, a few times over while it is decoded
DISK_TIMEOUT_S = 60.0  # files and folders have no timeouts of their own


class FrameStream(Protocol):
    """Frames until the end or a failure. Only `interrupt` may be called from another thread than the one that reads.

    fps: that the last frame's stream announces, 0 where nothing does.
    """

    fps: float

    def read(self) -> Frame | None:
        """The next frame, None at the end. SourceError where none comes in time."""

    def interrupt(self) -> None:
        """End a `read` that waits."""

    def close(self) -> None:
        """Free everything but the frames that are still held. Safe to call twice."""


def is_live(config: SourceConfig) -> bool:
    """Whether pictures that nobody is ready for are dropped, as a camera's are, rather than waited for."""
    if isinstance(config, FileConfig):
        return config.realtime
    return not isinstance(config, ImagesConfig)


def open_stream(spawner: Spawner, name: str, config: SourceConfig, held: int, first_seq: int) -> FrameStream:
    """Begin to open a source; most failures are told by the first `read`. held: frames that its readers hold at a time."""
    kind = SOURCES[str(config.__struct_config__.tag)]
    slots = held + 1
    if kind.runs_in == "thread":
        return ThreadStream(name, load_class(kind.path)(config), slots, first_seq)
    timed = config if isinstance(config, UsbConfig | UrlConfig | CommandConfig) else None
    options = CameraOptions(
        source=kind.path,
        config=msgspec.msgpack.encode(config),
        live=is_live(config),
        slots=slots,
        open_timeout_s=timed.open_timeout_s if timed else DISK_TIMEOUT_S,
        read_timeout_s=timed.read_timeout_s if timed else DISK_TIMEOUT_S,
        memory_limit_bytes=MEMORY_LIMIT_BYTES,
    )
    return CameraWorker(spawner, name, options, first_seq)


class ThreadStream:
    """A live source that runs in the thread that reads, into buffers that are used again once their frames are gone."""

    def __init__(self, name: str, source: Source, slots: int, first_seq: int) -> None:
        self.fps = 0.0
        self._name = name
        self._source = source
        self._seq = first_seq
        self._opened = False
        self._free: deque[NDArray[np.uint8]] = deque(np.empty(0, np.uint8) for _ in range(slots))

    def read(self) -> Frame | None:
        """The next frame for which there is a buffer."""
        if not self._opened:
            self._opened = True
            self._source.open()
        while True:
            picture = self._source.grab()
            if picture is None:
                return None
            self.fps = picture.fps
            seq = self._seq + picture.skipped
            self._seq = seq + 1
            if not self._free:
                continue
            mono_ns, utc_ns = time.monotonic_ns(), time.time_ns()
            try:
                shape = picture_shape(picture.format, picture.width, picture.height)
            except ValueError as error:
                raise SourceError(f"{self._name}: {error}", "open_failed") from None
            buffer = self._free.popleft()
            if buffer.shape != shape:
                buffer = np.empty(shape, np.uint8)
            self._source.retrieve(buffer)
            pixels = buffer.view()
            pixels.flags.writeable = False
            frame = Frame(pixels, picture.format, picture.width, picture.height, seq, mono_ns, utc_ns, self._name, picture.name)
            weakref.finalize(frame, self._free.append, buffer).atexit = False
            return frame

    def interrupt(self) -> None:
        """End a `read` that waits: sources that run in a thread may be closed from another."""
        self._source.close()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
