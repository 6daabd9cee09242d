"""YOLOX, its grids not yet decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import LARGEST, cells, check_strides, corners, dequantize, described, grids, least, not_below, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections


@dataclass(frozen=True, slots=True)
class YoloXOptions:
    """strides: pixels of the input to a cell, one number a grid, in the order of the grids."""

    strides: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        """ValueError for a stride that is no number of pixels."""
        check_strides(self.strides)


class YoloX:
    """One tensor [1, N, 5 + C]: for each cell x, y, width, height, objectness and C class scores, sigmoid applied to the last two.

    The grids follow one another by stride, each by rows; N: their cells together. centre = (x, y + cell) * stride,
    size = exp(width, height) * stride, score = objectness * class score. Source: Megvii-BaseDetection/YOLOX,
    yolox/utils/demo_utils.py (demo_postprocess), for its standard export without --decode_in_inference.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[YoloXOptions]] = YoloXOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=0.45)
    input: ClassVar[dict[str, Any]] = {
        "color": "bgr",
        "resize": "letterbox",
        "anchor": "top_left",
        "pad": 114,
        "mean": (0.0,),
        "std": (1.0,),
    }

    def __init__(self, outputs: ModelOutputs, options: YoloXOptions) -> None:
        self.classes(outputs)
        (self._tensor,) = outputs.tensors
        n = cells(outputs.input_size, options.strides)
        if self._tensor.shape[1] not in (n, -1):
            needed = f"[1, {n}, 5 + classes] at input size {list(outputs.input_size)} and strides {list(options.strides)}"
            raise ValueError(f"the yolox head needs {needed}, not {described(outputs.tensors)}")
        self._cells, self._strides = grids(outputs.input_size, options.strides)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C. ValueError where there is not one tensor [1, N, 5 + C]."""
        if len(outputs.tensors) != 1 or len(outputs.tensors[0].shape) != 3 or outputs.tensors[0].shape[2] < 6:
            raise ValueError(f"the yolox head needs one tensor [1, cells, 5 + classes], not {described(outputs.tensors)}")
        return outputs.tensors[0].shape[2] - 5

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        rows = tensors[0][0]  # (N, 5 + C)
        likely = not_below(rows[:, 4], least(thresholds.score, self._tensor))  # a score is at most its objectness
        found = dequantize(rows[likely], self._tensor)
        scores = found[:, 4] * found[:, 5:].max(axis=1)
        keep = not_below(scores, thresholds.score)
        found, strides = found[keep], self._strides[likely[keep]]
        centers = (found[:, :2] + self._cells[likely[keep]]) * strides
        sizes = np.exp(np.minimum(found[:, 2:4], LARGEST)) * strides
        return ranked(corners(np.concatenate((centers, sizes), axis=1)), scores[keep], found[:, 5:].argmax(axis=1))
