"""YOLO without objectness: Ultralytics v8, v9, 11, 12."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import cells, corners, dequantize, described, least, normalized, not_below, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections

LETTERBOX: dict[str, Any] = {  # the input of Ultralytics' detectors and their relatives
    "color": "rgb",
    "resize": "letterbox",
    "anchor": "center",
    "pad": 114,
    "mean": (0.0,),
    "std": (255.0,),
}
STRIDES = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))  # the common grids, and those with an extra finer or coarser one


@dataclass(frozen=True, slots=True)
class YoloOptions:
    """box: whether boxes are fractions of the input (Ultralytics' TFLite exports) or pixels of it (its other exports); None: it is
    told from the range of a quantized tensor, or from how far to the right the boxes of each picture reach.
    """

    box: Literal["xywh_normalized", "xywh_pixels"] | None = None


class Yolo:
    """One tensor [1, 4 + C, N], or transposed [1, N, 4 + C]: N cells' boxes (centre x, centre y, width, height) and C class scores.

    N: one box for each cell of the grids. Source: ultralytics/ultralytics, ultralytics/nn/modules/head.py (Detect).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[YoloOptions]] = YoloOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=0.45)
    input: ClassVar[dict[str, Any]] = LETTERBOX

    def __init__(self, outputs: ModelOutputs, options: YoloOptions) -> None:
        self._rows_are_cells, _ = _shape(outputs)
        (self._tensor,) = outputs.tensors
        width, height = outputs.input_size
        self._size = np.array([width, height, width, height], np.float32)
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C. ValueError where there is not one tensor of that shape."""
        return _shape(outputs)[1]

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        columns = tensors[0][0].T if self._rows_are_cells else tensors[0][0]  # (4 + C, N)
        best = columns[4:].max(axis=0)
        keep = not_below(best, least(thresholds.score, self._tensor))
        found = columns[:, keep]
        boxes = corners(dequantize(found[:4], self._tensor).T)
        if self._box == "xywh_normalized" or (self._box is None and normalized(self._tensor, columns[0])):
            boxes *= self._size
        return ranked(boxes, dequantize(best[keep], self._tensor), found[4:].argmax(axis=0))


def cell_counts(input_size: tuple[int, int]) -> set[int]:
    """How many cells the common grids have; -1: it may be as many."""
    return {cells(input_size, strides) for strides in STRIDES} | {-1}


def _shape(outputs: ModelOutputs) -> tuple[bool, int]:
    """Whether the tensor is [1, N, 4 + C] rather than [1, 4 + C, N], and C; ValueError where it is neither."""
    grids = cell_counts(outputs.input_size)
    if len(outputs.tensors) == 1 and len(outputs.tensors[0].shape) == 3:
        _, rows, columns = outputs.tensors[0].shape
        if columns in grids and rows > 4:
            return False, rows - 4
        if rows in grids and columns > 4:
            return True, columns - 4
    n = cells(outputs.input_size, STRIDES[0])
    needed = f"one tensor [1, 4 + classes, {n}] or [1, {n}, 4 + classes] at input size {list(outputs.input_size)}"
    raise ValueError(f"the yolo head needs {needed}, not {described(outputs.tensors)}")
