"""Edge Impulse's FOMO: a grid of cells, each with a probability for every class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import dequantize, described, least, not_below, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections

CELL_PIXELS = (4, 8, 16)  # 8 unless the network was cut elsewhere; finer grids are masks


@dataclass(frozen=True, slots=True)
class FomoOptions:
    """None."""


class Fomo:
    """One tensor [1, h, w, C + 1]: probabilities of each cell, the first of the background.

    A cell over the threshold is a box; boxes of one class that touch, corners included, become one, with the best of their scores.
    Source: edgeimpulse/inferencing-sdk-cpp, classifier/ei_fill_result_struct.h (fill_result_struct_f32_fomo, ei_handle_cube).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[FomoOptions]] = FomoOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.5, iou=None)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "crop", "mean": (0.0,), "std": (255.0,)}

    def __init__(self, outputs: ModelOutputs, options: FomoOptions) -> None:  # noqa: ARG002  there are none
        self.classes(outputs)
        (self._tensor,) = outputs.tensors
        _, rows, columns, _ = self._tensor.shape
        width, height = outputs.input_size
        self._cell = np.array([width / columns, height / rows] * 2, np.float32)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C. ValueError where there is not one grid of whole cells."""
        shape = outputs.tensors[0].shape if len(outputs.tensors) == 1 else ()
        width, height = outputs.input_size
        grids = [(width // n, height // n) for n in CELL_PIXELS]
        if len(shape) != 4 or shape[3] < 2 or 0 in shape or (shape[2], shape[1]) not in grids:
            needed = f"one tensor [1, {height // 8}, {width // 8}, 1 + classes] at input size {[width, height]}"
            raise ValueError(f"the fomo head needs {needed}, not {described(outputs.tensors)}")
        return shape[3] - 1

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        grid = tensors[0][0, :, :, 1:]
        likely = not_below(grid.ravel(), least(thresholds.score, self._tensor))
        rows, columns, classes = np.unravel_index(likely, grid.shape)
        scores = dequantize(grid.ravel()[likely], self._tensor)
        cells = np.stack((columns, rows, columns + 1, rows + 1), axis=1)
        found = [(class_id, *_merged(cells[classes == class_id], scores[classes == class_id])) for class_id in np.unique(classes)]
        boxes = [box for _, boxes, _ in found for box in boxes]
        best = np.array([score for _, _, scores in found for score in scores], np.float32)
        class_ids = np.array([class_id for class_id, boxes, _ in found for _ in boxes], np.int32)
        return ranked(np.array(boxes, np.float32).reshape(-1, 4) * self._cell, best, class_ids)


def _merged(cells: NDArray[np.intp], scores: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(n, 4) boxes x1 y1 x2 y2 of cells of one class, none of which touches another, and the best score in each."""
    boxes, best = cells[:0], scores[:0]
    for cell, score in zip(cells, scores, strict=True):
        touched = _touching(boxes, cell)
        while touched.any():  # a box that grows may touch the next
            joined = np.concatenate((boxes[touched], cell[None]))
            cell = np.concatenate((joined[:, :2].min(axis=0), joined[:, 2:].max(axis=0)))  # noqa: PLW2901  it has grown
            score = np.concatenate((best[touched], [score])).max()  # noqa: PLW2901  and taken the best score
            boxes, best = boxes[~touched], best[~touched]
            touched = _touching(boxes, cell)
        boxes, best = np.concatenate((boxes, cell[None])), np.concatenate((best, [score]))
    return boxes, best


def _touching(boxes: NDArray[np.intp], cell: NDArray[np.intp]) -> NDArray[np.bool_]:
    touching: NDArray[np.bool_] = np.all((boxes[:, :2] <= cell[2:]) & (boxes[:, 2:] >= cell[:2]), axis=1)
    return touching
