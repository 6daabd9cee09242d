"""Detectors that give class scores and decoded boxes apart: UltraFace, YOLO-NAS, YOLOv4 in PyTorch, and others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.class_scores import Background, ClassScores, ScoreForm
from agent.core.heads.tensors import BoxFormat, cells, dequantize, described, in_pixels, normalized, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec

COCO = 80
FACE_OR_NOT = 2
YOLO_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class ScoresBoxesOptions:
    """box: what the four numbers of a box are: corners or centre and size, fractions or pixels of the input; None: x1 y1 x2 y2,
    their unit told from the range of a quantized tensor, or from how far to the right the boxes of each picture reach.

    scores: probabilities, or logits whose sigmoid or softmax is to be taken; None: told from the numbers, as probabilities or
    logits of a sigmoid. background: which of a box's scores stands for nothing; None: told from the number of labels; without
    them none for 80 classes, the first of two.
    """

    box: BoxFormat | None = None
    scores: ScoreForm | None = None
    background: Background | None = None


class ScoresBoxes:
    """Two tensors in any order: scores [1, N, C], with or without a background class, and boxes [1, N, 4] or [1, N, 1, 4].

    Sources: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, vision/ssd/ssd.py and convert_to_onnx.py (softmax, background
    first, corners as fractions); Deci-AI/super-gradients, documentation of YOLO-NAS's export (sigmoid, corners in pixels);
    Tianxiaomo/pytorch-YOLOv4, tool/yolo_layer.py (three boxes a cell, objectness multiplied in, corners as fractions).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[ScoresBoxesOptions]] = ScoresBoxesOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.5, iou=0.45)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: ScoresBoxesOptions) -> None:
        self._scores, self._boxes = scores_and_boxes("scores_boxes", _flat(outputs.tensors))
        scores, self._tensor = outputs.tensors[self._scores], outputs.tensors[self._boxes]
        background = options.background or _background(outputs, scores)
        if background is None:
            raise ValueError(
                f"is one of the {scores.shape[2]} scores of {described([scores])} the background? "
                "The scores_boxes head's option background has to say none, first or last"
            )
        self._best = ClassScores(scores, options.scores, background).best
        self._size = outputs.input_size
        self._box = options.box

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C, less one where that is what the labels or a pair of scores make of it. ValueError where the tensors do not fit."""
        scores = outputs.tensors[scores_and_boxes("scores_boxes", _flat(outputs.tensors))[0]]
        return scores.shape[2] - (_background(outputs, scores) == "first")

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        keep, scores, class_ids = self._best(tensors[self._scores][0], thresholds.score)
        rows = tensors[self._boxes].reshape(-1, 4)
        box = self._box or ("xyxy_normalized" if normalized(self._tensor, rows[:, 2]) else "xyxy_pixels")
        return ranked(in_pixels(dequantize(rows[keep], self._tensor), box, self._size), scores, class_ids)


def scores_and_boxes(head: str, tensors: Sequence[TensorSpec]) -> tuple[int, int]:
    """Which tensor is [1, N, C] and which [1, N, 4]; of two [1, N, 4] the one named for boxes. ValueError where none is."""
    if len(tensors) == 2 and all(len(tensor.shape) == 3 for tensor in tensors):
        fours = [i for i, tensor in enumerate(tensors) if tensor.shape[-1] == 4]
        if len(fours) == 2:
            fours = [i for i in fours if "box" in tensors[i].name.lower() or tensors[i].name == "dets"]
        if len(fours) == 1 and tensors[0].shape[1] == tensors[1].shape[1] and tensors[1 - fours[0]].shape[2] > 0:
            return 1 - fours[0], fours[0]
    raise ValueError(f"the {head} head needs two tensors, scores [1, N, classes] and boxes [1, N, 4], not {described(tensors)}")


def _flat(tensors: Sequence[TensorSpec]) -> list[TensorSpec]:
    """[1, N, 1, 4] as [1, N, 4]."""
    return [replace(t, shape=(*t.shape[:2], 4)) if len(t.shape) == 4 and t.shape[2:] == (1, 4) else t for t in tensors]


def _background(outputs: ModelOutputs, scores: TensorSpec) -> Background | None:
    _, n, columns = scores.shape
    if outputs.classes and outputs.classes in (columns, columns - 1):
        return "none" if outputs.classes == columns else "first"
    if columns in (1, COCO) or n in (cells(outputs.input_size, YOLO_STRIDES), 3 * cells(outputs.input_size, YOLO_STRIDES)):
        return "none"
    return "first" if columns in (FACE_OR_NOT, COCO + 1) else None
