"""No numbers make a head fail, nor let it give what is out of its contract; a NaN score is seen."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.heads import Tensors

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "ssd_raw": [(1, 1917, 3), (1, 1917, 4)],
    "blazeface": [(1, 5625, 1), (1, 5625, 16)],
    "detections": [(1, 40, 4), (1, 40)],
    "detr": [(1, 100, 5), (1, 100, 4)],
    "scores_boxes": [(1, 700, 2), (1, 700, 4)],
    "yolo_end2end": [(1, 300, 6)],
    "yolov5": [(1, 5322, 7)],
    "nanodet": [(1, 1905, 35)],
    "fomo": [(1, 37, 37, 3)],
}
HOSTILE = np.array([0, -1, 1, 0.5, 1e-38, 1e6, -1e6, 3e4, -3e4], np.float32)


def tensors(name: str, values: dict[str, Any], quantized: bool) -> Tensors:
    if name == "detections":
        values["labels"] = np.arange(40)[None]
    return Tensors(values, (300, 300), quantized=quantized)


def options(name: str) -> dict[str, Any]:
    return {"strides": (4,)} if name == "blazeface" else {}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("quantized", [False, True])
@given(seed=st.integers(0, 10_000), score=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=5, deadline=None)
def test_finite_numbers_make_finite_boxes(name: str, quantized: bool, seed: int, score: float) -> None:
    rng = np.random.default_rng(seed)
    values = {f"out{i}": rng.choice(HOSTILE, shape) for i, shape in enumerate(SHAPES[name])}
    found = tensors(name, values, quantized).found(name, score, **options(name))
    assert len(found.scores) == len(found.boxes) == len(found.class_ids)
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.scores).all()
    assert (found.scores >= np.float32(score)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert (found.class_ids >= -1).all()


@pytest.mark.parametrize("name", SHAPES)
def test_a_nan_score_is_not_hidden(name: str) -> None:
    values = {f"out{i}": np.full(shape, np.nan) for i, shape in enumerate(SHAPES[name])}
    found = tensors(name, values, quantized=False).found(name, 0.3, **options(name))
    assert np.isnan(found.scores).any()


@pytest.mark.parametrize("name", SHAPES)
def test_infinite_numbers_are_no_error(name: str) -> None:
    for number in (np.inf, -np.inf):
        values = {f"out{i}": np.full(shape, number) for i, shape in enumerate(SHAPES[name])}
        with np.errstate(all="ignore"):  # as a worker runs, where warnings are no errors
            tensors(name, values, quantized=False).found(name, 0.3, **options(name))
