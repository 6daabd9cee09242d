"""Classifiers: one score for each class of the whole picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import dequantize, described, least, not_below, within_unit
from agent.core.spec import Task, Thresholds
from agent.core.types import Classes

TOLERANCE = 0.02  # quantized and half-precision probabilities do not quite sum to 1


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """scores: what the model gives; None: probabilities where its quantized range is 0 to 1, or where the scores of a picture sum
    to 1, logits otherwise. A model with several true labels (sigmoid) has to say probabilities.
    """

    scores: Literal["probabilities", "logits"] | None = None


class Classify:
    """One tensor of C scores, [1, C] or with more dimensions of 1: probabilities, or logits, whose softmax is taken."""

    task: ClassVar[Task] = "classify"
    Options: ClassVar[type[ClassifyOptions]] = ClassifyOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.0, iou=None, max_detections=5)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: ClassifyOptions) -> None:
        self.classes(outputs)
        (self._tensor,) = outputs.tensors
        scores = options.scores
        if scores is None and self._tensor.quantized and within_unit(self._tensor):
            scores = "probabilities"
        self._scores = scores

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C. ValueError where there is not one tensor of at least two scores."""
        shape = outputs.tensors[0].shape if outputs.tensors else ()
        long = [n for n in shape[1:] if n != 1]
        if len(outputs.tensors) != 1 or shape[:1] not in ((1,), (-1,)) or len(long) != 1 or long[0] < 0:
            raise ValueError(f"the classify head needs one tensor [1, classes], not {described(outputs.tensors)}")
        return long[0]

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Classes:
        """At most `thresholds.max_detections` classes scoring at least `thresholds.score`, best first."""
        raw = tensors[0].ravel()
        if self._scores == "probabilities":
            class_ids = not_below(raw, least(thresholds.score, self._tensor))
            scores = dequantize(raw[class_ids], self._tensor)
        else:
            scores = self._probabilities(dequantize(raw, self._tensor))
            class_ids = not_below(scores, thresholds.score)
            scores = scores[class_ids]
        order = np.argsort(-scores, kind="stable")[: thresholds.max_detections]
        return Classes(scores[order], class_ids[order].astype(np.int32))

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax of logits; what sums to 1 already, unless it is declared to be logits, stays as it is."""
        if self._scores is None and scores.min() >= 0 and abs(scores.sum() - 1) <= TOLERANCE:
            return scores
        powers = np.exp(scores - scores.max())
        probabilities: NDArray[np.float32] = powers / powers.sum()
        return probabilities
