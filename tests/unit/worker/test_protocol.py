"""What a worker says is decoded before it is believed."""

import math
import os
import socket
from collections.abc import Iterator

import msgspec
import pytest

from agent.worker import protocol
from agent.worker.protocol import Captured, Inferred, Ready, Slots
from tests.processes import open_descriptors

Pair = tuple[socket.socket, socket.socket]
CAPTURED = Captured(1, 0, "bgr24", 64, 48, 0, 1, 1, "", 0.0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "message",
    [
        Ready(0, math.inf),
        Ready(0, math.nan),
        Inferred(1, [], -1.0, 0.0),
        Inferred(1, [], 0.0, math.nan),
        msgspec.structs.replace(CAPTURED, width=0),
        msgspec.structs.replace(CAPTURED, height=1 << 40),
        msgspec.structs.replace(CAPTURED, seq=-1),
        msgspec.structs.replace(CAPTURED, utc_ns=(1 << 63) - 1),
        msgspec.structs.replace(CAPTURED, fps=math.inf),
    ],
)
def test_numbers_that_cannot_be_are_garbage(message: msgspec.Struct, pair: Pair) -> None:
    protocol.send(pair[1], message)
    decoder = msgspec.msgpack.Decoder(protocol.FromModelWorker | protocol.NeedSlots | Captured)
    with pytest.raises(msgspec.ValidationError):
        protocol.receive(pair[0], decoder)


def test_a_descriptor_that_comes_with_garbage_is_closed(pair: Pair) -> None:
    decoder = msgspec.msgpack.Decoder(protocol.FromModelWorker)
    before = open_descriptors()
    for _ in range(5):
        socket.send_fds(pair[1], [b"\xc1"], [pair[1].fileno()])
        with pytest.raises(msgspec.MsgspecError):
            protocol.receive(pair[0], decoder)
    assert open_descriptors() == before


def test_a_descriptor_comes_with_its_message(pair: Pair) -> None:
    protocol.send(pair[1], Slots(1, 2, 64), pair[1].fileno())
    message, descriptor = protocol.receive(pair[0], msgspec.msgpack.Decoder(protocol.ToCameraWorker))
    assert message == Slots(1, 2, 64)
    assert descriptor is not None
    os.close(descriptor)


def test_what_was_sent_before_the_other_end_went_is_still_read(pair: Pair) -> None:
    ours, theirs = pair
    protocol.send(ours, protocol.Free(1, 0))  # it goes without having read this
    protocol.send(theirs, protocol.Ended())
    theirs.close()
    decoder = msgspec.msgpack.Decoder(protocol.FromCameraWorker)
    assert protocol.receive(ours, decoder)[0] == protocol.Ended()
    with pytest.raises(EOFError):
        protocol.receive(ours, decoder)
