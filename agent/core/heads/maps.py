"""What the heads of segmentation share: where a tensor's picture is, what its scores are, and what is too small."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import within_unit
from agent.core.masks import NOTHING, segments_in
from agent.core.types import Layout, Segments, TensorSpec

COARSEST = 16  # pixels of the input to one of a map; what is coarser is no map but features, or classes
TOLERANCE = 1e-3  # by which probabilities of half precision overshoot 1
Scores = Literal["probabilities", "logits"]


def layouts(outputs: ModelOutputs) -> list[Layout]:
    """As what the only output can be a map of the input, C numbers a pixel: NHWC [1, h, w, C]; NCHW [1, C, h, w] or [1, h, w]."""
    if len(outputs.tensors) != 1:
        return []
    match outputs.tensors[0].shape:
        case (1 | -1, height, width):
            places: dict[Layout, tuple[int, int, int]] = {"NCHW": (1, height, width)}
        case (1 | -1, a, b, c):
            places = {"NHWC": (c, a, b), "NCHW": (a, b, c)}
        case _:
            return []
    return [layout for layout, (count, h, w) in places.items() if count > 0 and _is_map(h, w, outputs.input_size)]


def _is_map(height: int, width: int, size: tuple[int, int]) -> bool:
    """Whether height and width are the input's divided by one and the same number, rounded up or down; -1: they may be."""
    if height == width == -1:
        return True
    fine = size[1] <= height * COARSEST and size[0] <= width * COARSEST
    return fine and height <= size[1] and width <= size[0] and abs(height * size[0] - width * size[1]) <= max(size)


def channels(tensor: TensorSpec, layout: Layout) -> int:
    """C of a tensor of such a map."""
    return 1 if len(tensor.shape) == 3 else tensor.shape[3 if layout == "NHWC" else 1]


def planes(raw: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """(C, h, w), contiguous, of such a map's tensor."""
    if raw.ndim == 3:
        return raw
    return np.ascontiguousarray(raw[0].transpose(2, 0, 1)) if layout == "NHWC" else raw[0]


def check_area(area: float) -> None:
    """ValueError where `min_area` of a bundle is no part of a picture."""
    if not 0 <= area <= 1:
        raise ValueError(f"min_area is a part of the picture from 0 to 1, not {area}")


def declared(scores: Scores | None, tensor: TensorSpec) -> Scores | None:
    """What a tensor's scores are said to be, or what the range of a quantized one tells; None: the numbers have to tell."""
    if scores is None and tensor.quantized:
        return "probabilities" if within_unit(tensor) else "logits"
    return scores


def are_probabilities(kind: Scores | None, scores: NDArray[np.float32]) -> bool:
    """Whether the scores of a picture, `declared` or not, are probabilities rather than logits."""
    return kind == "probabilities" or (kind is None and scores.min() >= 0 and scores.max() <= 1 + TOLERANCE)


def check_finite(scores: NDArray[Any]) -> None:
    """ValueError for a number that is not finite: a class map could not tell."""
    if scores.dtype.kind == "f" and not np.isfinite(scores).all():
        raise ValueError("a score is not finite: the model's output overflows")


def at_least(area: float, class_map: NDArray[np.int16]) -> Segments:
    """The segments of a map that take at least this part of it; the pixels of the others become of no class."""
    found = segments_in(class_map)
    small = found.class_ids[found.areas < area]
    if len(small):
        class_map[np.isin(class_map, small)] = NOTHING
    return found[found.areas >= area]
