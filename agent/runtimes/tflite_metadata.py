"""What a TFLite file tells of itself: the text files of a zip that is appended to it, and TFLite Metadata.

TFLite Metadata is a flatbuffer (metadata_schema.fbs of tensorflow/tflite-support) in the buffer that the model's own flatbuffer
(schema.fbs of tensorflow/tensorflow) lists under the name TFLITE_METADATA. The files are not trusted: anything may be in them.
"""

import json
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import flatbuffers.number_types as numbers
from flatbuffers.table import Table

SUMMARY = "tflite_metadata"
MAX_FILES = 16
MAX_FILE_BYTES = 1 << 20
MAX_ITEMS = 1024
MAX_OUTPUTS = 16
MAX_TEXT = 4096

BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
BROKEN_FLATBUFFER = (struct.error, TypeError, ValueError, IndexError, OverflowError)

# Numbers of fields in their tables, of members in their unions and enumerations.
MODEL_BUFFERS, MODEL_METADATA = 4, 6
METADATA_NAME, METADATA_BUFFER = 0, 1
BUFFER_DATA = 0
ABOUT_NAME, ABOUT_DESCRIPTION, ABOUT_SUBGRAPHS, ABOUT_LICENSE = 0, 1, 3, 5
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
TENSOR_NAME, TENSOR_CONTENT, TENSOR_PROCESS_UNITS, TENSOR_FILES = 0, 3, 4, 6
CONTENT_TYPE, CONTENT_PROPERTIES, IMAGE_PROPERTIES = 0, 1, 2
IMAGE_COLOR_SPACE = 0
COLORS = {1: "rgb", 2: "gray"}
UNIT_TYPE, UNIT_OPTIONS, NORMALIZATION = 0, 1, 1
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
FILE_NAME, FILE_TYPE, AXIS_LABELS, VALUE_LABELS = 0, 2, 2, 3


def read_tflite_metadata(path: str | Path) -> dict[str, str]:
    """The text files of the appended zip by name, and under `SUMMARY` what TFLite Metadata says.

    That is JSON {name, description, license, color, mean, std, labels, outputs}, each key only where the file has it; labels: the
    name of the label list among the zip's files; outputs: what it calls them, in their order. What is broken is left out.
    Raises OSError where there is no such file.
    """
    found = dict(_zip_texts(path))
    with Path(path).open("rb") as file, suppress(*BROKEN_FLATBUFFER), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        summary = _summary(raw)
        if summary:
            found[SUMMARY] = json.dumps(summary)
    return found


def _zip_texts(path: str | Path) -> Iterator[tuple[str, str]]:
    with suppress(*BROKEN_ZIP), zipfile.ZipFile(path) as archive:
        for info in archive.infolist()[:MAX_FILES]:
            if info.file_size > MAX_FILE_BYTES or info.filename == SUMMARY:
                continue
            with suppress(*BROKEN_ZIP), archive.open(info) as member:
                yield info.filename, member.read(MAX_FILE_BYTES).decode()


def _summary(raw: mmap.mmap) -> dict[str, Any]:
    about = _about(raw)
    if about is None:
        return {}
    subgraph = next(_tables(about, ABOUT_SUBGRAPHS), None)
    inputs = list(_tables(subgraph, SUBGRAPH_INPUTS)) if subgraph else []
    outputs = list(_tables(subgraph, SUBGRAPH_OUTPUTS)) if subgraph else []
    values = {
        "name": _text(about, ABOUT_NAME),
        "description": _text(about, ABOUT_DESCRIPTION),
        "license": _text(about, ABOUT_LICENSE),
        **(_input(inputs[0]) if len(inputs) == 1 else {}),
        "labels": next((name for output in outputs for name in _label_files(output)), None),
        "outputs": names if any(names := [_text(output, TENSOR_NAME) for output in outputs[:MAX_OUTPUTS]]) else None,
    }
    return {key: value for key, value in values.items() if value}


def _about(raw: mmap.mmap) -> Table | None:
    """The ModelMetadata in a TFLite file."""
    model = _root(raw)
    for entry in _tables(model, MODEL_METADATA):
        if _text(entry, METADATA_NAME) == "TFLITE_METADATA":
            buffer = _item(model, MODEL_BUFFERS, _number(entry, METADATA_BUFFER, numbers.Uint32Flags))
            start, length = _vector(buffer, BUFFER_DATA)
            return _root(raw[start : start + length])
    return None


def _input(tensor: Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    content = _table(tensor, TENSOR_CONTENT)
    if content and _number(content, CONTENT_TYPE, numbers.Uint8Flags) == IMAGE_PROPERTIES:
        image = _table(content, CONTENT_PROPERTIES)
        found["color"] = image and COLORS.get(_number(image, IMAGE_COLOR_SPACE, numbers.Int8Flags))
    for unit in _tables(tensor, TENSOR_PROCESS_UNITS):
        options = _table(unit, UNIT_OPTIONS)
        if options and _number(unit, UNIT_TYPE, numbers.Uint8Flags) == NORMALIZATION:
            mean, std = _floats(options, NORMALIZATION_MEAN), _floats(options, NORMALIZATION_STD)
            if mean and std and all(value > 0 for value in std):
                found |= {"mean": mean, "std": std}
    return found


def _label_files(tensor: Table) -> Iterator[str]:
    for file in _tables(tensor, TENSOR_FILES):
        if _number(file, FILE_TYPE, numbers.Int8Flags) in (AXIS_LABELS, VALUE_LABELS):
            yield _text(file, FILE_NAME)


def _root(raw: mmap.mmap | bytes) -> Table:
    return Table(raw, struct.unpack_from("<I", raw)[0])


def _offset(table: Table, field: int) -> int:
    """Where a field lies, counted from its table; 0 where it is left out."""
    offset: int = table.Offset(4 + 2 * field)
    return offset


def _table(table: Table, field: int) -> Table | None:
    offset = _offset(table, field)
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def _vector(table: Table, field: int) -> tuple[int, int]:
    """(start, length) of a vector; (0, 0) where it is left out."""
    offset = _offset(table, field)
    return (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)


def _item(table: Table, field: int, index: int) -> Table:
    start, length = _vector(table, field)
    if index >= length:
        raise IndexError(index)
    return Table(table.Bytes, table.Indirect(start + 4 * index))


def _tables(table: Table, field: int) -> Iterator[Table]:
    for i in range(min(_vector(table, field)[1], MAX_ITEMS)):
        yield _item(table, field, i)


def _number(table: Table, field: int, flags: Any) -> int:
    offset = _offset(table, field)
    return int(table.Get(flags, table.Pos + offset)) if offset else 0


def _floats(table: Table, field: int) -> list[float]:
    start, length = _vector(table, field)
    values = struct.unpack_from(f"<{min(length, MAX_ITEMS)}f", table.Bytes, start)
    return list(values) if all(math.isfinite(value) for value in values) else []


def _text(table: Table, field: int) -> str:
    start, length = _vector(table, field)
    return bytes(table.Bytes[start : start + min(length, MAX_TEXT)]).decode("utf-8", "replace")
