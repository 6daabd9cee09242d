"""Heads turn a model's output tensors into predictions; one file a family. They run in the model worker: numpy alone.

A head is made once for a model and called for each frame. It filters by score on the tensor as it comes, quantized or not,
and dequantizes what is left. It does not suppress overlaps: the worker does, by `agent.core.nms`, if `Thresholds.iou` is a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from agent.core.spec import Task, Thresholds
from agent.core.types import Prediction, TensorSpec

HEADS: dict[str, str] = {  # in the order in which `agent.core.guess` prefers them
    "ssd": "agent.core.heads.ssd:Ssd",
    "ssd_raw": "agent.core.heads.ssd_raw:SsdRaw",
    "blazeface": "agent.core.heads.blazeface:BlazeFace",
    "detections": "agent.core.heads.detections:DetectionsHead",
    "detr": "agent.core.heads.detr:Detr",
    "scores_boxes": "agent.core.heads.scores_boxes:ScoresBoxes",
    "yolo_end2end": "agent.core.heads.yolo_end2end:YoloEnd2End",
    "yolox": "agent.core.heads.yolox:YoloX",
    "yolov5": "agent.core.heads.yolov5:YoloV5",
    "picodet": "agent.core.heads.nanodet:PicoDet",
    "nanodet": "agent.core.heads.nanodet:NanoDet",
    "yolo": "agent.core.heads.yolo:Yolo",
    "fomo": "agent.core.heads.fomo:Fomo",
    "movenet": "agent.core.heads.movenet:MoveNet",
    "yolo_pose": "agent.core.heads.yolo_pose:YoloPose",
    "segment": "agent.core.heads.segment:Segment",
    "mask": "agent.core.heads.mask:Mask",
    "classify": "agent.core.heads.classify:Classify",
}


FAMILIES: dict[str, str] = {  # what people call their model, where no head is called that
    **dict.fromkeys(("yolov3", "yolov4", "yolov6", "yolov7"), "yolov5"),
    **dict.fromkeys(("yolov8", "yolov9", "yolo11", "yolo12"), "yolo"),
    **dict.fromkeys(("yolov10", "yolo26"), "yolo_end2end"),
    **dict.fromkeys(("rtdetr", "rfdetr", "dfine"), "detr"),
    "gfl": "nanodet",
    **dict.fromkeys(("ultraface", "yolonas"), "scores_boxes"),
}


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """What a head is made from. input_size: (width, height) of the model's input; classes: number of labels, 0 where unknown."""

    tensors: tuple[TensorSpec, ...]
    input_size: tuple[int, int]
    classes: int


class Head(Protocol):
    """Decodes one family of output tensors."""

    task: ClassVar[Task]
    Options: ClassVar[type[Any]]  # a frozen dataclass: the keys that `head:` of a bundle may have besides `type`, with defaults
    defaults: ClassVar[Thresholds]  # where neither bundle nor pipeline says
    input: ClassVar[dict[str, Any]]  # fields of InputSpec that this family is commonly trained with

    def __init__(self, outputs: ModelOutputs, options: Any) -> None:
        """Raise ValueError, naming the tensor and what would fit, where `outputs` is not this family's."""

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """Number of classes that the tensors imply, None where they do not say; ValueError where they do not fit this family.

        Where a class for the background may be among them, `outputs.classes` tells.
        """

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Prediction:
        """Predictions scoring at least `thresholds.score`, best first; boxes, points and maps in pixels of the model's input.

        tensors: in the order of `outputs.tensors`.
        """
