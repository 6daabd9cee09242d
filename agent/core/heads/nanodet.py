"""NanoDet, NanoDet-Plus and PicoDet: class scores and, for each side of a box, a distribution of its distance (GFL)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.class_scores import ClassScores
from agent.core.heads.tensors import cells, check_strides, dequantize, described, grids, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec

STRIDES = ((8, 16, 32, 64), (8, 16, 32))  # NanoDet-Plus and PicoDet; NanoDet


@dataclass(frozen=True, slots=True)
class NanoDetOptions:
    """reg_max: the largest distance of a distribution, in cells (7; 10 in NanoDet-g). strides: pixels to a cell of each grid; None:
    told from the shapes. center: where in its cell distances begin, 0 at its corner, 0.5 in its middle; None: 0 for one tensor
    (NanoDet-Plus), 0.5 for one or two a grid (NanoDet, PicoDet). scores: probabilities, or logits whose sigmoid is to be taken.
    """

    reg_max: int = 7
    strides: tuple[int, ...] | None = None
    center: float | None = None
    scores: Literal["probabilities", "sigmoid"] = "probabilities"

    def __post_init__(self) -> None:
        """ValueError for what makes no grids or distributions."""
        if self.strides is not None:
            check_strides(self.strides)
        if self.reg_max < 1:
            raise ValueError(f"reg_max is a number of cells, such as 7, not {self.reg_max}")


@dataclass(frozen=True, slots=True)
class _Part:
    """Where the scores and the distances of some grids are. first: the first of the cells."""

    scores: int
    distances: int
    first: int


class NanoDet:
    """One tensor [1, N, C + 4 B] over all grids; or for each grid scores [1, n, C] and distances [1, n, 4 B]; B = reg_max + 1.

    A side's distance from the cell is the mean of the softmax of its B logits, in cells; left, top, right, bottom. Grids
    follow one another by stride; cells at the edge may be cut off. Sources: RangiLyu/nanodet, nanodet/model/head/
    nanodet_plus_head.py (cells at x * stride) and gfl_head.py, demo_openvino/nanodet_openvino.cpp ((x + 0.5) * stride);
    PaddlePaddle/PaddleDetection, deploy/third_engine/demo_openvino (PicoDet).
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[NanoDetOptions]] = NanoDetOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.35, iou=0.6)
    input: ClassVar[dict[str, Any]] = {
        "color": "bgr",
        "resize": "stretch",
        "mean": (103.53, 116.28, 123.675),
        "std": (57.375, 57.12, 58.395),
    }

    def __init__(self, outputs: ModelOutputs, options: NanoDetOptions) -> None:
        self._bins = options.reg_max + 1
        self._tensors = outputs.tensors
        self._parts, strides = _parts(outputs, options)
        center = options.center if options.center is not None else 0.0 if len(outputs.tensors) == 1 else 0.5
        corners, self._strides = grids(outputs.input_size, strides, cut_cells=True)
        self._cells = corners + np.float32(center)
        width, height = outputs.input_size
        self._size = np.array([width, height, width, height], np.float32)
        self._best = [ClassScores(outputs.tensors[part.scores], options.scores, "none").best for part in self._parts]

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C with distributions of the usual reg_max, None where several tensors have others. ValueError where none is left."""
        bins = cls.Options().reg_max + 1
        if len(outputs.tensors) > 2 and all(len(tensor.shape) == 3 for tensor in outputs.tensors):
            columns = {tensor.shape[2] for tensor in outputs.tensors}
            return min(columns - {4 * bins}) if 4 * bins in columns and len(columns) == 2 else None
        return _columns(outputs.tensors, bins)

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first; boxes in pixels of the model's input, clipped to it."""
        found = [self._decode(i, tensors, thresholds.score) for i in range(len(self._parts))]
        boxes, scores, class_ids = (np.concatenate(values) for values in zip(*found, strict=True))
        return ranked(boxes, scores, class_ids)

    def _decode(self, i: int, tensors: Sequence[NDArray[Any]], threshold: float) -> tuple[NDArray[Any], ...]:
        part = self._parts[i]
        whole = part.scores == part.distances
        rows, distances = tensors[part.scores][0], tensors[part.distances][0]
        keep, scores, class_ids = self._best[i](rows[:, : -4 * self._bins] if whole else rows, threshold)
        logits = dequantize(distances[keep, -4 * self._bins :], self._tensors[part.distances]).reshape(-1, 4, self._bins)
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        sides = (powers @ np.arange(self._bins, dtype=np.float32)) / powers.sum(axis=2)  # left, top, right, bottom
        places, strides = self._cells[part.first + keep], self._strides[part.first + keep]
        boxes = np.concatenate((places - sides[:, :2], places + sides[:, 2:]), axis=1) * strides
        return boxes.clip(0, self._size), scores, class_ids


