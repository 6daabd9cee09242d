"""What the agent believes of a worker's answer: only what it has checked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.masks import LARGEST_CLASS, NOTHING, segments_in
from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Classes, Detections, Poses, Prediction, Segments
from agent.worker.protocol import Arrays

MOST_CLASSES = 1 << 20  # where no labels are known
SCORE_SLACK = 1e-3  # sigmoids of half precision overshoot 1 by a little


def output_bytes(spec: ModelSpec) -> int:
    """What a model's answer may take beside the packet: a class map as large as its input."""
    width, height = spec.input.size
    return width * height * np.dtype(np.int16).itemsize if spec.task == "segment" else 0


def check_prediction(arrays: Arrays, spec: ModelSpec, thresholds: Thresholds, output: NDArray[np.uint8]) -> Prediction:
    """The prediction in an answer; ValueError where it is not one that `spec` and `thresholds` allow.

    output: the memory of `output_bytes` that the worker may still write to. Boxes, points and maps stay in pixels of the model's
    input; scores are cut to 0..1.
    """
    if spec.task == "segment":
        return _segments(arrays.map_size, output, len(spec.labels))
    scores = _scores(arrays.scores, "score")
    class_ids = np.frombuffer(arrays.class_ids, np.int32)
    if len(scores) > thresholds.max_detections:
        raise ValueError(f"{len(scores)} results, more than the {thresholds.max_detections} that were asked for")
    if len(class_ids) != len(scores):
        raise ValueError(f"{len(scores)} scores for {len(class_ids)} classes")
    _check_classes(class_ids, 0, len(spec.labels))
    if spec.task == "classify":
        return Classes(scores, class_ids)
    if arrays.boxes is None or len(arrays.boxes) != 16 * len(scores):
        raise ValueError(f"{len(arrays.boxes or b'')} bytes of boxes for {len(scores)} scores")
    boxes = np.frombuffer(arrays.boxes, np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("a box is not finite: the model's output overflows")
    if spec.task == "keypoints":
        return Poses(boxes, scores, class_ids, _points(arrays.points, len(scores)))
    return Detections(boxes, scores, class_ids)


def _scores(raw: bytes, what: str) -> NDArray[np.float32]:
    scores = np.frombuffer(raw, np.float32)
    if not np.isfinite(scores).all():
        raise ValueError(f"a {what} is not finite: the model's output overflows")
    if len(scores) and not (scores.min() >= -SCORE_SLACK and scores.max() <= 1 + SCORE_SLACK):
        raise ValueError(f"a {what} of {float(scores[np.abs(scores).argmax()]):.3g} is outside 0..1")
    return scores.clip(0.0, 1.0)


def _check_classes(class_ids: NDArray[np.signedinteger[Any]], least: int, labels: int) -> None:
    strange = class_ids[(class_ids < least) | (class_ids >= (labels or MOST_CLASSES))]
    if len(strange):
        raise ValueError(f"class {strange[0]} is outside the {labels} labels")


def _points(raw: bytes | None, count: int) -> NDArray[np.float32]:
    """(n, k, 3), k being what the bytes amount to."""
    if raw is None or (len(raw) % (12 * count) if count else raw):
        raise ValueError(f"{len(raw or b'')} bytes of points for {count} scores")
    points = np.frombuffer(raw, np.float32).reshape(count, len(raw) // (12 * max(count, 1)), 3).copy()
    if not np.isfinite(points).all():
        raise ValueError("a point is not finite: the model's output overflows")
    points[..., 2] = _scores(points[..., 2].tobytes(), "point's score").reshape(points.shape[:2])
    return points


def _segments(size: tuple[int, int] | None, output: NDArray[np.uint8], labels: int) -> Segments:
    if size is None or min(size) < 1 or 2 * size[0] * size[1] > len(output):
        raise ValueError(f"a class map of {size} does not fit into {len(output)} bytes")
    class_map = output[: 2 * size[0] * size[1]].view(np.int16).reshape(size).copy()
    _check_classes(np.array([class_map.min(), class_map.max()]), NOTHING, labels or LARGEST_CLASS + 1)
    return segments_in(class_map)
