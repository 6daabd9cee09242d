"""The agent's side of a camera worker: one opening of one source that runs in a process of its own, as a stream of frames."""

import contextlib
import time
import weakref
from dataclasses import dataclass

import msgspec

from agent.core.types import Frame, picture_shape
from agent.errors import SourceError, WorkerError
from agent.worker import protocol
from agent.worker.process import WorkerProcess
from agent.worker.protocol import Captured, Fault, Free, NeedSlots, Open, Slots
from agent.worker.slots import SharedSlots
from agent.worker.spawner import Spawner

START_S = 10.0  # for a process to start and import, on the smallest device
SLACK_S = 2.0  # beyond the source's own timeouts, which should come first: they say more
LARGEST_SLOT_BYTES = 256 << 20

_decoder = msgspec.msgpack.Decoder(protocol.FromCameraWorker)


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What to open.

    source: "module:Class". config: its section as msgpack. live: drop pictures rather than wait for a slot. slots: one more than
    the frames that are held at a time.
    """

    source: str
    config: bytes
    live: bool
    slots: int
    open_timeout_s: float
    read_timeout_s: float
    memory_limit_bytes: int


class CameraWorker:
    """A source in a process of its own. It lives until it ends, fails or is closed; whoever wants another opens another."""

    def __init__(self, spawner: Spawner, name: str, options: CameraOptions, first_seq: int = 0) -> None:
        """Begin to open. SourceError where no process can be started."""
        self.name = name
        self.fps = 0.0
        self._options = options
        self._first_seq = first_seq
        self._timeout_s = START_S + options.open_timeout_s + SLACK_S  # for the first picture
        self._slots: SharedSlots | None = None
        self._generation = 0
        self._leased: set[int] = set()
        try:
            self._process = WorkerProcess[protocol.FromCameraWorker](
                spawner, "agent.worker.camera_child", name, _decoder, options.memory_limit_bytes
            )
        except WorkerError as error:
            raise SourceError(str(error), "worker_failed") from None
        with contextlib.suppress(WorkerError):  # it has died already, which the first `read` will tell
            self._process.send(Open(options.source, msgspec.Raw(options.config), options.live))

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    def read(self) -> Frame | None:
        """The next frame, None at the end. SourceError where none comes in time or the worker fails."""
        while True:
            try:
                message = self._process.receive(time.monotonic_ns() + int(self._timeout_s * 1e9))
                if isinstance(message, Captured):
                    self._timeout_s = self._options.read_timeout_s + SLACK_S
                    self.fps = message.fps
                    return self._frame(message)
                if isinstance(message, NeedSlots):
                    self._give_slots(message.slot_bytes)
                    continue
            except WorkerError as error:
                raise SourceError(str(error), "worker_failed") from None
            if isinstance(message, Fault):
                raise SourceError(message.message, message.reason)
            if message is None:
                raise SourceError(f"{self.name}: no picture within {self._timeout_s:.1f} s", "read_timeout")
            return None

    def interrupt(self) -> None:
        """End a `read` that waits in another thread."""
        self._process.kill()

    def close(self) -> None:
        """End the worker. Frames that are still held stay valid."""
        self._process.end()
        if self._slots is not None:
            self._slots.close()
            self._slots = None

    def _give_slots(self, slot_bytes: int) -> None:
        if not 0 < slot_bytes <= LARGEST_SLOT_BYTES:
            raise WorkerError(f"{self.name}: a picture of {slot_bytes} bytes is more than can be handled", "protocol")
        if self._slots is not None:
            self._slots.close()
        self._slots = SharedSlots.create(self.name, self._options.slots, slot_bytes)
        self._generation += 1
        self._leased.clear()
        announced = Slots(self._generation, self._slots.count, self._slots.slot_bytes)
        self._process.send(announced, self._slots.descriptor)

    def _frame(self, captured: Captured) -> Frame:
        """The frame in a slot, which is the worker's again once the last reference to the frame is gone."""
        if captured.mono_ns > time.monotonic_ns():
            raise WorkerError(f"{self.name}: the worker's picture is from the future", "protocol")
        if self._slots is None or captured.generation != self._generation or captured.slot in self._leased:
            raise WorkerError(f"{self.name}: the worker wrote to a slot that is not its own", "protocol")
        try:
            pixels = self._slots.array(captured.slot, picture_shape(captured.format, captured.width, captured.height))
        except ValueError as error:
            raise WorkerError(f"{self.name}: the worker's picture is wrong: {error}", "protocol") from None
        pixels.flags.writeable = False
        frame = Frame(
            pixels=pixels,
            format=captured.format,
            width=captured.width,
            height=captured.height,
            seq=self._first_seq + captured.seq,
            mono_ns=captured.mono_ns,
            utc_ns=captured.utc_ns,
            source=self.name,
            name=captured.name,
        )
        self._leased.add(captured.slot)
        weakref.finalize(frame, self._release, captured.generation, captured.slot).atexit = False
        return frame

    def _release(self, generation: int, slot: int) -> None:
        if generation == self._generation:
            self._leased.discard(slot)
            with contextlib.suppress(WorkerError):  # it has ended; whoever reads is told
                self._process.send(Free(generation, slot))
