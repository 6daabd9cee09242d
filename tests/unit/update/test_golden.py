"""Whether what a model finds is what its bundle expects, for each task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.bundles.manifest import Golden
from agent.core.masks import segments_in
from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Task, Thresholds
from agent.core.types import Classes, Detections, Poses, Prediction, TensorSpec
from agent.errors import VettingError
from agent.update.golden import difference, expected
from agent.worker.inference import Answer, FrameInfo

WIDTH, HEIGHT = 200, 100
SAMPLE = Golden(input="bus.jpg", expect="bus.json", iou=0.8, score=0.1)
CAR = {"label": "car", "class_id": 1, "score": 0.8, "box": [0.1, 0.2, 0.5, 0.6]}
PERSON = {"label": "person", "class_id": 0, "score": 0.6, "box": [0.6, 0.1, 0.7, 0.9]}
FAINT = {"label": "person", "class_id": 0, "score": 0.33, "box": [0.0, 0.1, 0.1, 0.9]}


def spec(task: Task, most: int = 5) -> ModelSpec:
    tensor = TensorSpec("images", (1, 3, 64, 64), "float32", layout="NCHW")
    labels = ("person", "car", "dog")
    return ModelSpec(
        "a", "1.0.0", "0" * 64, task, labels, InputSpec((64, 64)), tensor, HeadSpec("x"), Thresholds(0.3, None, False, most)
    )


def answer(prediction: Prediction) -> Answer:
    return Answer(FrameInfo("golden samples", "bus.jpg", 0, 0, 0, WIDTH, HEIGHT), prediction, 0, 0, 0)


def detections(*things: dict[str, Any]) -> Detections:
    boxes = np.array([thing["box"] for thing in things], np.float32).reshape(-1, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    scores = np.array([thing["score"] for thing in things], np.float32)
    return Detections(boxes.astype(np.float32), scores, np.array([thing["class_id"] for thing in things], np.int32))


def compare(folder: Path, task: Task, wanted: list[Any], found: Prediction, most: int = 5) -> str | None:
    (folder / "bus.json").write_text(json.dumps(wanted))
    return difference(expected(SAMPLE, folder / SAMPLE.expect, spec(task, most)), answer(found), spec(task, most))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([CAR, PERSON], None),
        ([PERSON, CAR], None),
        ([CAR | {"score": 0.71}, PERSON | {"box": [0.6, 0.1, 0.705, 0.88]}], None),
        ([CAR, PERSON, FAINT], None),
        ([CAR], "misses person 0.60"),
        ([], "misses car 0.80, person 0.60"),
        ([CAR, PERSON, PERSON], "finds besides person 0.60"),
        ([CAR | {"class_id": 2}, PERSON], "misses car 0.80 and finds besides dog 0.80"),
        ([CAR | {"score": 0.69}, PERSON], "misses car 0.80 and finds besides car 0.69"),
        ([CAR | {"box": [0.2, 0.2, 0.6, 0.6]}, PERSON], "misses car 0.80 and finds besides car 0.80"),
    ],
)
def test_detections(tmp_path: Path, found: list[dict[str, Any]], says: str | None) -> None:
    what = compare(tmp_path, "detect", [CAR, PERSON], detections(*found))
    assert what == (None if says is None else f"in bus.jpg it {says}, of 2 that bus.json names")


def test_what_scores_just_enough_may_be_missing(tmp_path: Path) -> None:
    assert compare(tmp_path, "detect", [CAR, FAINT], detections(CAR)) is None
    assert compare(tmp_path, "detect", [CAR, FAINT | {"score": 0.45}], detections(CAR)) is not None


def test_so_may_the_last_of_a_full_list(tmp_path: Path) -> None:
    other = PERSON | {"box": [0.0, 0.1, 0.1, 0.9], "score": 0.55}
    assert compare(tmp_path, "detect", [CAR, PERSON], detections(CAR, other), most=2) is None
    assert compare(tmp_path, "detect", [CAR, PERSON], detections(CAR, other), most=3) is not None


def test_two_of_a_kind_are_told_apart(tmp_path: Path) -> None:
    beside = CAR | {"box": [0.12, 0.2, 0.52, 0.6], "score": 0.75}
    assert compare(tmp_path, "detect", [CAR, beside], detections(beside, CAR)) is None


@pytest.mark.parametrize(
    ("scores", "class_ids", "same"),
    [([0.55, 0.45], [1, 0], True), ([0.51, 0.49], [0, 1], True), ([0.7, 0.3], [1, 0], False), ([0.55, 0.2], [2, 0], False)],
)
def test_classes(tmp_path: Path, scores: list[float], class_ids: list[int], same: bool) -> None:
    wanted = [{"label": "car", "class_id": 1, "score": 0.55}, {"label": "person", "class_id": 0, "score": 0.45}]
    found = Classes(np.array(scores, np.float32), np.array(class_ids, np.int32))
    assert (compare(tmp_path, "classify", wanted, found, most=2) is None) is same


def pose(*points: list[float]) -> list[dict[str, Any]]:
    return [PERSON | {"points": list(points)}]


@pytest.mark.parametrize(
    ("points", "same"),
    [
        ([[0.65, 0.2, 0.9], [0.65, 0.5, 0.9], [0.9, 0.9, 0.0]], True),
        ([[0.655, 0.21, 0.8], [0.65, 0.5, 0.9], [0.1, 0.1, 0.05]], True),  # the third is hardly there
        ([[0.65, 0.2, 0.9], [0.65, 0.9, 0.9], [0.9, 0.9, 0.0]], False),
        ([[0.65, 0.2, 0.9], [0.65, 0.5, 0.9]], False),
    ],
)
def test_poses(tmp_path: Path, points: list[list[float]], same: bool) -> None:
    boxes = detections(PERSON)
    array = np.array([points], np.float32) * np.array([WIDTH, HEIGHT, 1], np.float32)
    wanted = pose([0.65, 0.2, 0.9], [0.65, 0.5, 0.9], [0.9, 0.9, 0.0])
    found = Poses(boxes.boxes, boxes.scores, boxes.class_ids, array)
    assert (compare(tmp_path, "keypoints", wanted, found) is None) is same


def segments(*rows: str) -> Prediction:
    """Of a map in characters: a dot is nothing, a digit a class."""
    return segments_in(np.array([[-1 if c == "." else int(c) for c in row] for row in rows], np.int16))


MASK = {"label": "car", "class_id": 1, "area": 0.5, "mask": {"size": [2, 4], "rle": [0, 4, 4]}}  # the left half


@pytest.mark.parametrize(
    ("rows", "same"),
    [
        (("11..", "11.."), True),
        (("1111....",) * 4, True),  # the same, finer
        (("1.", "1."), True),
        (("111.", "111."), False),
        (("22..", "22.."), False),
        (("112.", "112."), False),
    ],
)
def test_segments(tmp_path: Path, rows: tuple[str, ...], same: bool) -> None:
    assert (compare(tmp_path, "segment", [MASK], segments(*rows)) is None) is same


@pytest.mark.parametrize("mask", [{"size": [2, 4], "rle": [0, 4, 3]}, {"size": [1 << 30, 1 << 30], "rle": [0, 1 << 60]}])
def test_a_mask_that_is_none_is_not_met(tmp_path: Path, mask: dict[str, Any]) -> None:
    assert compare(tmp_path, "segment", [MASK | {"mask": mask}], segments("11..", "11..")) is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"detections": []}', "no list of what a model for detect finds: Expected `array`, got `object`"),
        ('[{"label": "car"}]', "missing required field `class_id`"),
        ("[" * 100_000, "no list of what a model for detect finds"),
        (json.dumps([CAR] * 6), "it names 6, the model gives at most 5: its nms.max_detections"),
    ],
)
def test_an_expectation_that_is_none_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bus.json").write_text(text)
    with pytest.raises(VettingError, match=says.replace("[", r"\[")) as caught:
        expected(SAMPLE, tmp_path / SAMPLE.expect, spec("detect"))
    assert caught.value.code == "bundle_invalid"
    assert str(caught.value).startswith(f"{tmp_path}/bus.json: ")


def test_an_expectation_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(VettingError, match="No such file"):
        expected(SAMPLE, tmp_path / SAMPLE.expect, spec("detect"))
