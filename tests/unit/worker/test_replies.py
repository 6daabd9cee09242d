"""What the agent does not believe of a worker."""

import numpy as np
import pytest

from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Task, Thresholds
from agent.core.types import Classes, Detections, TensorSpec
from agent.worker.protocol import Arrays
from agent.worker.replies import check_prediction

THRESHOLDS = Thresholds(score=0.2, iou=0.5, max_detections=3)


def spec(task: Task = "detect") -> ModelSpec:
    tensor = TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC")
    return ModelSpec("m", "1.0.0", "0" * 64, task, ("a", "b"), InputSpec((8, 8)), tensor, HeadSpec("yolo"), THRESHOLDS)


def arrays(scores: list[float], class_ids: list[int], boxes: list[list[float]] | None) -> Arrays:
    raw = None if boxes is None else np.array(boxes, np.float32).tobytes()
    return Arrays(np.array(scores, np.float32).tobytes(), np.array(class_ids, np.int32).tobytes(), raw)


BOX = [1.0, 2.0, 3.0, 4.0]


def test_a_sound_answer() -> None:
    found = check_prediction(arrays([0.9, 0.5], [1, 0], [BOX, BOX]), spec(), THRESHOLDS)
    assert isinstance(found, Detections)
    assert found.boxes.tolist() == [BOX, BOX]
    assert isinstance(check_prediction(arrays([0.9], [1], None), spec("classify"), THRESHOLDS), Classes)
    assert len(check_prediction(arrays([], [], []), spec(), THRESHOLDS)) == 0


def test_half_precision_overshoot_is_cut() -> None:
    found = check_prediction(arrays([1.0005], [0], [BOX]), spec(), THRESHOLDS)
    assert found.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (arrays([0.9] * 4, [0] * 4, [BOX] * 4), "4 results, more than the 3"),
        (arrays([0.9], [0, 1], [BOX]), "1 scores for 2 classes"),
        (arrays([float("nan")], [0], [BOX]), "score is not finite"),
        (arrays([float("inf")], [0], [BOX]), "score is not finite"),
        (arrays([7.0], [0], [BOX]), "outside 0..1"),
        (arrays([0.9], [2], [BOX]), "class 2 is outside the 2 labels"),
        (arrays([0.9], [-1], [BOX]), "class -1 is outside"),
        (arrays([0.9], [0], None), "0 bytes of boxes for 1 scores"),
        (arrays([0.9], [0], [BOX, BOX]), "32 bytes of boxes for 1 scores"),
        (arrays([0.9], [0], [[1.0, 2.0, float("nan"), 4.0]]), "box is not finite"),
        (Arrays(b"123", b"", None), "buffer size"),
    ],
)
def test_an_unsound_answer(answer: Arrays, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_prediction(answer, spec(), THRESHOLDS)
