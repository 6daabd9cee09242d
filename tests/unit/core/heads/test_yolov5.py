"""YOLO with objectness."""

import numpy as np
import pytest

from agent.core.heads import ModelOutputs
from agent.core.heads.yolov5 import YoloV5, YoloV5Options
from agent.core.types import TensorSpec
from tests.heads import SIZE, Expected, Tensors, Values, check

CELLS = 12 * 8 + 6 * 4 + 3 * 2  # at strides 8, 16, 32


def decoded(real: Values, score: float, unit: tuple[int, int]) -> list[Expected]:
    """real: (N, 5 + C), one row after the other."""
    found: list[Expected] = []
    for x, y, w, h, objectness, *scores in real.tolist():
        best = int(np.argmax(scores))
        if objectness * scores[best] >= score:
            box = [(x - w / 2) * unit[0], (y - h / 2) * unit[1], (x + w / 2) * unit[0], (y + h / 2) * unit[1]]
            found.append((objectness * scores[best], best, box))
    return found


def rows(n: int, largest: float) -> Values:
    rng = np.random.default_rng(5)
    values = rng.random((n, 8)) * largest
    values[:, 4:] = rng.random((n, 4)) ** 2
    return values


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("quantized", "normalized"), [(False, False), (False, True), (True, True)])
def test_boxes_and_scores(transposed: bool, quantized: bool, normalized: bool) -> None:
    values = rows(3 * CELLS, 1 if normalized else 96)[None]
    tensors = Tensors({"out": values.transpose(0, 2, 1) if transposed else values}, quantized=quantized)
    real = tensors.real[0][0].T if transposed else tensors.real[0][0]
    for score in (0.0, 0.203, 0.601, 0.9999):
        expected = decoded(real, score, SIZE if normalized else (1, 1))
        found = tensors.found("yolov5", score)
        assert len(found) == len(expected)
        if score > 0.5 and not quantized:  # no two alike
            check(found, expected)


def test_one_object() -> None:
    values = np.zeros((1, 3 * CELLS, 7))
    values[0, 100] = 48, 32, 20, 10, 0.9, 0.1, 0.8
    check(Tensors({"out": values}).found("yolov5", 0.25), [(0.72, 1, [38, 27, 58, 37])])


def test_one_box_a_cell() -> None:
    """YOLOv6 by the name of its output, others when it is said."""
    values = np.zeros((1, CELLS, 7))
    values[0, 100] = 48, 32, 20, 10, 1, 0.1, 0.8
    expected: list[Expected] = [(0.8, 1, [38, 27, 58, 37])]
    check(Tensors({"outputs": values}).found("yolov5", 0.25), expected)
    check(Tensors({"out": values}).found("yolov5", 0.25, anchors=1), expected)
    with pytest.raises(
        ValueError, match=r"needs one tensor \[1, 378, 5 \+ classes\], 3 boxes a cell, at input size \[96, 64\], not"
    ):
        Tensors({"out": values}).head("yolov5")


@pytest.mark.parametrize(
    ("shape", "side", "classes"),
    [
        ((1, 25200, 85), 640, 80),
        ((1, 85, 25200), 640, 80),
        ((1, 6300, 7), 320, 2),
        ((1, 10647, 85), 416, 80),
        ((1, 2535, 85), 416, 80),  # tiny
        ((1, 102000, 85), 1280, 80),  # P6
        ((1, -1, 85), 640, 80),
        ((1, 25200, 5), 640, None),
        ((1, 300, 6), 640, None),
    ],
)
def test_shapes(shape: tuple[int, ...], side: int, classes: int | None) -> None:
    outputs = ModelOutputs((TensorSpec("out", shape, "float32"),), (side, side), 0)
    if classes:
        assert YoloV5.classes(outputs) == classes
        YoloV5(outputs, YoloV5Options())
    else:
        with pytest.raises(ValueError, match="the yolov5 head needs"):
            YoloV5.classes(outputs)
