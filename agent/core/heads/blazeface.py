"""MediaPipe's face and palm detectors (BlazeFace): box regressors relative to the centres of cells, and one score each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.class_scores import ClassScores
from agent.core.heads.tensors import cells, check_strides, corners, dequantize, described, grids, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec

LAYERS = ((8, 16, 16, 16), (16, 32, 32, 32), (4,))  # short range and palms; the back camera's; full range
BOXES_A_CELL = (2, 1)  # of each layer, with and without the interpolated scale


@dataclass(frozen=True, slots=True)
class BlazeFaceOptions:
    """strides: of `SsdAnchorsCalculatorOptions`, one number a layer; None: told from the number of boxes."""

    strides: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """ValueError for a stride that is no number of pixels."""
        if self.strides is not None:
            check_strides(self.strides)


class BlazeFace:
    """Two tensors in any order: regressors [1, N, 4 + 2 K] in pixels of the input, scores [1, N, 1] whose sigmoid is taken.

    The first four are centre x and y relative to the cell's centre, width, height; K key points follow and are left out. Layers of
    equal stride that follow one another share their cells. Sources: google-ai-edge/mediapipe, mediapipe/calculators/tflite/
    ssd_anchors_calculator.cc and tflite_tensors_to_detections_calculator.cc, with fixed_anchor_size and reverse_output_order.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[BlazeFaceOptions]] = BlazeFaceOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.5, iou=0.3)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "letterbox", "anchor": "center", "pad": 0}

    def __init__(self, outputs: ModelOutputs, options: BlazeFaceOptions) -> None:
        self._scores, self._boxes = _roles(outputs.tensors)
        scores, self._tensor = outputs.tensors[self._scores], outputs.tensors[self._boxes]
        layers = (options.strides,) if options.strides else LAYERS
        choices = ((strides, count) for strides in layers for count in BOXES_A_CELL)
        size, boxes = outputs.input_size, scores.shape[1]
        found = next((choice for choice in choices if choice[1] * cells(size, choice[0], cut_cells=True) == boxes), None)
        if found is None:
            why = "no strides of such a model" if options.strides is None else f"strides {list(options.strides)} do not"
            raise ValueError(f"blazeface: {why} make {boxes} boxes at input size {list(size)}, {described(outputs.tensors)}")
        self._centers = _centers(size, *found)
        self._best = ClassScores(scores, "sigmoid", "none").best

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """1. ValueError where the tensors are not regressors and scores."""
        _roles(outputs.tensors)
        return 1

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        keep, scores, class_ids = self._best(tensors[self._scores][0], thresholds.score)
        boxes = dequantize(tensors[self._boxes][0][keep, :4], self._tensor)
        boxes[:, :2] += self._centers[keep]
        return ranked(corners(boxes), scores, class_ids)


def _centers(size: tuple[int, int], strides: Sequence[int], count: int) -> NDArray[np.float32]:
    """(N, 2): x and y of each box's cell's centre in pixels, with `count` boxes a cell and layer."""
    made = []
    for i, stride in enumerate(strides):
        if i and strides[i - 1] == stride:
            continue
        alike = next((j for j, other in enumerate(strides[i:]) if other != stride), len(strides) - i)
        places, _ = grids(size, (stride,), cut_cells=True)
        rows = places.max(axis=0) + 1
        made.append(((places + 0.5) / rows * np.array(size, np.float32)).repeat(alike * count, axis=0))
    return np.concatenate(made).astype(np.float32)


def _roles(tensors: Sequence[TensorSpec]) -> tuple[int, int]:
    """Where scores and regressors are."""
    if len(tensors) == 2 and all(len(tensor.shape) == 3 for tensor in tensors):
        columns = [tensor.shape[2] for tensor in tensors]
        if 1 in columns and max(columns) > 4 and max(columns) % 2 == 0 and tensors[0].shape[1] == tensors[1].shape[1]:
            return columns.index(1), 1 - columns.index(1)
    needed = "two tensors, scores [1, N, 1] and regressors [1, N, 4 + 2 for each key point]"
    raise ValueError(f"the blazeface head needs {needed}, not {described(tensors)}")
