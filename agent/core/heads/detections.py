"""Detectors that end in labels, boxes and scores: torchvision's, RT-DETR's and D-FINE's deploy exports of one input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import BoxFormat, dequantize, described, in_pixels, least, normalized, not_below, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec


@dataclass(frozen=True, slots=True)
class DetectionsOptions:
    """box: what the four numbers of a box are; None: x1 y1 x2 y2, fractions or pixels told from the range of a quantized tensor, or
    from how far to the right the boxes of each picture reach.
    """

    box: BoxFormat | None = None


class DetectionsHead:
    """Three tensors in any order: labels [1, N] of integers, boxes [1, N, 4], scores [1, N]; or the same without the first axis.

    Sources: lyuwenyu/RT-DETR, rtdetrv2_pytorch/tools/export_onnx.py; Peterande/D-FINE, tools/deployment/export_onnx.py (their
    second input, orig_target_sizes, must have been made a constant); pytorch/vision, torchvision/models/detection.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[DetectionsOptions]] = DetectionsOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.4, iou=None)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: DetectionsOptions) -> None:
        self._labels, self._boxes, self._scores = _roles(outputs.tensors)
        self._tensors = outputs.tensors
        self._size = outputs.input_size
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """None: the tensors do not say. ValueError where they are not those three."""
        _roles(outputs.tensors)
        return None

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        scores = tensors[self._scores].ravel()
        keep = not_below(scores, least(thresholds.score, self._tensors[self._scores]))
        rows, tensor = tensors[self._boxes].reshape(-1, 4), self._tensors[self._boxes]
        box = self._box or ("xyxy_normalized" if normalized(tensor, rows[:, 2]) else "xyxy_pixels")
        class_ids = tensors[self._labels].ravel()[keep].astype(np.int64).clip(-1, 2**24)
        boxes = in_pixels(dequantize(rows[keep], tensor), box, self._size)
        return ranked(boxes, dequantize(scores[keep], self._tensors[self._scores]), class_ids)


def _roles(tensors: Sequence[TensorSpec]) -> tuple[int, int, int]:
    """Where labels, boxes and scores are."""
    found = [_role(tensor) for tensor in tensors]
    if sorted(found) != ["boxes", "labels", "scores"]:
        needed = "three tensors: labels [1, N] of integers, boxes [1, N, 4], scores [1, N]"
        raise ValueError(f"the detections head needs {needed}, not {described(tensors)}")
    return found.index("labels"), found.index("boxes"), found.index("scores")


def _role(tensor: TensorSpec) -> str:
    shape = tensor.shape[1:] if tensor.shape[:1] == (1,) and len(tensor.shape) > 1 else tensor.shape
    if len(shape) == 2 + (tensor.shape[:1] == (-1,) and len(tensor.shape) == 3) and shape[-1] == 4:
        return "boxes"
    if len(shape) > 2 or not shape:
        return "other"
    return "labels" if np.dtype(tensor.dtype).kind in "iu" and not tensor.quantized else "scores"
