"""The heads of key points on tensors made by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.core.guess import guess_heads
from agent.core.heads import ModelOutputs
from agent.core.heads.movenet import MoveNet, MoveNetOptions
from agent.core.heads.yolo_pose import YoloPose, YoloPoseOptions
from agent.core.spec import Thresholds
from agent.core.types import Poses, TensorSpec

SIZE = (96, 64)  # width, height
CELLS = 12 * 8 + 6 * 4 + 3 * 2  # at strides 8, 16, 32


def outputs(
    shape: tuple[int, ...], dtype: str = "float32", scale: float = 0.0, zero_point: int = 0, classes: int = 0
) -> ModelOutputs:
    return ModelOutputs((TensorSpec("out", shape, dtype, scale, zero_point),), SIZE, classes)


def check(found: Poses, expected: list[tuple[float, int, NDArray[Any], NDArray[Any]]]) -> None:
    """expected: score, class, box, points."""
    assert len(found) == len(expected)
    parts = (found.boxes, found.scores, found.class_ids, found.points)
    assert [part.dtype.name for part in parts] == ["float32", "float32", "int32", "float32"]
    if expected:
        scores, class_ids, boxes, points = zip(*expected, strict=True)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
        np.testing.assert_array_equal(found.class_ids, class_ids)
        np.testing.assert_allclose(found.boxes, boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.points, points, rtol=1e-4, atol=1e-3)


# MoveNet

PLACES = np.stack((np.linspace(0.1, 0.9, 17), np.linspace(0.8, 0.2, 17)), axis=1)  # y, x


@pytest.mark.parametrize(("dtype", "scale", "zero_point"), [("float32", 0.0, 0), ("uint8", 1 / 255, 0), ("int8", 1 / 255, -128)])
def test_one_person(dtype: str, scale: float, zero_point: int) -> None:
    scores = np.where(np.arange(17) < 10, 0.8, 0.1)
    values = np.column_stack((PLACES, scores)).astype(np.float32)
    raw = np.rint(values / scale + zero_point) if scale else values
    real = (raw - zero_point) * scale if scale else values
    head = MoveNet(outputs((1, 1, 17, 3), dtype, scale, zero_point), MoveNetOptions())
    points = real[:, [1, 0, 2]] * [96, 64, 1]
    box = np.concatenate((points[:10, :2].min(axis=0), points[:10, :2].max(axis=0)))
    tensor = raw.astype(dtype)[None, None]
    check(head([tensor], Thresholds(0.25, None)), [(float(real[:, 2].mean()), 0, box, points)])
    assert len(head([tensor], Thresholds(0.6, None))) == 0


def test_the_box_of_unlikely_points_goes_around_all() -> None:
    values = np.column_stack((PLACES, np.full(17, 0.1))).astype(np.float32)
    found = MoveNet(outputs((1, 1, 17, 3)), MoveNetOptions())([values[None, None]], Thresholds(0.0, None))
    np.testing.assert_allclose(found.boxes, [[0.2 * 96, 0.1 * 64, 0.8 * 96, 0.9 * 64]], rtol=1e-5)


def test_several_people() -> None:
    tensor = np.zeros((1, 6, 56), np.float32)
    tensor[0, :, :51] = np.column_stack((PLACES, np.full(17, 0.5))).ravel()
    tensor[0, :, 51:] = [0.25, 0.1, 0.75, 0.6, 0.1]
    tensor[0, 2, 55], tensor[0, 4, 55] = 0.4, 0.9
    points = np.column_stack((PLACES[:, 1] * 96, PLACES[:, 0] * 64, np.full(17, 0.5)))
    box = np.array([0.1 * 96, 0.25 * 64, 0.6 * 96, 0.75 * 64])
    found = MoveNet(outputs((1, 6, 56)), MoveNetOptions())([tensor], MoveNet.defaults)
    check(found, [(0.9, 0, box, points), (0.4, 0, box, points)])


def test_movenet_needs_its_tensor() -> None:
    with pytest.raises(ValueError, match=r"one tensor \[1, 1, 17, 3\] or \[1, 6, 56\], not 'out' \[1, 1, 18, 3\]"):
        MoveNet(outputs((1, 1, 18, 3)), MoveNetOptions())
    assert MoveNet.classes(outputs((1, 6, 56))) == 1


# YOLO


def decode(real: NDArray[Any], score: float, classes: int, per_point: int, size: tuple[int, int]) -> list[Any]:
    """real: (4 + C + P, N), one object after the other."""
    width, height = size
    found = []
    for x, y, w, h, *rest in real.T:
        best = int(np.argmax(rest[:classes]))
        if rest[best] >= np.float32(score):
            box = np.array([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height])
            points = np.array(rest[classes:]).reshape(-1, per_point)
            if per_point == 2:
                points = np.column_stack((points, np.full(len(points), rest[best])))
            found.append((rest[best], best, box, points * [width, height, 1]))
    return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kpt_shape", [(5, 3), (4, 2)])
@given(seed=st.integers(0, 1000), score=st.sampled_from([0.0, 0.5, 0.9]))
@settings(max_examples=10, deadline=None)
def test_yolo_pose(transposed: bool, dtype: str, normalized: bool, kpt_shape: tuple[int, int], seed: int, score: float) -> None:
    rng = np.random.default_rng(seed)
    scale, zero_point = ((0.0047, -128) if normalized else (0.5, -128)) if dtype == "int8" else (0.0, 0)
    numbers = 4 + 2 + kpt_shape[0] * kpt_shape[1]
    raw: NDArray[Any] = rng.random((numbers, CELLS)).astype(np.float32) * (1 if normalized else 96)
    raw[4:6] = rng.random((2, CELLS)) ** 4
    if dtype == "int8":
        raw = rng.integers(-128, 128, (numbers, CELLS)).astype(np.int8)
    made = outputs((1, CELLS, numbers) if transposed else (1, numbers, CELLS), dtype, scale, zero_point)
    head = YoloPose(made, YoloPoseOptions(kpt_shape))
    real = (raw.astype(np.float32) - zero_point) * np.float32(scale) if scale else raw
    found = head([(raw.T if transposed else raw)[None]], Thresholds(score, None))
    check(found, decode(real.astype(np.float32), score, 2, kpt_shape[1], SIZE if normalized else (1, 1)))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("most", [300, -1])
def test_end_to_end(normalized: bool, most: int) -> None:
    unit = np.array([96, 64]) if normalized else np.ones(2)
    rows = np.zeros((1, 300, 12), np.float32)
    box, points = np.array([10, 12, 50, 60]), np.array([[20, 30, 0.7], [40, 50, 0.2]])
    rows[0, 0] = [*(box / np.tile(unit, 2)), 0.5, 1, *(points / [*unit, 1]).ravel()]
    rows[0, 1] = rows[0, 0]
    rows[0, 1, 4:6] = 0.8, 0
    head = YoloPose(outputs((1, most, 12)), YoloPoseOptions((2, 3)))
    check(head([rows], YoloPose.defaults), [(0.8, 0, box, points), (0.5, 1, box, points)])


@pytest.mark.parametrize("box", ["xywh_normalized", "xywh_pixels"])
def test_the_boxes_are_what_they_are_declared(box: Any) -> None:
    raw = np.zeros((1, 8, CELLS), np.float32)
    raw[0, :, 7] = 0.5, 0.5, 1.0, 1.0, 0.9, 0.25, 0.5, 1
    found = YoloPose(outputs(raw.shape), YoloPoseOptions((1, 3), box))([raw], Thresholds(0.5, None))
    unit = [96, 64] if box == "xywh_normalized" else [1, 1]
    np.testing.assert_allclose(found.boxes, [[0, 0, *unit]])
    np.testing.assert_allclose(found.points, [[[0.25 * unit[0], 0.5 * unit[1], 1]]])


def test_how_many_points_there_are() -> None:
    YoloPose(outputs((1, 56, CELLS)), YoloPoseOptions())
    YoloPose(outputs((1, 300, 57)), YoloPoseOptions())
    for made, options in (
        (outputs((1, 57, CELLS)), YoloPoseOptions()),
        (outputs((1, 56, CELLS), classes=2), YoloPoseOptions((17, 3))),
        (outputs((1, 56, CELLS)), YoloPoseOptions((18, 3))),
        (outputs((1, 300, 56)), YoloPoseOptions()),
        (outputs((56, CELLS)), YoloPoseOptions()),
    ):
        with pytest.raises(ValueError, match=r"the yolo_pose head needs for kpt_shape \[1[78], 3\].* one tensor \[1, "):
            YoloPose(made, options)
    with pytest.raises(ValueError, match="kpt_shape is how many points, and 2 or 3 numbers each"):
        YoloPoseOptions((17, 4))


@pytest.mark.parametrize(
    ("shape", "classes", "heads"),
    [
        ((1, 1, 17, 3), 0, ["movenet"]),
        ((1, 6, 56), 0, ["movenet"]),
        ((1, 300, 57), 0, ["yolo_pose"]),
        ((1, 56, CELLS), 0, ["yolo", "yolo_pose"]),
        ((1, 56, CELLS), 1, ["yolo_pose"]),
        ((1, 56, CELLS), 52, ["yolo"]),
        ((1, 84, CELLS), 0, ["yolo"]),
        ((1, 8, CELLS), 0, ["yolo"]),
    ],
)
def test_guesses(shape: tuple[int, ...], classes: int, heads: list[str]) -> None:
    assert sorted(guess_heads(outputs(shape, classes=classes)).heads) == heads


@pytest.mark.parametrize("shape", [(1, 25200, 85), (1, 300, 7), (1, 56), (1, 8, 8, 56)])
def test_no_number_of_points_makes_other_tensors_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the yolo_pose head needs"):
        YoloPose.classes(outputs(shape))


def test_nothing_returned_shares_memory_with_the_tensor() -> None:
    raw = np.ones((1, 56, CELLS), np.float32)
    found = YoloPose(outputs(raw.shape), YoloPoseOptions())([raw], Thresholds(0.5, None))
    assert len(found) == CELLS
    assert not any(np.shares_memory(part, raw) for part in (found.boxes, found.scores, found.points))
