"""What format a model file has, told by its content: names lie, and a half-finished download has a name too."""

import re
from pathlib import Path, PurePath
from typing import BinaryIO, Literal, TypeVar

from agent.errors import BundleError

AnyPath = TypeVar("AnyPath", bound=PurePath)
Format = Literal["tflite", "onnx", "openvino"]

OTHERS = (
    (b"PK\x03\x04", "a zip archive or a PyTorch file; export the model to TFLite or ONNX"),
    (b"\x80\x02", "a Python pickle; export the model to TFLite or ONNX"),
    (b"\x89HDF", "a Keras or HDF5 file; convert the model to TFLite"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with: git lfs pull"),
    (b"<", "a web page or XML; the download went wrong"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
)
# onnx.proto3: ModelProto's fields are 1 ir_version, 2 to 4 and 6 strings, 5 a number, 7 graph, 8 opset_import, 14 metadata_props,
# 20 training_info, 25 functions, 26 configuration
ONNX_VARINTS = {1, 5}
ONNX_MESSAGES = {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}
ONNX_GRAPH = 7
# OpenVINO's: src/core/xml_util/src/xml_serialize_util.cpp writes <net name="…" version="…">
OPENVINO = re.compile(rb"(<\?xml[^>]*\?>)?\s*<net\s[^>]*\bversion=")


def format_of(path: Path) -> Format:
    """What a model file is, a key of READERS. BundleError where it is no model or is cut off."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
            if not head:
                raise BundleError(f"{path}: the file is empty")
            if head[4:8] == b"TFL3":
                return "tflite"
            if head[0] == 0x08 and _is_onnx(path, file):
                return "onnx"
            if OPENVINO.match(head):
                return _openvino(path)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    what = next((what for magic, what in OTHERS if head.startswith(magic)), "an MP4 video" if head[4:8] == b"ftyp" else None)
    raise BundleError(f"{path}: no TFLite, ONNX or OpenVINO model, but {what or f'begins with {_shown(head)}'}")


def model_files(path: AnyPath) -> tuple[AnyPath, ...]:
    """The files that a model is made of: OpenVINO's has its weights beside it, all others are one file."""
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


def _openvino(path: Path) -> Format:
    if path.suffix != ".xml":
        raise BundleError(f"{path}: an OpenVINO model, which has to be called NAME.xml, with its weights in NAME.bin beside it")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise BundleError(f"{path}: an OpenVINO model whose weights are missing; put {weights.name} beside it")
    return "openvino"


def _is_onnx(path: Path, file: BinaryIO) -> bool:
    """Walk the top level of a protobuf message as far as it is a ModelProto. BundleError where it is one that is cut off."""
    size = file.seek(0, 2)
    file.seek(0)
    graph = False
    while (at := file.tell()) < size:
        tag = _varint(file)
        number = None if tag is None else tag >> 3
        if number in ONNX_VARINTS and tag is not None and tag & 7 == 0:
            _varint(file)
        elif number in ONNX_MESSAGES and tag is not None and tag & 7 == 2:
            length = _varint(file)
            if length is None or file.tell() + length > size:
                raise BundleError(f"{path}: an ONNX model that is cut off at {size} bytes; copy or download it again")
            graph = graph or number == ONNX_GRAPH
            file.seek(length, 1)
        else:
            return graph and at > 0
    return graph


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _shown(head: bytes) -> str:
    text = head[:16].decode("ascii", "replace")
    return f'"{text}"' if re.fullmatch(r"[ -~\s]+", text) and text.isprintable() else head[:8].hex(" ")
