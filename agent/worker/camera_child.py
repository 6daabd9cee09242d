"""The camera worker's process: runs one source and puts its pictures into the shared slots. Run as a module by the spawner."""

import os
import select
import socket
import time
from collections import deque
from typing import NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture, Source
from agent.core.types import picture_shape
from agent.errors import Reject, SourceError
from agent.loading import load_class
from agent.worker import child, protocol
from agent.worker.protocol import Captured, Ended, Fault, Free, NeedSlots, Open, Slots
from agent.worker.slots import SharedSlots


class Camera:
    """A source that writes into shared slots."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._decoder = msgspec.msgpack.Decoder(protocol.ToCameraWorker)
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._slots: SharedSlots | None = None
        self._generation = 0
        self._free: deque[int] = deque()

    def run(self) -> None:
        """Open the source, and deliver until its end."""
        request, _ = protocol.receive(self._channel, self._decoder)
        assert isinstance(request, Open)  # noqa: S101  the agent's first message
        kind = load_class(request.source)
        source: Source = kind(msgspec.msgpack.decode(request.config, type=kind.Config))
        source.open()
        seq = -1
        while (picture := source.grab()) is not None:
            seq += 1 + picture.skipped
            mono_ns, utc_ns = time.monotonic_ns(), time.time_ns()
            shape = picture_shape(picture.format, picture.width, picture.height)
            out = self._next_free(shape, wait=not request.live)
            if out is None:
                continue
            slot, pixels = out
            source.retrieve(pixels)
            protocol.send(self._channel, self._captured(picture, slot, seq, mono_ns, utc_ns))
        protocol.send(self._channel, Ended())

    def _captured(self, picture: Picture, slot: int, seq: int, mono_ns: int, utc_ns: int) -> Captured:
        return Captured(
            generation=self._generation,
            slot=slot,
            format=picture.format,
            width=picture.width,
            height=picture.height,
            seq=seq,
            mono_ns=mono_ns,
            utc_ns=utc_ns,
            name=picture.name,
            fps=picture.fps,
        )

    def _next_free(self, shape: tuple[int, ...], *, wait: bool) -> tuple[int, NDArray[np.uint8]] | None:
        """A free slot that holds `shape`; None where there is none and nobody waits."""
        size = int(np.prod(shape))
        if self._slots is None or self._slots.slot_bytes < size:
            protocol.send(self._channel, NeedSlots(size))
            generation = self._generation
            while self._generation == generation:
                self._listen()
        while self._poll.poll(0):
            self._listen()
        while wait and not self._free:
            self._listen()
        if not self._free or self._slots is None:
            return None
        slot = self._free.popleft()
        return slot, self._slots.array(slot, shape)

    def _listen(self) -> None:
        """Take one message from the agent."""
        message, descriptor = protocol.receive(self._channel, self._decoder)
        if isinstance(message, Slots) and descriptor is not None:
            self._slots = SharedSlots(descriptor, message.count, message.slot_bytes)
            self._slots.close()
            self._generation = message.generation
            self._free = deque(range(message.count))
        elif isinstance(message, Free) and message.generation == self._generation:
            self._free.append(message.slot)


def main() -> NoReturn:
    """Run the source; whatever ends it is told before the end."""
    channel = child.start()
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # its messages may hold a camera's password
    try:
        Camera(channel).run()
    except EOFError:
        pass
    except SourceError as error:
        protocol.send(channel, Fault(str(error), reason=error.reason))
    except (Reject, ValueError) as error:
        protocol.send(channel, Fault(" ".join(str(error).split()), reason="open_failed"))
    except Exception as error:  # noqa: BLE001  a codec may raise anything; the agent must be told what
        protocol.send(channel, Fault(f"{type(error).__name__}: {' '.join(str(error).split())}", reason="worker_failed"))
    os._exit(0)  # a decoder that hangs in its destructor would outlive its camera


if __name__ == "__main__":
    main()
