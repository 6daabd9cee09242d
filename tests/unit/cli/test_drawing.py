"""What is drawn onto pictures, and where."""

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.cli.drawing import annotated
from agent.core.masks import segments_in
from agent.core.types import Frame, Poses, Prediction

SIDE = 200


def drawn(prediction: Prediction) -> NDArray[np.bool_]:
    """Where an all black picture is not black any more."""
    frame = Frame(np.zeros((SIDE, SIDE, 3), np.uint8), "bgr24", SIDE, SIDE, 0, 0, 0, "test")
    picture = annotated(frame, prediction, str)
    assert not frame.pixels.any()
    return np.asarray(picture.any(axis=2), np.bool_)


def test_segments_are_tinted_and_named() -> None:
    class_map = np.full((10, 10), -1, np.int16)
    class_map[5:, :5] = 1
    where = drawn(segments_in(class_map))
    assert where[110:, :90].mean() > 0.95, "all but the letters of its label"
    assert not where[:70].any()
    assert not where[:, 190:].any()


def test_a_segment_that_was_filtered_out_is_not_drawn() -> None:
    class_map = np.array([[0, 0, 0, 1]], np.int16)
    assert not drawn(segments_in(class_map)[1:])[:, :100].any()


@pytest.mark.parametrize(("points", "bones"), [(17, True), (5, False)])
def test_likely_points_are_drawn_and_joined_where_they_are_a_persons(points: int, bones: bool) -> None:
    places = np.zeros((1, points, 3), np.float32)
    places[0, :, :2] = 150
    places[0, 0], places[0, 1], places[0, 2] = (20, 100, 0.9), (60, 100, 0.9), (20, 180, 0.1)  # 0 and 1 are joined
    box = np.array([[5, 60, 100, 190]], np.float32)
    where = drawn(Poses(box, np.array([0.9], np.float32), np.array([0], np.int32), places))
    assert where[100, 20]
    assert where[100, 60]
    assert bool(where[100, 40]) == bones
    assert not where[180, 20]
    assert not where[150, 150]
    assert where[100, 5], "the box"
