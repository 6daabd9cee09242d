"""What the agent does not believe of a worker."""

from typing import get_args

import msgspec
import numpy as np
import pytest

from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Task, Thresholds
from agent.core.types import Classes, Detections, Poses, Segments, TensorSpec
from agent.worker.protocol import Arrays
from agent.worker.replies import check_prediction, output_bytes

THRESHOLDS = Thresholds(score=0.2, iou=0.5, max_detections=3)


NO_OUTPUT = np.empty(0, np.uint8)


def spec(task: Task = "detect") -> ModelSpec:
    tensor = TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC")
    return ModelSpec("m", "1.0.0", "0" * 64, task, ("a", "b"), InputSpec((8, 8)), tensor, HeadSpec("yolo"), THRESHOLDS)


def arrays(scores: list[float], class_ids: list[int], boxes: list[list[float]] | None) -> Arrays:
    raw = None if boxes is None else np.array(boxes, np.float32).tobytes()
    return Arrays(np.array(scores, np.float32).tobytes(), np.array(class_ids, np.int32).tobytes(), raw)


BOX = [1.0, 2.0, 3.0, 4.0]


def test_a_sound_answer() -> None:
    found = check_prediction(arrays([0.9, 0.5], [1, 0], [BOX, BOX]), spec(), THRESHOLDS, NO_OUTPUT)
    assert isinstance(found, Detections)
    assert found.boxes.tolist() == [BOX, BOX]
    assert isinstance(check_prediction(arrays([0.9], [1], None), spec("classify"), THRESHOLDS, NO_OUTPUT), Classes)
    assert len(check_prediction(arrays([], [], []), spec(), THRESHOLDS, NO_OUTPUT)) == 0


def test_half_precision_overshoot_is_cut() -> None:
    found = check_prediction(arrays([1.0005], [0], [BOX]), spec(), THRESHOLDS, NO_OUTPUT)
    assert isinstance(found, Detections)
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
        check_prediction(answer, spec(), THRESHOLDS, NO_OUTPUT)


POINTS = [[[1.0, 2.0, 0.5], [3.0, 4.0, 1.0005]]]


def pose(points: object, scores: list[float] | None = None) -> Arrays:
    found = arrays(scores or [0.9], [0] * len(scores or [0.9]), [BOX] * len(scores or [0.9]))
    return msgspec.structs.replace(found, points=None if points is None else np.array(points, np.float32).tobytes())


def test_a_sound_pose() -> None:
    found = check_prediction(pose(POINTS), spec("keypoints"), THRESHOLDS, NO_OUTPUT)
    assert isinstance(found, Poses)
    np.testing.assert_allclose(found.points, np.minimum(POINTS, [np.inf, np.inf, 1]))
    nobody = msgspec.structs.replace(arrays([], [], []), points=b"")
    assert len(check_prediction(nobody, spec("keypoints"), THRESHOLDS, NO_OUTPUT)) == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (pose(None), "0 bytes of points for 1 scores"),
        (pose([1.0, 2.0]), "8 bytes of points for 1 scores"),
        (pose([*POINTS[0], POINTS[0][0]], [0.9, 0.8]), "36 bytes of points for 2 scores"),
        (pose([[1.0, float("nan"), 0.5]]), "a point is not finite"),
        (pose([[1.0, 2.0, 7.0]]), "a point's score of 7 is outside 0..1"),
        (msgspec.structs.replace(arrays([], [], []), points=b"123"), "3 bytes of points for 0 scores"),
        (pose(POINTS, [0.9] * 4), "4 results, more than the 3"),
    ],
)
def test_an_unsound_pose(answer: Arrays, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_prediction(answer, spec("keypoints"), THRESHOLDS, NO_OUTPUT)


def output(*classes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    room = np.zeros(output_bytes(spec("segment")), np.uint8)
    room.view(np.int16)[: len(classes)] = classes
    return room


def test_a_sound_class_map_is_a_copy() -> None:
    room = output(1, 1, -1, 0)
    found = check_prediction(Arrays(map_size=(2, 2)), spec("segment"), THRESHOLDS, room)
    room.fill(77)
    assert isinstance(found, Segments)
    assert found.class_map.tolist() == [[1, 1], [-1, 0]]
    assert (found.class_ids.tolist(), found.areas.tolist()) == ([1, 0], [0.5, 0.25])


@pytest.mark.parametrize(
    ("size", "classes", "says"),
    [
        (None, [], "a class map of None does not fit into 128 bytes"),
        ((9, 8), [], "a class map of .9, 8. does not fit"),
        ((0, 8), [], "does not fit"),
        ((-2, -2), [], "does not fit"),
        ((1 << 40, 1 << 40), [], "does not fit"),
        ((1, 2), [0, 2], "class 2 is outside the 2 labels"),
        ((1, 2), [0, -2], "class -2 is outside the 2 labels"),
        ((1, 2), [0, 32767], "class 32767 is outside"),
    ],
)
def test_an_unsound_class_map(size: tuple[int, int] | None, classes: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_prediction(Arrays(map_size=size), spec("segment"), THRESHOLDS, output(*classes))


def test_a_class_map_has_room_and_nothing_else() -> None:
    assert [output_bytes(spec(task)) for task in get_args(Task)] == [0, 0, 2 * 8 * 8, 0]