class PicoDet(NanoDet):
    """As NanoDet with two tensors for each of four grids, and trained on RGB.

    Source: PaddlePaddle/PaddleDetection, configs/picodet/_base_/picodet_416_reader.yml.
    """

    input: ClassVar[dict[str, Any]] = {
        "color": "rgb",
        "resize": "stretch",
        "mean": (123.675, 116.28, 103.53),
        "std": (58.395, 57.12, 57.375),
    }

    def __init__(self, outputs: ModelOutputs, options: NanoDetOptions) -> None:
        self.classes(outputs)
        super().__init__(outputs, options)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """As NanoDet's. ValueError where there are not eight tensors."""
        if len(outputs.tensors) != 2 * len(STRIDES[0]):
            raise ValueError(f"the picodet head needs scores and distances of four grids, not {described(outputs.tensors)}")
        return super().classes(outputs)


def _parts(outputs: ModelOutputs, options: NanoDetOptions) -> tuple[list[_Part], tuple[int, ...]]:
    """Where everything is, and the strides of the grids."""
    tensors, bins = outputs.tensors, options.reg_max + 1
    needed = f"[1, N, classes + {4 * bins}], or scores [1, n, classes] and distances [1, n, {4 * bins}] of each grid"
    wrong = f"at input size {list(outputs.input_size)}, not {described(tensors)}"
    for strides in (options.strides,) if options.strides else STRIDES:
        counts = [cells(outputs.input_size, (stride,), cut_cells=True) for stride in strides]
        if len(tensors) == 1 and _columns(tensors, bins) and tensors[0].shape[1] in (sum(counts), -1):
            return [_Part(0, 0, 0)], strides
        if len(tensors) == 2 * len(strides) and (pairs := _pairs(tensors, counts, 4 * bins)):
            firsts = [sum(counts[:i]) for i in range(len(counts))]
            return [_Part(*pair, first) for pair, first in zip(pairs, firsts, strict=True)], strides
    raise ValueError(f"the nanodet head needs {needed} {wrong}")


def _pairs(tensors: Sequence[TensorSpec], counts: Sequence[int], columns: int) -> list[tuple[int, int]]:
    """For each grid the places of its scores and distances, of two alike the scores first; empty where they are not all there."""
    if len(set(counts)) < len(counts) or any(len(tensor.shape) != 3 for tensor in tensors):
        return []
    pairs = []
    for count in counts:
        both = [i for i, tensor in enumerate(tensors) if tensor.shape[1] == count]
        if len(both) != 2 or columns not in [tensors[i].shape[2] for i in both]:
            return []
        scores, distances = both if tensors[both[1]].shape[2] == columns else both[::-1]
        pairs.append((scores, distances))
    return pairs if len({tensors[scores].shape[2] for scores, _ in pairs}) == 1 else []


def _columns(tensors: Sequence[TensorSpec], bins: int) -> int:
    """C of one tensor; ValueError where nothing is left for a class."""
    shape = tensors[0].shape if len(tensors) == 1 else ()
    if len(shape) != 3 or shape[2] <= 4 * bins:
        raise ValueError(f"the nanodet head needs one tensor [1, N, classes + {4 * bins}] or two a grid, not {described(tensors)}")
    return shape[2] - 4 * bins
