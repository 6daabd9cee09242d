"""What was named, held against what lay on the belt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST_IOU = 0.5
Box = tuple[float, float, float, float]


class Thing(NamedTuple):
    """A part, or what the model takes for one. box: x1, y1, x2, y2, all boxes of one picture in the same unit."""

    label: str
    box: Box


@dataclass(slots=True)
class Score:
    """in_view: parts, counted anew in each frame. named: those of them with a detection of their label on them, at an IoU of at
    least `LEAST_IOU`, each detection taken for one part. false_alarms: detections that are left.
    """

    frames: int = 0
    in_view: int = 0
    named: int = 0
    false_alarms: int = 0

    def add(self, truth: Sequence[Thing], found: Iterable[Thing]) -> None:
        """Count a frame."""
        left = list(found)
        named = 0
        for part in truth:
            match = max(
                (thing for thing in left if thing.label == part.label and iou(thing.box, part.box) >= LEAST_IOU),
                key=lambda thing: iou(thing.box, part.box),
                default=None,
            )
            if match is not None:
                left.remove(match)
                named += 1
        self.frames += 1
        self.in_view += len(truth)
        self.named += named
        self.false_alarms += len(left)

    @property
    def named_pct(self) -> float:
        """Of the parts in view; 100 while there was none."""
        return 100 * self.named / self.in_view if self.in_view else 100.0


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
