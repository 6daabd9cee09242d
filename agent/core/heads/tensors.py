"""What the heads share: real numbers out of quantized ones, boxes and their order, the cells of a grid."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.types import Detections, TensorSpec


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


def cells(size: tuple[int, int], strides: Iterable[int]) -> int:
    """How many cells the grids of these strides have together. size: (width, height) of the model's input."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


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
