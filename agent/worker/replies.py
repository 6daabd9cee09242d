"""What the agent believes of a worker's answer: only what it has checked."""

import numpy as np

from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Classes, Detections, Prediction
from agent.worker.protocol import Arrays

MOST_CLASSES = 1 << 20  # where no labels are known
SCORE_SLACK = 1e-3  # sigmoids of half precision overshoot 1 by a little


def check_prediction(arrays: Arrays, spec: ModelSpec, thresholds: Thresholds) -> Prediction:
    """The prediction in an answer; ValueError where it is not one that `spec` and `thresholds` allow.

    Boxes stay in pixels of the model's input; scores are cut to 0..1.
    """
    scores = np.frombuffer(arrays.scores, np.float32)
    class_ids = np.frombuffer(arrays.class_ids, np.int32)
    if len(scores) > thresholds.max_detections:
        raise ValueError(f"{len(scores)} results, more than the {thresholds.max_detections} that were asked for")
    if len(class_ids) != len(scores):
        raise ValueError(f"{len(scores)} scores for {len(class_ids)} classes")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite: the model's output overflows")
    if len(scores) and not (scores.min() >= -SCORE_SLACK and scores.max() <= 1 + SCORE_SLACK):
        raise ValueError(f"a score of {float(scores[np.abs(scores).argmax()]):.3g} is outside 0..1")
    strange = class_ids[(class_ids < 0) | (class_ids >= (len(spec.labels) or MOST_CLASSES))]
    if len(strange):
        raise ValueError(f"class {strange[0]} is outside the {len(spec.labels)} labels")
    scores = scores.clip(0.0, 1.0)
    if spec.task == "classify":
        return Classes(scores, class_ids)
    if arrays.boxes is None or len(arrays.boxes) != 16 * len(scores):
        raise ValueError(f"{len(arrays.boxes or b'')} bytes of boxes for {len(scores)} scores")
    boxes = np.frombuffer(arrays.boxes, np.float32).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("a box is not finite: the model's output overflows")
    return Detections(boxes, scores, class_ids)
