"""Tiny real model files: each output is base + gain * the mean of the input, so that what they find fades with the picture.

A white picture gives what was asked for, a black one gives scores of 0.
"""

import importlib
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

with suppress(ImportError):  # beside tflite-runtime, which has no schema: there is SCORES_TFLITE
    from ai_edge_litert import schema_py_generated as tflite

SCORES = (0.0, 0.25, 0.75)
SCORES_TFLITE = Path(__file__).with_name("scores.tflite")  # what `write_tflite` makes of `faded("scores", [SCORES])`
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Output:
    """scale, zero_point: makes it int8, where scale is not 0 (TFLite alone). dtype: int32, int64: cut off at the point."""

    name: str
    base: Floats
    gain: Floats
    scale: float = 0.0
    zero_point: int = 0
    dtype: str = "float32"


@dataclass(frozen=True)
class Found:
    """What a detector sees in a white picture. box: x1 y1 x2 y2 in pixels of its input."""

    box: Box
    class_id: int = 0
    score: float = 0.9


@dataclass(frozen=True)
class Person:
    """What a model of key points sees in a white picture. box, points: x1 y1 x2 y2, and x y score each, in pixels of its input."""

    box: Box
    points: Sequence[tuple[float, float, float]]
    score: float = 0.9


@dataclass(frozen=True)
class Input:
    """shape: as the runtime sees it. open: axes that are dynamic. scale, zero_point: of a uint8 or int8 input."""

    shape: tuple[int, ...]
    name: str = "images"
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    open: tuple[int, ...] = field(default=())


def yolo(
    found: Sequence[Found], *, classes: int = 2, size: tuple[int, int] = (64, 64), normalized: bool, full: float = 1.0
) -> Output:
    """[1, 4 + classes, N] of the head yolo. full: the mean of a white input."""
    n = _cells(size)
    base, gain = np.zeros((1, 4 + classes, n), np.float32), np.zeros((1, 4 + classes, n), np.float32)
    for i, one in enumerate(found):
        x1, y1, x2, y2 = one.box
        unit = np.array([*size, *size] if normalized else [1, 1, 1, 1], np.float32)
        base[0, :4, i] = np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) / unit
        gain[0, 4 + one.class_id, i] = one.score / full
    return Output("output0", base, gain)


def yolox(found: Sequence[Found], *, classes: int = 2, size: tuple[int, int] = (64, 64), full: float = 255.0) -> Output:
    """[1, N, 5 + classes] of the head yolox. full: the mean of a white input. One object a cell of the finest grid, in order."""
    n, columns = _cells(size), size[0] // STRIDES[0]
    base, gain = np.zeros((1, n, 5 + classes), np.float32), np.zeros((1, n, 5 + classes), np.float32)
    for i, one in enumerate(found):
        x1, y1, x2, y2 = (value / STRIDES[0] for value in one.box)
        row, column = divmod(i, columns)
        base[0, i, :5] = ((x1 + x2) / 2 - column, (y1 + y2) / 2 - row, np.log(x2 - x1), np.log(y2 - y1), 1)
        gain[0, i, 5 + one.class_id] = one.score / full
    return Output("output", base, gain)


def ssd(found: Sequence[Found], *, size: tuple[int, int] = (64, 64), places: int = 10, full: float = 1.0) -> list[Output]:
    """The four outputs of the head ssd. full: the mean of a white input."""
    boxes, classes, scores = np.zeros((1, places, 4)), np.zeros((1, places)), np.zeros((1, places))
    for i, one in enumerate(found):
        x1, y1, x2, y2 = one.box
        boxes[0, i] = np.array([y1, x1, y2, x2]) / np.array([size[1], size[0], size[1], size[0]])
        classes[0, i], scores[0, i] = one.class_id, one.score / full
    name = "TFLite_Detection_PostProcess"
    count = np.array([len(found)])
    return [constant(name, boxes), constant(f"{name}:1", classes), faded(f"{name}:2", scores), constant(f"{name}:3", count)]


