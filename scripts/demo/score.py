"""What was named, held against what lay on the belt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.sources.belt import IN_VIEW, Belt

LEAST_IOU = 0.5
Box = tuple[float, float, float, float]


class Thing(NamedTuple):
    """A part, or what a model takes for one. box: x1, y1, x2, y2, all boxes of one picture in the same unit."""

    label: str
    box: Box


class Truth(NamedTuple):
    """The parts in a picture. in_view: those that are to be named. partly: those at its edges, which may be named or not."""

    in_view: Sequence[Thing]
    partly: Sequence[Thing] = ()


def truth_of(belt: Belt, seq: int) -> Truth:
    """Of the belt's picture `seq`, in pixels."""
    parts = belt.truth(seq, least_shown=0)
    in_view = [Thing(part.label, part.box) for part in parts if part.shown >= IN_VIEW]
    return Truth(in_view, [Thing(part.label, part.box) for part in parts if part.shown < IN_VIEW])


@dataclass(slots=True)
class Score:
    """parts: in view, counted anew in each frame, by label. hits: those of them with a detection of their label on them, at an IoU
    of at least `LEAST_IOU`, each detection taken for one part. false_alarms: detections that are left, and not on a part at the
    edge.
    """

    frames: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    false_alarms: int = 0

    def add(self, truth: Truth, found: Sequence[Thing]) -> None:
        """Count a frame."""
        left = list(found)
        for part in truth.in_view:
            match = max(
                (thing for thing in left if thing.label == part.label), key=lambda thing: iou(thing.box, part.box), default=None
            )
            if match is not None and iou(match.box, part.box) >= LEAST_IOU:
                left.remove(match)
                self.hits[part.label] += 1
            self.parts[part.label] += 1
        self.frames += 1
        self.false_alarms += sum(not any(_on(thing.box, part.box) for part in truth.partly) for thing in left)

    @property
    def in_view(self) -> int:
        """Parts of every label."""
        return self.parts.total()

    @property
    def named(self) -> int:
        """Hits of every label."""
        return self.hits.total()

    @property
    def named_pct(self) -> float:
        """Of the parts in view; 100 while there was none."""
        return _pct(self.named, self.in_view)

    def named_pct_of(self, label: str) -> float:
        """As `named_pct`, of one label's parts."""
        return _pct(self.hits[label], self.parts[label])


def _pct(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    common = _common(a, b)
    return common / (_area(a) + _area(b) - common) if common else 0.0


def _on(a: Box, b: Box) -> bool:
    """Whether box a lies mostly in b."""
    return _common(a, b) >= LEAST_IOU * _area(a)


def _common(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
