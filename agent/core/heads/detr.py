"""Transformers that give a fixed number of queries: DETR, RT-DETR, RF-DETR, D-FINE."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.class_scores import Background, ClassScores, ScoreForm
from agent.core.heads.scores_boxes import scores_and_boxes
from agent.core.heads.tensors import dequantize, described, in_pixels, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec

DETR_QUERIES = 100
MOST_QUERIES = 1000  # more are the cells of a grid or anchors; and queries come by the fifty
RF_DETR = "labels"  # as roboflow/rf-detr names its logits


@dataclass(frozen=True, slots=True)
class DetrOptions:
    """scores: what the class scores are; None: of two tensors logits, a softmax where there are 100 queries (DETR, YOLOS), else a
    sigmoid (RT-DETR, RF-DETR, D-FINE, Deformable DETR); of one tensor probabilities.

    background: whether a class that stands for nothing is among them; None: the last one of a softmax, else none, unless there is
    one label less than scores (RF-DETR after training on classes of one's own).
    """

    scores: ScoreForm | None = None
    background: Background | None = None


class Detr:
    """Two tensors in any order, logits [1, Q, C] and boxes [1, Q, 4]; or one [1, Q, 4 + C], boxes first. Q: the queries.

    Boxes are centre x, centre y, width, height as fractions of the input. A query is one object of its best class. Sources:
    facebookresearch/detr, models/detr.py (PostProcess); huggingface/transformers, models/rt_detr; roboflow/rf-detr,
    src/rfdetr/export/_runtime/decode.py; ultralytics/ultralytics, ultralytics/nn/modules/head.py (RTDETRDecoder: one tensor).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[DetrOptions]] = DetrOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.4, iou=None)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: DetrOptions) -> None:
        self._scores, self._boxes = _layout(outputs)
        self._tensors = outputs.tensors
        scores = outputs.tensors[self._scores]
        form = options.scores or _form(outputs, scores)
        background = options.background or _background(outputs, scores, form)
        columns = scores.shape[2] - 4 * self._one
        if outputs.classes not in (0, columns - (background != "none")):
            said = f"scores: {form} and background: {background}"
            raise ValueError(f"{outputs.classes} labels for {columns} scores of {described([scores])} with {said}")
        self._best = ClassScores(scores, form, background).best
        self._size = outputs.input_size

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C, without a class that stands for nothing. ValueError where the tensors do not fit."""
        at, boxes = _layout(outputs)
        scores = outputs.tensors[at]
        return scores.shape[2] - 4 * (at == boxes) - (_background(outputs, scores, _form(outputs, scores)) != "none")

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first, boxes in pixels of the model's input."""
        rows = tensors[self._scores][0]
        keep, scores, class_ids = self._best(rows[:, 4:] if self._one else rows, thresholds.score)
        boxes = dequantize(tensors[self._boxes][0][keep, :4], self._tensors[self._boxes])
        return ranked(in_pixels(boxes, "xywh_normalized", self._size), scores, class_ids)

    @property
    def _one(self) -> bool:
        return self._scores == self._boxes


def _layout(outputs: ModelOutputs) -> tuple[int, int]:
    """Which tensor holds the scores and which the boxes, the same where there is one."""
    tensors = outputs.tensors
    if len(tensors) == 1 and len(tensors[0].shape) == 3 and tensors[0].shape[2] > 4:
        at = 0, 0
    else:
        at = scores_and_boxes("detr", tensors)
    queries = tensors[at[0]].shape[1]
    if not 0 < queries <= MOST_QUERIES or queries % 50:
        raise ValueError(f"the detr head needs some hundred queries, such as [1, 300, classes], not {described(tensors)}")
    return at


def _form(outputs: ModelOutputs, scores: TensorSpec) -> ScoreForm:
    if len(outputs.tensors) == 1:
        return "probabilities"
    return "softmax" if scores.shape[1] == DETR_QUERIES and scores.name != RF_DETR else "sigmoid"


def _background(outputs: ModelOutputs, scores: TensorSpec, form: ScoreForm) -> Background:
    if form == "softmax":
        return "last"
    return "last" if len(outputs.tensors) == 2 and 0 < outputs.classes == scores.shape[2] - 1 else "none"
