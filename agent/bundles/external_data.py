"""Where an ONNX file says that its numbers are: in other files, as onnx.proto3's TensorProto.external_data allows.

A runtime opens whatever is named there, so that a bundle has to own it. onnxruntime even takes a location that begins with
"*/_ORT_MEM_ADDR_/" for an address in its own memory (onnxruntime/core/framework/tensorprotoutils.h).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from agent.bundles.paths import wrong_path
from agent.errors import BundleError

# onnx.proto3: in which fields of a message others lie, on the way to external_data
MESSAGES: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Tensor": {13: "Entry"},
}
KEY, VALUE = 1, 2  # of an Entry, StringStringEntryProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types, protobuf.dev/programming-guides/encoding
MAX_DEPTH = 100  # as protobuf's own
MAX_FIELDS = 10_000_000
MAX_TEXT_BYTES = 4096


def external_data(model: Path) -> tuple[str, ...]:
    """The files that an ONNX model names, relative to its folder, each once.

    BundleError where one is named that cannot belong to a bundle, or where it is no ONNX model that can be read.
    """
    try:
        with model.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            locations = dict.fromkeys(_Walk(model, file).locations("Model", size, 0))
    except OSError as error:
        raise BundleError(f"{model}: {error.strerror}") from None
    for location in locations:
        if why := wrong_path(location):
            raise BundleError(f"{model}: it keeps numbers in another file, {location[:200]!r}: {why}")
    return tuple(locations)


def part_of_bundle(name: str, location: str) -> str:
    """What a bundle calls the file that its model `name` names."""
    return str(PurePosixPath(name).parent / location)


class _Walk:
    """Reads a protobuf message where it matters, and skips all else unread."""

    def __init__(self, model: Path, file: BinaryIO) -> None:
        self._model = model
        self._file = file
        self._fields = 0

    def locations(self, message: str, end: int, depth: int) -> Iterator[str]:
        """From where the file stands to byte `end`."""
        if depth > MAX_DEPTH:
            raise BundleError(f"{self._model}: an ONNX model that is nested deeper than {MAX_DEPTH}")
        while (field := self._field(end)) is not None:
            number, length = field
            after = self._file.tell() + length
            inner = MESSAGES[message].get(number)
            if inner == "Entry" and length >= 0:
                yield from self._location(after)
            elif inner and length >= 0:
                yield from self.locations(inner, after, depth + 1)
            if length > 0:
                self._file.seek(after)

    def _location(self, end: int) -> Iterator[str]:
        """The value of an Entry whose key is location; of several keys or values the last counts."""
        texts = {KEY: "", VALUE: ""}
        while (field := self._field(end)) is not None:
            number, length = field
            if length > MAX_TEXT_BYTES:
                raise BundleError(f"{self._model}: an ONNX model with {length} bytes where a file's name belongs")
            if number in texts and length >= 0:
                texts[number] = self._file.read(length).decode("utf-8", "surrogateescape")
            elif length > 0:
                self._file.seek(length, 1)
        if texts[KEY] == "location":
            yield texts[VALUE]

    def _field(self, end: int) -> tuple[int, int] | None:
        """The next field's number, and its length, -1 where it is a number and over; None at the end."""
        if self._file.tell() >= end:
            return None
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise BundleError(f"{self._model}: an ONNX model of more than {MAX_FIELDS} fields")
        tag = self._varint()
        number, wire = tag >> 3, tag & 7
        length = -1
        if wire == VARINT:
            self._varint()
        elif wire in (FIXED32, FIXED64):
            self._file.seek(4 if wire == FIXED32 else 8, 1)
        elif wire == BYTES:
            length = self._varint()
        if wire not in (VARINT, FIXED64, BYTES, FIXED32) or tag >= 1 << 32 or self._file.tell() + max(length, 0) > end:
            raise BundleError(f"{self._model}: an ONNX model that cannot be read at byte {self._file.tell()}")
        return number, length

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._file.read(1)
            if not byte:
                break
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
        raise BundleError(f"{self._model}: an ONNX model that cannot be read at byte {self._file.tell()}")
