"""YOLO with its suppression inside: YOLOv10, YOLO26, and Ultralytics' exports with nms=True."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import dequantize, described, in_pixels, least, normalized, not_below, ranked
from agent.core.heads.yolo import LETTERBOX
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections

MOST = 1000  # boxes of such a model, 300 unless its export says otherwise; more are the cells of a grid


@dataclass(frozen=True, slots=True)
class YoloEnd2EndOptions:
    """box: whether boxes are fractions of the input (Ultralytics' older TFLite exports) or pixels of it (the others); None: it is
    told from the range of a quantized tensor, or from how far to the right the boxes of each picture reach.
    """

    box: Literal["xyxy_normalized", "xyxy_pixels"] | None = None


class YoloEnd2End:
    """One tensor [1, N, 6]: x1, y1, x2, y2, score and class of each box, best first, padded with scores of 0.

    Source: ultralytics/ultralytics, ultralytics/nn/modules/head.py (Detect.postprocess), ultralytics/engine/exporter.py (NMSModel).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[YoloEnd2EndOptions]] = YoloEnd2EndOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=None)
    input: ClassVar[dict[str, Any]] = LETTERBOX

    def __init__(self, outputs: ModelOutputs, options: YoloEnd2EndOptions) -> None:
        self.classes(outputs)
        (self._tensor,) = outputs.tensors
        self._size = outputs.input_size
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """None: the tensor does not say. ValueError where it is not one [1, N, 6] with N at most `MOST`."""
        shape = outputs.tensors[0].shape if len(outputs.tensors) == 1 else ()
        if len(shape) != 3 or shape[2] != 6 or shape[1] > MOST:
            needed = "one tensor [1, N, 6]: x1, y1, x2, y2, score, class"
            raise ValueError(f"the yolo_end2end head needs {needed}, not {described(outputs.tensors)}")
        return None

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        rows = tensors[0][0]  # (N, 6)
        found = dequantize(rows[not_below(rows[:, 4], least(thresholds.score, self._tensor))], self._tensor)
        box = self._box or ("xyxy_normalized" if normalized(self._tensor, rows[:, 2]) else "xyxy_pixels")
        class_ids = np.rint(np.nan_to_num(found[:, 5], nan=-1)).clip(-1, 2**24)  # -1: no class, for the agent to notice
        return ranked(in_pixels(found[:, :4], box, self._size), found[:, 4], class_ids)
