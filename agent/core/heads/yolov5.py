"""YOLO with objectness, its grids decoded: YOLOv3, v4, v5, v7; v6 by an option."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import cells, corners, dequantize, described, least, normalized, not_below, ranked
from agent.core.heads.yolo import LETTERBOX
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections

ANCHORS = 3  # boxes a cell
STRIDES = ((8, 16, 32), (16, 32), (8, 16, 32, 64), (4, 8, 16, 32))  # the common grids, the tiny ones, P6, and one finer grid
YOLOV6_OUTPUT = "outputs"  # as meituan/YOLOv6, deploy/ONNX/export_onnx.py, calls it


@dataclass(frozen=True, slots=True)
class YoloV5Options:
    """box: whether boxes are fractions of the input (YOLOv5's TFLite exports) or pixels of it (its ONNX exports); None: it is told
    from the range of a quantized tensor, or from how far to the right the boxes of each picture reach.

    anchors: boxes a cell; 1 for YOLOv6, and for YOLOX exported with --decode_in_inference; None: 3.
    """

    box: Literal["xywh_normalized", "xywh_pixels"] | None = None
    anchors: Literal[1, 3] | None = None


class YoloV5:
    """One tensor [1, N, 5 + C], or transposed [1, 5 + C, N]: centre x, centre y, width, height, objectness, C class scores.

    N: the boxes of all cells. score = objectness * class score, sigmoid applied to both. Sources: ultralytics/yolov5,
    models/yolo.py (Detect) and models/tf.py (TFDetect, which divides boxes by the input's size); WongKinYiu/yolov7, models/yolo.py;
    meituan/YOLOv6, yolov6/models/effidehead.py, one box a cell and an objectness of 1.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[YoloV5Options]] = YoloV5Options
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=0.45)
    input: ClassVar[dict[str, Any]] = LETTERBOX

    def __init__(self, outputs: ModelOutputs, options: YoloV5Options) -> None:
        self._rows_are_boxes, _ = _shape(outputs, options.anchors)
        (self._tensor,) = outputs.tensors
        width, height = outputs.input_size
        self._size = np.array([width, height, width, height], np.float32)
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C. ValueError where there is not one tensor of such a shape."""
        try:
            return _shape(outputs, 1)[1]
        except ValueError:
            return _shape(outputs, ANCHORS)[1]

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        columns = tensors[0][0].T if self._rows_are_boxes else tensors[0][0]  # (5 + C, N)
        likely = not_below(columns[4], least(thresholds.score, self._tensor))  # a score is at most its objectness
        found = dequantize(columns[:, likely], self._tensor)
        scores = found[4] * found[5:].max(axis=0)
        keep = not_below(scores, thresholds.score)
        found = found[:, keep]
        boxes = corners(found[:4].T)
        if self._box == "xywh_normalized" or (self._box is None and normalized(self._tensor, columns[0])):
            boxes *= self._size
        return ranked(boxes, scores[keep], found[5:].argmax(axis=0))


def _shape(outputs: ModelOutputs, anchors: int | None) -> tuple[bool, int]:
    """Whether the tensor is [1, N, 5 + C] rather than [1, 5 + C, N], and C; ValueError where it is neither."""
    tensor = outputs.tensors[0] if len(outputs.tensors) == 1 else None
    if anchors is None:
        anchors = 1 if tensor and tensor.name == YOLOV6_OUTPUT and _boxes(outputs, 1) & set(tensor.shape) else ANCHORS
    counts = _boxes(outputs, anchors) | {-1}
    if tensor and len(tensor.shape) == 3:
        _, rows, columns = tensor.shape
        if rows in counts and columns > 5:
            return True, columns - 5
        if columns in counts and rows > 5:
            return False, rows - 5
    n = anchors * cells(outputs.input_size, STRIDES[0])
    needed = f"one tensor [1, {n}, 5 + classes], {anchors} boxes a cell, at input size {list(outputs.input_size)}"
    raise ValueError(f"the yolov5 head needs {needed}, not {described(outputs.tensors)}")


def _boxes(outputs: ModelOutputs, anchors: int) -> set[int]:
    return {anchors * cells(outputs.input_size, strides) for strides in STRIDES}