def yolo_pose(people: Sequence[Person], *, size: tuple[int, int] = (64, 64), normalized: bool, full: float = 1.0) -> Output:
    """[1, 5 + 3 * points, N] of the head yolo_pose. full: the mean of a white input."""
    n, numbers = _cells(size), 5 + 3 * len(people[0].points)
    base, gain = np.zeros((1, numbers, n), np.float32), np.zeros((1, numbers, n), np.float32)
    for i, one in enumerate(people):
        x1, y1, x2, y2 = one.box
        unit = np.array([*size] if normalized else [1, 1], np.float32)
        base[0, :4, i] = np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) / np.tile(unit, 2)
        base[0, 5:, i] = (np.array(one.points) / [*unit, 1]).ravel()
        gain[0, 4, i] = one.score / full
    return Output("output0", base, gain)


def movenet(points: Sequence[tuple[float, float, float]], *, full: float = 255.0) -> Output:
    """[1, 1, 17, 3] of the head movenet. points: y, x, score, fractions of the input. full: the mean of a white input."""
    values = np.array(points, np.float32).reshape(1, 1, 17, 3)
    scores = values * np.array([0, 0, 1 / full], np.float32)
    return Output("StatefulPartitionedCall:0", values * np.array([1, 1, 0], np.float32), scores.astype(np.float32))


def class_map(classes: ArrayLike, *, full: float = 1.0) -> Output:
    """[1, h, w] int64 of the head segment. full: the mean of a white input."""
    values = np.asarray(classes, np.float32)[None]
    return Output("ArgMax", np.full_like(values, 0.5), values / np.float32(full), dtype="int64")


def constant(name: str, values: ArrayLike) -> Output:
    """An output that does not depend on the picture."""
    array = np.asarray(values, np.float32)
    return Output(name, array, np.zeros_like(array))


def faded(name: str, values: ArrayLike) -> Output:
    """An output that is `values` times the mean of the input."""
    array = np.asarray(values, np.float32)
    return Output(name, np.zeros_like(array), array)


