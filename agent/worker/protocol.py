"""The messages between the agent and its workers: msgpack in packets of a SOCK_SEQPACKET socketpair.

Bulk data is not in them: pictures and tensors lie in shared slots (agent.worker.slots), whose descriptor travels with the message
that announces them. Private to one version of the agent: both ends are always of the same.
"""

import os
import socket
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent.core.spec import HeadSpec, Thresholds
from agent.core.types import PixelFormat
from agent.runtimes import ModelReport, RuntimeOptions

MAX_PACKET = 192 * 1024  # bytes; the kernel refuses packets from about 200 kB on
LONGEST_SIDE = 1 << 16  # of a picture, in pixels
YEAR_2200_NS = 7_258_118_400 * 10**9

# A NaN passes neither bound. What a worker says is decoded against these types before anything believes it.
Milliseconds = Annotated[float, Meta(ge=0, le=1e9)]


class Slots(Struct, frozen=True, tag=True):
    """Shared slots; comes with the memfd's descriptor. generation: +1 each time that a worker is given other slots."""

    generation: int
    count: int
    slot_bytes: int


class Fault(Struct, frozen=True, tag=True):
    """A worker's last words. rejected: what it was given is wrong, to try again is of no use. reason: of a source."""

    message: str
    rejected: bool = False
    reason: str = ""


# --- to the model worker


class Load(Struct, frozen=True, tag=True):
    """Load a model file; answered by Loaded. runtime: "module:Class"."""

    model: int
    runtime: str
    path: str
    options: RuntimeOptions


class TensorView(Struct, frozen=True, array_like=True):
    """A tensor in a slot. offset: bytes from the slot's start."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


class Prepare(Struct, frozen=True, tag=True):
    """Make a loaded model's head, take its slots (see Slots) and warm up; answered by Ready.

    inputs: the shapes that requests will have. output: the offset in a slot from which on it is the worker's, for what is too large
    for a packet. classes: 0 where unknown.
    """

    model: int
    head: HeadSpec
    input_size: tuple[int, int]
    classes: int
    inputs: list[TensorView]
    output: int
    slots: Slots


class Infer(Struct, frozen=True, tag=True):
    """Run a model on the items of a slot, each its named inputs in the model's order; answered by Inferred."""

    id: int
    model: int
    slot: int
    items: list[list[TensorView]]
    thresholds: Thresholds


# --- from the model worker


class Loaded(Struct, frozen=True, tag=True):
    """What the runtime says of the model."""

    model: int
    report: ModelReport


class Ready(Struct, frozen=True, tag=True):
    """The model is warm. p99_ms: the slowest inference of the warm-up."""

    model: int
    p99_ms: Milliseconds


class Arrays(Struct, frozen=True, array_like=True):
    """A prediction: little-endian float32 scores and int32 class ids; of detections and poses float32 boxes (n, 4); of poses
    float32 points (n, k, 3). Of a segmentation only the class map's height and width: its int16 lie where the slot's output begins.
    """

    scores: bytes = b""
    class_ids: bytes = b""
    boxes: bytes | None = None
    points: bytes | None = None
    map_size: tuple[int, int] | None = None


class Inferred(Struct, frozen=True, tag=True):
    """One prediction an item."""

    id: int
    items: list[Arrays]
    inference_ms: Milliseconds
    postprocess_ms: Milliseconds


# --- to and from the camera worker


class Open(Struct, frozen=True, tag=True):
    """Open a source. source: "module:Class"; config: its section, encoded. live: drop pictures rather than wait for a free slot."""

    source: str
    config: msgspec.Raw
    live: bool


class Free(Struct, frozen=True, tag=True):
    """A slot may be written again."""

    generation: int
    slot: int


class NeedSlots(Struct, frozen=True, tag=True):
    """The next picture does not fit; answered by Slots."""

    slot_bytes: int


class Captured(Struct, frozen=True, tag=True):
    """A picture is in a slot; fields as in Frame and Picture."""

    generation: int
    slot: int
    format: PixelFormat
    width: Annotated[int, Meta(ge=1, le=LONGEST_SIDE)]
    height: Annotated[int, Meta(ge=1, le=LONGEST_SIDE)]
    seq: Annotated[int, Meta(ge=0)]
    mono_ns: Annotated[int, Meta(ge=0)]
    utc_ns: Annotated[int, Meta(ge=0, lt=YEAR_2200_NS)]
    name: str
    fps: Annotated[float, Meta(ge=0, le=10_000)]


class Ended(Struct, frozen=True, tag=True):
    """The source has come to its end."""


ToModelWorker = Load | Prepare | Infer
FromModelWorker = Loaded | Ready | Inferred | Fault
ToCameraWorker = Open | Slots | Free
FromCameraWorker = NeedSlots | Captured | Ended | Fault

_encoder = msgspec.msgpack.Encoder()
Message = TypeVar("Message")


def send(channel: socket.socket, message: Struct, descriptor: int | None = None, *, flags: int = 0) -> None:
    """Send a message, with a descriptor where it announces slots. OSError where the other end is gone."""
    packet = _encoder.encode(message)
    if descriptor is None:
        channel.send(packet, flags | socket.MSG_NOSIGNAL)
    else:
        socket.send_fds(channel, [packet], [descriptor], flags | socket.MSG_NOSIGNAL)


def receive(channel: socket.socket, decoder: "msgspec.msgpack.Decoder[Message]") -> tuple[Message, int | None]:
    """Wait for a message; the descriptor that came with it is the caller's to close.

    EOFError where the other end is gone, msgspec.MsgspecError where it sent garbage.
    """
    try:
        packet, descriptors, _flags, _address = socket.recv_fds(channel, MAX_PACKET, 1)
    except ConnectionResetError:  # the other end has gone without reading all; what it sent before comes after this error
        packet, descriptors, _flags, _address = socket.recv_fds(channel, MAX_PACKET, 1)
    if not packet:
        raise EOFError
    try:
        return decoder.decode(packet), descriptors[0] if descriptors else None
    except ValueError:  # msgspec's and Unicode's errors
        for descriptor in descriptors:
            os.close(descriptor)
        raise
