"""SSD models that end before TensorFlow's post-processing: box encodings relative to anchors, and class scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.class_scores import Background, ClassScores, ScoreForm
from agent.core.heads.scores_boxes import scores_and_boxes
from agent.core.heads.tensors import LARGEST, cells, check_strides, corners, dequantize, described, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections

SMALLEST_SCALE = 0.1  # of the extra anchor that a reduced finest grid has


@dataclass(frozen=True, slots=True)
class SsdRawOptions:
    """strides, min_scale, max_scale, aspect_ratios, interpolated_aspect_ratio, reduce_lowest: of `ssd_anchor_generator` in the
    model's pipeline.config, whose names are these but for reduce_boxes_in_lowest_layer. interpolated_aspect_ratio: 0 for none.

    box_scales: y, x, height and width scale of its faster_rcnn_box_coder. scores: probabilities or logits; None: told from the
    numbers. background: which of a box's scores stands for nothing; None: the first, unless there is a label for each.
    """

    strides: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 0.3333)
    interpolated_aspect_ratio: float = 1.0
    reduce_lowest: bool = True
    box_scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    scores: ScoreForm | None = None
    background: Background | None = None

    def __post_init__(self) -> None:
        """ValueError for what makes no anchors."""
        check_strides(self.strides)
        if not self.aspect_ratios or min(self.aspect_ratios) <= 0 or self.interpolated_aspect_ratio < 0:
            raise ValueError("aspect_ratios are widths over heights, above 0")
        if min(self.box_scales) <= 0:
            raise ValueError("box_scales are four numbers above 0")


class SsdRaw:
    """Two tensors in any order: class scores [1, N, C] and boxes [1, N, 4] of ty, tx, th, tw for N anchors.

    y = ty / scale * height of the anchor + its centre, height = exp(th / scale) * that of the anchor; x likewise. Sources:
    tensorflow/models, research/object_detection/box_coders/faster_rcnn_box_coder.py and anchor_generators/
    multiple_grid_anchor_generator.py (create_ssd_anchors). Anchors of multiscale_anchor_generator (FPN) are not built.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[SsdRawOptions]] = SsdRawOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.4, iou=0.6)
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch", "mean": (127.5,), "std": (127.5,)}

    def __init__(self, outputs: ModelOutputs, options: SsdRawOptions) -> None:
        self._scores, self._boxes = scores_and_boxes("ssd_raw", outputs.tensors)
        scores, self._tensor = outputs.tensors[self._scores], outputs.tensors[self._boxes]
        grids = zip(options.strides, _shapes(options), strict=True)
        count = sum(len(shapes) * cells(outputs.input_size, (stride,), cut_cells=True) for stride, shapes in grids)
        if scores.shape[1] not in (count, -1):
            made = f"its anchor options make {count} anchors at input size {list(outputs.input_size)}"
            raise ValueError(f"the ssd_raw head needs [1, N, classes] and [1, N, 4], but {made}, not {described(outputs.tensors)}")
        self._anchors = ssd_anchors(outputs.input_size, options)
        background = options.background or _background(outputs, scores.shape[2])
        self._best = ClassScores(scores, options.scores, background).best
        width, height = outputs.input_size
        self._size = np.array([width, height, width, height], np.float32)
        self._box_scales = np.array(options.box_scales, np.float32)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """C, less the background. ValueError where the tensors do not fit."""
        columns = outputs.tensors[scores_and_boxes("ssd_raw", outputs.tensors)[0]].shape[2]
        return columns - (_background(outputs, columns) == "first")

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first; boxes in pixels of the model's input, clipped to it."""
        keep, scores, class_ids = self._best(tensors[self._scores][0], thresholds.score)
        encoded = dequantize(tensors[self._boxes][0][keep], self._tensor) / self._box_scales
        anchors = self._anchors[keep]  # y, x, height, width
        centers = encoded[:, :2] * anchors[:, 2:] + anchors[:, :2]
        sizes = np.exp(np.minimum(encoded[:, 2:], LARGEST)) * anchors[:, 2:]
        boxes = corners(np.concatenate((centers[:, ::-1], sizes[:, ::-1]), axis=1))
        return ranked(boxes.clip(0, 1) * self._size, scores, class_ids)


def ssd_anchors(size: tuple[int, int], options: SsdRawOptions) -> NDArray[np.float32]:
    """(N, 4): centre y, centre x, height, width of the anchors as fractions of the input, by grid, row, column, shape."""
    made = []
    for stride, shapes in zip(options.strides, _shapes(options), strict=True):
        columns, rows = (math.ceil(side / stride) for side in size)
        y, x = np.mgrid[:rows, :columns]
        centers = np.stack(((y.ravel() + 0.5) / rows, (x.ravel() + 0.5) / columns), axis=1)
        sizes = np.array([(s / math.sqrt(ratio), s * math.sqrt(ratio)) for s, ratio in shapes])
        made.append(np.concatenate((centers.repeat(len(shapes), axis=0), np.tile(sizes, (len(centers), 1))), axis=1))
    return np.concatenate(made).astype(np.float32)


def _shapes(options: SsdRawOptions) -> list[list[tuple[float, float]]]:
    """Of each grid: scale and aspect ratio of the anchors of a cell."""
    steps = len(options.strides) - 1
    scales = [options.min_scale + (options.max_scale - options.min_scale) * i / max(steps, 1) for i in range(steps + 1)] + [1.0]
    made = []
    for i, scale in enumerate(scales[:-1]):
        if i == 0 and options.reduce_lowest:
            shapes = [(SMALLEST_SCALE, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            shapes = [(scale, ratio) for ratio in options.aspect_ratios]
            if options.interpolated_aspect_ratio:
                shapes.append((math.sqrt(scale * scales[i + 1]), options.interpolated_aspect_ratio))
        made.append(shapes)
    return made


def _background(outputs: ModelOutputs, columns: int) -> Background:
    return "none" if columns in (1, outputs.classes) else "first"
