"""YOLO with key points: Ultralytics v8, 11, 26."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import cells, corners, dequantize, described, least, normalized, not_below
from agent.core.heads.yolo import LETTERBOX, STRIDES, cell_counts
from agent.core.spec import Task, Thresholds
from agent.core.types import Poses

COCO = (17, 3)  # of a person
MOST_OBJECTS = 1000  # of an end-to-end export; 300 are common


@dataclass(frozen=True, slots=True)
class YoloPoseOptions:
    """kpt_shape: how many points an object has, and whether 2 (x, y) or 3 numbers (and a score) each, as the training data says it;
    None: the 17 of a person in COCO. box: whether boxes and points are fractions of the input (Ultralytics' TFLite exports) or
    pixels of it; None: it is told from the range of a quantized tensor, or from how far the boxes of each picture reach.
    """

    kpt_shape: tuple[int, int] | None = None
    box: Literal["xywh_normalized", "xywh_pixels"] | None = None

    def __post_init__(self) -> None:
        """ValueError for points that are none."""
        if self.kpt_shape is not None and (self.kpt_shape[0] < 1 or self.kpt_shape[1] not in (2, 3)):
            raise ValueError(f"kpt_shape is how many points, and 2 or 3 numbers each, such as [17, 3], not {list(self.kpt_shape)}")


class YoloPose:
    """One tensor [1, 4 + C + P, N], or transposed [1, N, 4 + C + P]: N cells' boxes (centre x, centre y, width, height), C class
    scores, and P numbers of key points: x, y, and a score where there are 3 of them a point.

    Or end to end [1, M, 6 + P]: x1 y1 x2 y2, score, class, P, for M objects. Points without a score of their own get the object's.
    Source: ultralytics/ultralytics, ultralytics/nn/modules/head.py (Pose, Pose26).
    """

    task: ClassVar[Task] = "keypoints"
    Options: ClassVar[type[YoloPoseOptions]] = YoloPoseOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=0.45)
    input: ClassVar[dict[str, Any]] = LETTERBOX

    def __init__(self, outputs: ModelOutputs, options: YoloPoseOptions) -> None:
        self._kpt_shape = options.kpt_shape or COCO
        self._rows_are_objects, self._classes = _shape(outputs, options.kpt_shape)
        (self._tensor,) = outputs.tensors
        self._size = np.array(outputs.input_size, np.float32)
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """None: how many of the numbers are points is an option. ValueError where no number of points would fit."""
        if len(outputs.tensors) == 1 and len(outputs.tensors[0].shape) == 3:
            _, rows, columns = outputs.tensors[0].shape
            raw = {rows, columns} & cell_counts(outputs.input_size)
            if raw or (rows <= MOST_OBJECTS and columns >= 6 + 2):
                return None
        raise ValueError(_misfit(outputs, COCO))

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Poses:
        """Poses scoring at least `thresholds.score`, best first, boxes and points in pixels of the model's input."""
        objects = tensors[0][0] if self._rows_are_objects else tensors[0][0].T  # (N, numbers)
        first_point = 4 + (self._classes or 2)
        best = objects[:, 4:first_point].max(axis=1) if self._classes else objects[:, 4]
        keep = not_below(best, least(thresholds.score, self._tensor))
        found = dequantize(objects[keep], self._tensor)
        scores = dequantize(best[keep], self._tensor)
        if self._classes:
            boxes, class_ids = corners(found[:, :4]), found[:, 4:first_point].argmax(axis=1)
        else:
            boxes, class_ids = found[:, :4], np.rint(np.nan_to_num(found[:, 5], nan=-1))
        count, per_point = self._kpt_shape
        points = np.empty((len(found), count, 3), np.float32)
        points[..., 2] = scores[:, None]  # where they have none of their own
        points[..., :per_point] = found[:, first_point:].reshape(len(found), count, per_point)
        if self._box == "xywh_normalized" or (self._box is None and normalized(self._tensor, objects[:, :4])):
            boxes = boxes * np.tile(self._size, 2)
            points[..., :2] *= self._size
        return Poses(boxes, scores, class_ids.astype(np.int32), points)[np.argsort(-scores, kind="stable")]


def _shape(outputs: ModelOutputs, kpt_shape: tuple[int, int] | None) -> tuple[bool, int]:
    """Whether the tensor is [1, objects, numbers] rather than [1, numbers, objects], and C, 0 for end to end.

    ValueError where it is neither, or leaves open how many points there are, or has other classes than there are labels.
    """
    YoloPose.classes(outputs)
    count, per_point = kpt_shape or COCO
    grids = cell_counts(outputs.input_size)
    _, rows, columns = outputs.tensors[0].shape
    if columns in grids:
        found = (False, rows - 4 - count * per_point)
    elif columns == 6 + count * per_point and (rows == -1 or rows not in grids):
        return True, 0
    elif rows in grids:
        found = (True, columns - 4 - count * per_point)
    else:
        raise ValueError(_misfit(outputs, (count, per_point)))
    if found[1] < 1 or (kpt_shape is None and found[1] != 1) or outputs.classes not in (0, found[1]):
        raise ValueError(_misfit(outputs, (count, per_point)))
    return found


def _misfit(outputs: ModelOutputs, kpt_shape: tuple[int, int]) -> str:
    numbers = kpt_shape[0] * kpt_shape[1]
    n = cells(outputs.input_size, STRIDES[0])
    raw = f"[1, {4 + numbers} + classes, {n}] or [1, {n}, {4 + numbers} + classes] at input size {list(outputs.input_size)}"
    labels = f" and {outputs.classes} labels" if outputs.classes else ""
    needed = f"for kpt_shape {list(kpt_shape)}{labels} one tensor {raw}, or [1, objects, {6 + numbers}]"
    return f"the yolo_pose head needs {needed}, not {described(outputs.tensors)}"
