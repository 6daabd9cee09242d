"""Segmentation per pixel: DeepLab, and other models that score every class for every pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.maps import Scores, are_probabilities, at_least, channels, check_area, check_finite, declared, layouts, planes
from agent.core.heads.tensors import dequantize, described
from agent.core.masks import LARGEST_CLASS, NOTHING
from agent.core.spec import Task, Thresholds
from agent.core.types import Layout, Segments, TensorSpec


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """background: the class that is not reported; -1: there is none. min_area: the least part of the input that a class must take.
    scores: what the model gives, which matters where the least score is above 0; None: it is told from the range of a quantized
    tensor, or from that of a picture's scores. layout: of the output, where its shape fits both.
    """

    background: int = 0
    min_area: float = 0.001
    scores: Scores | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        """ValueError for an area or a class that is none."""
        check_area(self.min_area)
        if self.background < -1:
            raise ValueError(f"background is a class, or -1 where there is none, not {self.background}")


class Segment:
    """One tensor of C scores a pixel, probabilities or logits, [1, h, w, C] or [1, C, h, w], of which the best decides. Or one of
    integers, the classes already decided: [1, h, w], [1, h, w, 1] or [1, 1, h, w].

    h, w: those of the input, or both divided by the same number. Source: tensorflow/models, research/deeplab/model.py
    (predict_labels) and research/deeplab/export_model.py.
    """

    task: ClassVar[Task] = "segment"
    Options: ClassVar[type[SegmentOptions]] = SegmentOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.0, iou=None)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: SegmentOptions) -> None:
        fitting = _layouts(outputs)
        (self._tensor,) = outputs.tensors
        if options.layout is None and len(fitting) > 1:
            raise ValueError(
                f"which are the classes of {described(outputs.tensors)}? The segment head's option layout has to say it"
            )
        if options.layout not in (None, *fitting):
            raise ValueError(f"the segment head's layout is {options.layout}, which does not fit {described(outputs.tensors)}")
        self._layout = options.layout or fitting[0]
        self._scores = declared(options.scores, self._tensor)
        self._background = options.background
        self._min_area = options.min_area

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C; None where that is not plain, or the classes are decided already. ValueError where there is no such tensor."""
        first, *others = _layouts(outputs)
        (tensor,) = outputs.tensors
        return None if others or _are_classes(tensor, first) else channels(tensor, first)

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Segments:
        """The classes in the model's input; pixels whose class is less probable than `thresholds.score` are of none."""
        pixels = planes(tensors[0], self._layout)
        if _are_classes(self._tensor, self._layout):
            class_map = pixels[0].astype(np.int64).clip(NOTHING, LARGEST_CLASS).astype(np.int16)
        else:
            class_map = self._decided(pixels, thresholds.score)
        class_map[class_map == self._background] = NOTHING
        return at_least(self._min_area, class_map)

    def _decided(self, scores: NDArray[Any], least: float) -> NDArray[np.int16]:
        """(h, w): the class that scores best, of equals the first. scores: (C, h, w), as the tensor has them."""
        best = scores[0].copy()
        class_map = np.zeros(best.shape, np.int16)
        for class_id in range(1, len(scores)):
            np.copyto(class_map, class_id, where=scores[class_id] > best)
            np.maximum(best, scores[class_id], out=best)
        check_finite(best)
        if least > 0:
            class_map[self._probabilities(scores, dequantize(best, self._tensor)) < np.float32(least)] = NOTHING
        return class_map

    def _probabilities(self, scores: NDArray[Any], best: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w): of the best class, by softmax where the scores are logits."""
        if are_probabilities(self._scores, best):
            return best
        total = np.zeros_like(best)
        for plane in scores:
            total += np.exp(dequantize(plane, self._tensor) - best)
        return np.reciprocal(total)


def _layouts(outputs: ModelOutputs) -> list[Layout]:
    """The layouts that fit; ValueError where none does."""
    fitting = [
        layout
        for layout in layouts(outputs)
        if channels(outputs.tensors[0], layout) > 1 or _are_classes(outputs.tensors[0], layout)
    ]
    if not fitting:
        needed = "one tensor [1, h, w, classes] or [1, classes, h, w] of scores, or [1, h, w] of integers"
        size = f"no larger than the input size {list(outputs.input_size)}"
        raise ValueError(f"the segment head needs {needed}, {size}, not {described(outputs.tensors)}")
    return fitting


def _are_classes(tensor: TensorSpec, layout: Layout) -> bool:
    """Whether its numbers are classes rather than scores."""
    return channels(tensor, layout) == 1 and np.dtype(tensor.dtype).kind in "iu" and not tensor.quantized