def _cells(size: tuple[int, int]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def write_onnx(
    path: Path, outputs: Sequence[Output], input_: Input | None = None, metadata: Mapping[str, str] | None = None
) -> Path:
    """An ONNX file; without an input float32 [1, 3, 64, 64]."""
    input_ = input_ or Input((1, 3, 64, 64))
    nodes = [helper.make_node("ReduceMean", [input_.name], ["mean"], keepdims=0)]
    weights, values = [], []
    for output in outputs:
        weights += [
            numpy_helper.from_array(output.base, f"{output.name}/base"),
            numpy_helper.from_array(output.gain, f"{output.name}/gain"),
        ]
        kind = getattr(TensorProto, output.dtype.upper().replace("FLOAT32", "FLOAT"))
        nodes += [
            helper.make_node("Mul", ["mean", f"{output.name}/gain"], [f"{output.name}/faded"]),
            helper.make_node("Add", [f"{output.name}/faded", f"{output.name}/base"], [f"{output.name}/real"]),
            helper.make_node("Cast", [f"{output.name}/real"], [output.name], to=kind),
        ]
        values.append(helper.make_tensor_value_info(output.name, kind, output.base.shape))
    shape = [f"axis{i}" if i in input_.open else n for i, n in enumerate(input_.shape)]
    picture = helper.make_tensor_value_info(input_.name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tiny", [picture], values, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_openvino(path: Path, outputs: Sequence[Output], information: Mapping[str, str] | None = None) -> Path:
    """An OpenVINO model of the same kind, NAME.xml with NAME.bin. information: its rt_info `model_info`."""
    openvino = importlib.import_module("agent.runtimes.openvino").openvino  # by way of ours, which keeps it from phoning home
    model = openvino.Core().read_model(write_onnx(path.with_suffix(".onnx"), outputs))
    for key, text in (information or {}).items():
        model.set_rt_info(text, ["model_info", key])
    openvino.save_model(model, str(path))
    path.with_suffix(".onnx").unlink()
    return path


def write_tflite(
    path: Path,
    outputs: Sequence[Output],
    input_: Input | None = None,
    files: Mapping[str, str] | None = None,
    metadata: bytes | None = None,
) -> Path:
    """A TFLite file; without an input float32 [1, 64, 64, 3]. files: appended as a zip. metadata: the TFLITE_METADATA buffer."""
    graph = _TfliteGraph()
    graph.model(outputs, input_ or Input((1, 64, 64, 3)), metadata)
    path.write_bytes(graph.serialized())
    if files:
        with zipfile.ZipFile(path, "a") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    return path


class _TfliteGraph:
    """Builds a model with LiteRT's own generated schema."""

    def __init__(self) -> None:
        self._model = tflite.ModelT()
        self._model.version = 3
        self._model.buffers = [tflite.BufferT()]
        self._model.operatorCodes = []
        self._graph = tflite.SubGraphT()
        self._graph.tensors, self._graph.operators, self._graph.outputs = [], [], []
        self._model.subgraphs = [self._graph]

    def model(self, outputs: Sequence[Output], input_: Input, metadata: bytes | None) -> None:
        picture = self._tensor(input_.name, input_.shape, input_.dtype, input_.scale, input_.zero_point, open_=input_.open)
        self._graph.inputs = [picture]
        real = picture
        if input_.dtype == "int32":
            real = self._tensor("real", input_.shape, "float32")
            self._operator(
                tflite.BuiltinOperator.CAST, [picture], real, tflite.BuiltinOptions.CastOptions, _cast("INT32", "FLOAT32")
            )
        if input_.scale:
            real = self._tensor("real", input_.shape, "float32", open_=input_.open)
            self._operator(tflite.BuiltinOperator.DEQUANTIZE, [picture], real)
        mean = self._tensor("mean", (), "float32")
        options = tflite.ReducerOptionsT()
        options.keepDims = False
        axes = self._constant("axes", np.arange(len(input_.shape), dtype=np.int32))
        self._operator(tflite.BuiltinOperator.MEAN, [real, axes], mean, tflite.BuiltinOptions.ReducerOptions, options)
        for output in outputs:
            self._output(output, mean)
        if metadata is not None:
            entry = tflite.MetadataT()
            entry.name, entry.buffer = "TFLITE_METADATA", self._buffer(metadata)
            self._model.metadata = [entry]

    def serialized(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _output(self, output: Output, mean: int) -> None:
        shape = output.base.shape
        fading = self._tensor(f"{output.name}/faded", shape, "float32")
        gain, base = (self._constant(f"{output.name}/{n}", a) for n, a in (("gain", output.gain), ("base", output.base)))
        self._operator(tflite.BuiltinOperator.MUL, [gain, mean], fading, tflite.BuiltinOptions.MulOptions, tflite.MulOptionsT())
        plain = not output.scale and output.dtype == "float32"
        real = self._tensor(output.name if plain else f"{output.name}/real", shape, "float32")
        self._operator(tflite.BuiltinOperator.ADD, [fading, base], real, tflite.BuiltinOptions.AddOptions, tflite.AddOptionsT())
        if output.scale:
            quantized = self._tensor(output.name, shape, "int8", output.scale, output.zero_point)
            self._operator(tflite.BuiltinOperator.QUANTIZE, [real], quantized)
            real = quantized
        elif output.dtype != "float32":
            integers = self._tensor(output.name, shape, output.dtype)
            options = _cast("FLOAT32", output.dtype.upper())
            self._operator(tflite.BuiltinOperator.CAST, [real], integers, tflite.BuiltinOptions.CastOptions, options)
            real = integers
        self._graph.outputs.append(real)

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        scale: float = 0.0,
        zero_point: int = 0,
        buffer: int = 0,
        open_: tuple[int, ...] = (),
    ) -> int:
        tensor = tflite.TensorT()
        tensor.name, tensor.buffer, tensor.shape = name, buffer, list(shape)
        tensor.type = getattr(tflite.TensorType, dtype.upper())
        if open_:
            tensor.shapeSignature = [-1 if i in open_ else n for i, n in enumerate(shape)]
        if scale:
            tensor.quantization = tflite.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, name: str, array: NDArray[Any]) -> int:
        return self._tensor(name, array.shape, array.dtype.name, buffer=self._buffer(array.tobytes()))

    def _buffer(self, raw: bytes) -> int:
        buffer = tflite.BufferT()
        buffer.data = np.frombuffer(raw, np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _operator(self, code: int, inputs: list[int], output: int, kind: int = 0, options: object = None) -> None:
        named = tflite.OperatorCodeT()
        named.builtinCode = named.deprecatedBuiltinCode = code
        named.version = 1
        self._model.operatorCodes.append(named)
        operator = tflite.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self._graph.operators.append(operator)


def _cast(before: str, after: str) -> "tflite.CastOptionsT":
    options = tflite.CastOptionsT()
    options.inDataType, options.outDataType = getattr(tflite.TensorType, before), getattr(tflite.TensorType, after)
    return options
