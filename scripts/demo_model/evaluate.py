"""How good a bundle is: AP50 on rendered pictures, and what it finds on the belt. Through the agent's own worker, not beside it.

usage: python -m scripts.demo_model.evaluate BUNDLE…
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundles.load import open_variants
from agent.cli.interruption import Interruption
from agent.cli.predictor import Predictor
from agent.core.types import Detections, Frame
from agent.pipeline.config import ModelConfig, PipelineConfig
from agent.pipeline.models import make_worker
from agent.sources.belt import Belt
from agent.worker.spawner import Spawner
from scripts.demo.score import Box, Score, Thing, truth_of
from scripts.demo_model.scene import LABELS, Scenes, render

Floats = NDArray[np.floating[Any]]

IOU = 0.5  # from which a detection is at the right place
TEST_SEED, TEST_PICTURES = 2, 600
BELT_FRAMES = range(0, 3600, 4)  # 900 of them, over two minutes of the demo's belt
LEAST_MAP50, LEAST_NAMED_PCT = 0.9, 95.0


@dataclass
class Pictures:
    """Pictures (h, w, 3), BGR, as the stream of a source."""

    pixels: Iterator[NDArray[np.uint8]]
    fps: float = 0.0
    seq: int = 0

    def read(self) -> Frame | None:
        """See `FrameStream`."""
        pixels = next(self.pixels, None)
        if pixels is None:
            return None
        self.seq += 1
        return Frame(pixels, "bgr24", pixels.shape[1], pixels.shape[0], self.seq - 1, 0, 0, "pictures")

    def interrupt(self) -> None:
        """See `FrameStream`."""

    def close(self) -> None:
        """See `FrameStream`."""


def predict(bundle: Path, pictures: Iterable[NDArray[np.uint8]], score: float | None = None) -> Iterator[Detections]:
    """What the bundle finds in each picture, from its own threshold on unless `score` is given."""
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        spawner = stack.enter_context(closing(Spawner()))
        config, bundles = ModelConfig(bundle=str(bundle)), open_variants(bundle)
        worker = stack.enter_context(closing(make_worker("main", config, bundles, 1, spawner, restart=False)))
        worker.start()
        while (spec := worker.spec(1.0)) is None:
            interruption.check()
        predictor = Predictor(worker, spec, PipelineConfig(source="", model="", score=score))
        for _, _, found in predictor.run(Pictures(iter(pictures)), interruption):
            if isinstance(found, Detections):
                yield found


def ap50(bundle: Path, scenes: Scenes, classes: int) -> list[float]:
    """Of each class, the area under the precision over the recall (all points). Parts that hardly show count neither way."""
    pictures = (np.ascontiguousarray(picture[..., ::-1]) for picture in scenes.pixels)
    hits: list[list[tuple[float, bool]]] = [[] for _ in range(classes)]
    for found, boxes, labels in zip(predict(bundle, pictures, 0.01), scenes.boxes, scenes.classes, strict=True):
        for label in range(classes):
            hits[label] += _judged(found[found.class_ids == label], boxes[labels == label], boxes[labels == -2])
    wanted = [int((scenes.classes == label).sum()) for label in range(classes)]
    return [_area(hit, n) for hit, n in zip(hits, wanted, strict=True)]


def _judged(found: Detections, wanted: NDArray[np.float32], unasked: NDArray[np.float32]) -> list[tuple[float, bool]]:
    """Score and whether it is right, best first; each part is found once."""
    judged = []
    free = np.ones(len(wanted), bool)
    for box, score in zip(found.boxes, found.scores.tolist(), strict=True):
        overlap = _iou(box, wanted) * free
        if overlap.size and overlap.max() >= IOU:
            free[overlap.argmax()] = False
            judged.append((score, True))
        elif not (_covered(box, unasked) >= IOU).any():
            judged.append((score, False))
    return judged


def _area(judged: list[tuple[float, bool]], wanted: int) -> float:
    right = np.array([hit for _, hit in sorted(judged, key=lambda one: -one[0])], bool)
    found = np.cumsum(right)
    precision = found / np.arange(1, len(found) + 1)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_beyond[right].sum() / wanted)


def on_belt(bundle: Path, labels: Sequence[str], seqs: Sequence[int], seed: int = 0) -> Score:
    """What a bundle makes of the belt's pictures at its own threshold, by the belt's own truth."""
    belt = Belt((640, 480), 30, seed, [label for label in LABELS if label in labels])
    score = Score()
    for seq, found in zip(seqs, predict(bundle, _drawn(belt, seqs)), strict=True):
        boxes: list[Box] = found.boxes.tolist()
        things = [Thing(labels[class_id], box) for class_id, box in zip(found.class_ids.tolist(), boxes, strict=True)]
        score.add(truth_of(belt, seq), things)
    return score


def _drawn(belt: Belt, seqs: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    for seq in seqs:
        out = np.empty((480, 640, 3), np.uint8)
        belt.draw(seq, out)
        yield out


def _common(box: Floats, boxes: Floats) -> Floats:
    """Area that `box` (4,) shares with each of `boxes` (n, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common: Floats = np.maximum(sides, 0).prod(axis=1)
    return common


def _iou(box: Floats, boxes: Floats) -> Floats:
    common = _common(box, boxes)
    iou: Floats = common / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - common + 1e-9)
    return iou


def _covered(box: Floats, boxes: Floats) -> Floats:
    """How much of `box` lies in each of `boxes`."""
    covered: Floats = _common(box, boxes) / ((box[2:] - box[:2]).prod() + 1e-9)
    return covered


def report(bundle: Path, processes: int) -> bool:
    """Print the figures of a bundle; whether they are good enough."""
    labels = labels_of(bundle)
    each = ap50(bundle, render(TEST_PICTURES, TEST_SEED, processes, kinds=len(labels)), len(labels))
    belt = on_belt(bundle, labels, BELT_FRAMES)
    mean = float(np.mean(each))
    size_kb = max(file.stat().st_size for file in bundle.iterdir()) / 1000
    print(f"{bundle.name}: {size_kb:.0f} kB")
    print(f"  mAP50 {mean:.3f}: {', '.join(f'{label} {one:.3f}' for label, one in zip(labels, each, strict=True))}")
    print(f"  belt: {belt.named_pct:.1f} % of {belt.in_view} parts in {belt.frames} pictures, {belt.false_alarms} false alarms")
    return mean >= LEAST_MAP50 and belt.named_pct >= LEAST_NAMED_PCT


def labels_of(bundle: Path) -> list[str]:
    """One a line."""
    return (bundle / "labels.txt").read_text().split()


if __name__ == "__main__":
    good = [report(Path(bundle), processes=2) for bundle in sys.argv[1:]]
    sys.exit(0 if all(good) else 1)
