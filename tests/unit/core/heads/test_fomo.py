"""FOMO's grid."""

import numpy as np
import pytest

from agent.core.heads import ModelOutputs
from agent.core.heads.fomo import Fomo
from agent.core.types import TensorSpec
from tests.heads import Expected, Tensors, Values, check

CELLS = {(0, 0): (1, 0.9), (1, 1): (1, 0.6), (2, 4): (1, 0.7), (5, 5): (2, 0.8), (5, 6): (1, 0.55), (7, 10): (1, 0.4)}
FOUND: list[Expected] = [
    (0.9, 0, [0, 0, 16, 16]),
    (0.8, 1, [40, 40, 48, 48]),
    (0.7, 0, [32, 16, 40, 24]),
    (0.55, 0, [48, 40, 56, 48]),
]


def grid(cells: dict[tuple[int, int], tuple[int, float]]) -> Values:
    values = np.zeros((1, 8, 12, 3))
    for (row, column), (class_, score) in cells.items():
        values[0, row, column, class_] = score
    values[..., 0] = 1 - values[..., 1:].sum(axis=3)
    return values


@pytest.mark.parametrize("quantized", [False, True])
def test_cells_of_one_class_that_touch_are_one_box(quantized: bool) -> None:
    found = Tensors({"out": grid(CELLS)}, quantized=quantized).found("fomo", 0.5)
    if quantized:
        np.testing.assert_allclose(found.boxes, [box for _, _, box in FOUND])
        np.testing.assert_allclose(found.scores, [score for score, _, _ in FOUND], atol=0.005)
    else:
        check(found, FOUND)


def test_a_box_that_grows_may_touch_another() -> None:
    """A ring around a cell; its corner cells are met before what joins them."""
    ring = {(0, 0): (1, 0.6), (0, 3): (1, 0.7), (1, 2): (1, 0.9), (0, 6): (1, 0.5)}
    found = Tensors({"out": grid(ring)}).found("fomo", 0.5)
    check(found, [(0.9, 0, [16, 0, 32, 16]), (0.6, 0, [0, 0, 8, 8]), (0.5, 0, [48, 0, 56, 8])])


def test_nothing_and_everything() -> None:
    assert len(Tensors({"out": grid({})}).found("fomo", 0.5)) == 0
    everything = Tensors({"out": np.full((1, 8, 12, 3), 0.5)}).found("fomo", 0.0)
    check(everything, [(0.5, 0, [0, 0, 96, 64]), (0.5, 1, [0, 0, 96, 64])])


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((1, 12, 12, 2), 1), ((1, 24, 24, 3), 2), ((1, 6, 6, 4), 3), ((1, 96, 96, 2), None), ((1, 12, 12, 1), None)],
)
def test_shapes(shape: tuple[int, ...], classes: int | None) -> None:
    outputs = ModelOutputs((TensorSpec("out", shape, "float32"),), (96, 96), 0)
    if classes:
        assert Fomo.classes(outputs) == classes
    else:
        with pytest.raises(
            ValueError, match=r"the fomo head needs one tensor \[1, 12, 12, 1 \+ classes\] at input size \[96, 96\]"
        ):
            Fomo.classes(outputs)
