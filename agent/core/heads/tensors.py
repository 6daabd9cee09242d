"""What the heads share: real numbers out of quantized ones, boxes and their order, the cells of a grid."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.types import Detections, TensorSpec

BoxFormat = Literal["xyxy_normalized", "xyxy_pixels", "xywh_normalized", "xywh_pixels", "yxyx_normalized", "yxyx_pixels"]

FRACTIONS = 2  # of the input reach less far, even of objects that it cuts off; pixels of it farther
LARGEST = 16.0  # of the logarithm of a size in cells or anchors: past any picture, and its exponential is still a number


def dequantize(raw: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    """(q - zero_point) * scale as float32, or the same numbers as float32 where the tensor is not quantized.

    Source: TensorFlow Lite's 8-bit quantization specification.
    """
    real = raw.astype(np.float32)
    if tensor.quantized:
        real -= np.float32(tensor.zero_point)
        real *= np.float32(tensor.scale)
    return real


def least(score: float, tensor: TensorSpec) -> float:
    """The least number in `tensor` that `dequantize` makes at least `score`; beyond the range of its type where none does."""
    if not tensor.quantized:
        return score
    limits = np.iinfo(tensor.dtype)
    scale, zero_point = np.float32(tensor.scale), np.float32(tensor.zero_point)
    below = score / tensor.scale + tensor.zero_point - 2  # by more than float32 can be wrong
    q = int(np.clip(below, limits.min, limits.max))
    while q <= limits.max and (np.float32(q) - zero_point) * scale < np.float32(score):
        q += 1
    return q


def not_below(values: NDArray[Any], threshold: float) -> NDArray[np.intp]:
    """Where `values` reach a threshold or are NaN: whoever gets a NaN for a score knows that the model is broken."""
    return np.flatnonzero(~(values < threshold))


def limits(tensor: TensorSpec) -> tuple[float, float]:
    """The least and the largest real number that a quantized tensor can stand for."""
    kind = np.iinfo(tensor.dtype)
    return (kind.min - tensor.zero_point) * tensor.scale, (kind.max - tensor.zero_point) * tensor.scale


def within_unit(tensor: TensorSpec) -> bool:
    """Whether a quantized tensor can hold nothing but probabilities: real numbers from 0 to 1, and a step beyond either."""
    low, high = limits(tensor)
    return low >= -tensor.scale and high <= 1 + tensor.scale


def logit(probability: float) -> float:
    """The inverse of the sigmoid, infinite at 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def normalized(tensor: TensorSpec, reach: NDArray[Any]) -> bool:
    """Whether boxes are fractions of the input rather than pixels, as the range of a quantized tensor or else their numbers tell.

    reach: how far to the right each box of a picture comes, its corner or its centre.
    """
    return bool((limits(tensor)[1] if tensor.quantized else reach.max(initial=0)) < FRACTIONS)


def cells(size: tuple[int, int], strides: Iterable[int], cut_cells: bool = False) -> int:
    """How many cells the `grids` of these strides have together. None is built: a file may declare an input of any size.

    size, cut_cells: as of `grids`.
    """
    return sum(columns * rows for columns, rows in (_grid(size, stride, cut_cells) for stride in strides))


def grids(
    size: tuple[int, int], strides: Sequence[int], cut_cells: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 2): column and row of each cell in its grid; (N, 1): its stride. The grids follow one another, each by rows.

    size: (width, height) of the model's input. cut_cells: whether a cell that the input's edge cuts off counts.
    """
    places, steps = [], []
    for stride in strides:
        columns, rows = _grid(size, stride, cut_cells)
        y, x = np.mgrid[:rows, :columns]
        places.append(np.stack((x.ravel(), y.ravel()), axis=1))
        steps.append(np.full((y.size, 1), stride))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _grid(size: tuple[int, int], stride: int, cut_cells: bool) -> tuple[int, int]:
    """Columns and rows."""
    columns, rows = ((side + stride - 1) // stride if cut_cells else side // stride for side in size)
    return columns, rows


def check_strides(strides: Sequence[int]) -> None:
    """ValueError for a stride that is no number of pixels."""
    if not strides or min(strides) < 1:
        raise ValueError(f"strides are pixels of the input to a cell, such as [8, 16, 32], not {list(strides)}")


def in_pixels(boxes: NDArray[np.float32], box: BoxFormat, size: tuple[int, int]) -> NDArray[np.float32]:
    """(n, 4) boxes as x1 y1 x2 y2 in pixels of the input. size: its (width, height)."""
    order, unit = box.split("_")
    if order == "xywh":
        boxes = corners(boxes)
    elif order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    return boxes * np.array([*size, *size], np.float32) if unit == "normalized" else boxes


def corners(centered: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) boxes, centre x, centre y, width, height, as x1 y1 x2 y2."""
    half = centered[:, 2:] / 2
    return np.concatenate((centered[:, :2] - half, centered[:, :2] + half), axis=1)


def ranked(boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[Any]) -> Detections:
    """Detections, best first; of equals the first."""
    order = np.argsort(-scores, kind="stable")
    return Detections(boxes[order], scores[order], class_ids[order].astype(np.int32))


def described(tensors: Iterable[TensorSpec]) -> str:
    """Name, shape and type of each, for people."""
    return ", ".join(f"{tensor.name!r} {list(tensor.shape)} {tensor.dtype}" for tensor in tensors)
