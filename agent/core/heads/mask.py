"""Segmentation of one class: one score for every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.maps import Scores, are_probabilities, at_least, channels, check_area, check_finite, declared, layouts, planes
from agent.core.heads.tensors import dequantize, described, least, logit
from agent.core.masks import NOTHING
from agent.core.spec import Task, Thresholds
from agent.core.types import Layout, Segments


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """min_area: the least part of the input that the mask must take. scores: what the model gives; None: it is told from the range
    of a quantized tensor, or from that of a picture's scores.
    """

    min_area: float = 0.001
    scores: Scores | None = None

    def __post_init__(self) -> None:
        """ValueError for an area that is none."""
        check_area(self.min_area)


class Mask:
    """One tensor of one score a pixel, [1, h, w], [1, h, w, 1] or [1, 1, h, w]: probabilities, or logits, whose sigmoid is taken.

    h, w: those of the input, or both divided by the same number. What scores enough is of class 0. Source:
    qubvel-org/segmentation_models.pytorch, segmentation_models_pytorch/base/heads.py (SegmentationHead, for one class).
    """

    task: ClassVar[Task] = "segment"
    Options: ClassVar[type[MaskOptions]] = MaskOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.5, iou=None)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: MaskOptions) -> None:
        self._layout = _layout(outputs)
        (self._tensor,) = outputs.tensors
        self._scores = declared(options.scores, self._tensor)
        self._min_area = options.min_area

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """1. ValueError where there is not one tensor of that shape."""
        _layout(outputs)
        return 1

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Segments:
        """Class 0 where the model's input scores at least `thresholds.score`."""
        raw = planes(tensors[0], self._layout)[0]
        check_finite(raw)
        extremes = dequantize(np.array((raw.min(), raw.max())), self._tensor)
        score = thresholds.score if are_probabilities(self._scores, extremes) else logit(thresholds.score)
        return at_least(self._min_area, np.where(raw >= least(score, self._tensor), np.int16(0), np.int16(NOTHING)))


def _layout(outputs: ModelOutputs) -> Layout:
    """Of the tensor; ValueError where it is another kind of tensor."""
    for layout in layouts(outputs):
        (tensor,) = outputs.tensors
        if channels(tensor, layout) == 1 and (tensor.quantized or np.dtype(tensor.dtype).kind == "f"):
            return layout
    needed = f"one tensor [1, h, w, 1] or [1, 1, h, w] of scores, no larger than the input size {list(outputs.input_size)}"
    raise ValueError(f"the mask head needs {needed}, not {described(outputs.tensors)}")
