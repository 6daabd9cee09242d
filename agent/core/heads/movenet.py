"""MoveNet: the key points of one person, or of up to six."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import dequantize, described, not_below
from agent.core.spec import Task, Thresholds
from agent.core.types import Poses

POINTS = 17
PEOPLE = 6
LIKELY = 0.2  # least score of a point that the box of a single person goes around


@dataclass(frozen=True, slots=True)
class MoveNetOptions:
    """There is nothing to choose."""


class MoveNet:
    """singlepose [1, 1, 17, 3]: y, x, score a point; the person's score is their mean, the box goes around the likely ones.
    multipose [1, 6, 56]: 17 times y, x, score, then the box y1 x1 y2 x2 and its score.

    All coordinates are fractions of the input. Source: tensorflow/tfjs-models, pose-detection/src/movenet/detector.ts and
    constants.ts; the model's page says that it takes RGB of 0 to 255, padded to a square.
    """

    task: ClassVar[Task] = "keypoints"
    Options: ClassVar[type[MoveNetOptions]] = MoveNetOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.25, iou=None)
    input: ClassVar[dict[str, Any]] = {
        "color": "rgb",
        "resize": "letterbox",
        "anchor": "center",
        "pad": 0,
        "mean": (0.0,),
        "std": (1.0,),
    }

    def __init__(self, outputs: ModelOutputs, options: MoveNetOptions) -> None:
        del options
        self.classes(outputs)
        (self._tensor,) = outputs.tensors
        self._size = np.array(outputs.input_size, np.float32)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """1. ValueError where there is not one tensor of either shape."""
        match [tensor.shape for tensor in outputs.tensors]:
            case [(1, 1, n, 3)] if n == POINTS:
                return 1
            case [(1, people, values)] if values == POINTS * 3 + 5 and people in (PEOPLE, -1):
                return 1
        needed = f"one tensor [1, 1, {POINTS}, 3] or [1, {PEOPLE}, {POINTS * 3 + 5}]"
        raise ValueError(f"the movenet head needs {needed}, not {described(outputs.tensors)}")

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Poses:
        """Poses scoring at least `thresholds.score`, best first; boxes and points in pixels of the model's input."""
        people = dequantize(tensors[0], self._tensor).reshape(-1, tensors[0].shape[-1] if tensors[0].ndim == 3 else POINTS * 3)
        points = people[:, : POINTS * 3].reshape(-1, POINTS, 3)[:, :, [1, 0, 2]]
        points[..., :2] *= self._size
        if tensors[0].ndim == 3:
            boxes = people[:, [52, 51, 54, 53]] * np.tile(self._size, 2)
            scores = people[:, 55]
        else:
            boxes, scores = _around(points), points[..., 2].mean(axis=1)
        keep = not_below(scores, thresholds.score)
        found = Poses(boxes, scores, np.zeros(len(scores), np.int32), points)[keep]
        return found[np.argsort(-found.scores, kind="stable")]


def _around(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) boxes x1 y1 x2 y2 around the likely ones of (n, k, 3) points, around all where none is."""
    likely = points[..., 2] >= LIKELY
    likely[~likely.any(axis=1)] = True
    low = np.where(likely[..., None], points[..., :2], np.inf).min(axis=1)
    high = np.where(likely[..., None], points[..., :2], -np.inf).max(axis=1)
    return np.concatenate((low, high), axis=1)
