"""Class scores and decoded boxes apart."""

from typing import Any

import numpy as np
import pytest

from agent.core.heads import ModelOutputs
from agent.core.heads.scores_boxes import ScoresBoxes
from agent.core.types import TensorSpec
from tests.heads import Expected, Tensors, Values, check

BOXES = np.array([[0.1, 0.1, 0.5, 0.5], [0.0, 0.25, 1.0, 0.75], [0.2, 0.2, 0.4, 0.4]])  # x1 y1 x2 y2
FACES: list[Expected] = [(0.9, 0, [9.6, 6.4, 48, 32]), (0.7, 0, [0, 16, 96, 48])]
SCORES = np.array([[0.1, 0.9], [0.3, 0.7], [0.95, 0.05]])


def outputs(scores: tuple[int, ...], boxes: tuple[int, ...], classes: int = 0, side: int = 320) -> ModelOutputs:
    return ModelOutputs((TensorSpec("s", scores, "float32"), TensorSpec("b", boxes, "float32")), (side, side), classes)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_faces(swapped: bool, quantized: bool) -> None:
    values = {"scores": SCORES[None], "boxes": BOXES[None]}
    tensors = Tensors(dict(reversed(values.items())) if swapped else values, quantized=quantized)
    found = tensors.found("scores_boxes", 0.5)
    if quantized:
        np.testing.assert_allclose(found.scores, [0.9, 0.7], atol=0.005)
        np.testing.assert_allclose(found.boxes, [box for _, _, box in FACES], atol=0.5)
    else:
        check(found, FACES)


def by_center(boxes: Values) -> Values:
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


@pytest.mark.parametrize(
    ("boxes", "box"),
    [
        (BOXES, "xyxy_normalized"),
        (BOXES * [96, 64, 96, 64], "xyxy_pixels"),
        (BOXES * [96, 64, 96, 64], None),
        (by_center(BOXES), "xywh_normalized"),
        (by_center(BOXES * [96, 64, 96, 64]), "xywh_pixels"),
        (BOXES[:, [1, 0, 3, 2]], "yxyx_normalized"),
        ((BOXES * [96, 64, 96, 64])[:, [1, 0, 3, 2]], "yxyx_pixels"),
    ],
)
def test_boxes_of_every_kind(boxes: Values, box: Any) -> None:
    check(Tensors({"scores": SCORES[None], "boxes": boxes[None]}).found("scores_boxes", 0.5, box=box), FACES)


def test_boxes_with_a_dimension_of_their_own() -> None:
    """YOLOv4's, made for PyTorch."""
    check(Tensors({"boxes": BOXES[None, :, None], "confs": SCORES[None, :, 1:]}).found("scores_boxes", 0.5), FACES)


def test_the_background_is_said_or_counted() -> None:
    scores = np.array([[0.6, 0.3, 0.1]] * 3)
    tensors = {"scores": scores[None], "boxes": BOXES[None]}
    assert Tensors(tensors, classes=3).found("scores_boxes", 0.2).class_ids.tolist() == [0, 0, 0]
    assert Tensors(tensors, classes=2).found("scores_boxes", 0.2).class_ids.tolist() == [0, 0, 0]
    assert Tensors(tensors, classes=2).found("scores_boxes", 0.2).scores.tolist() == pytest.approx([0.3] * 3)
    assert Tensors(tensors).found("scores_boxes", 0.2, background="last").scores.tolist() == pytest.approx([0.6] * 3)
    with pytest.raises(ValueError, match=r"is one of the 3 scores of 'scores' .* the background.*option background has to say"):
        Tensors(tensors).head("scores_boxes")


@pytest.mark.parametrize(
    ("shape", "labels", "classes"),
    [((1, 4420, 2), 0, 1), ((1, 4420, 2), 2, 2), ((1, 4420, 81), 0, 80), ((1, 8400, 3), 0, 3), ((1, 777, 1), 0, 1)],
)
def test_classes(shape: tuple[int, ...], labels: int, classes: int) -> None:
    side = 640 if shape[1] == 8400 else 320
    assert ScoresBoxes.classes(outputs(shape, (1, shape[1], 4), labels, side)) == classes


@pytest.mark.parametrize(
    ("scores", "boxes"), [((1, 10, 2), (1, 11, 4)), ((1, 10, 2), (1, 10, 5)), ((1, 10), (1, 10, 4)), ((1, 9, 4), (1, 9, 4))]
)
def test_it_needs_two_tensors(scores: tuple[int, ...], boxes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs two tensors, scores \[1, N, classes\] and boxes \[1, N, 4\], not 's'"):
        ScoresBoxes.classes(outputs(scores, boxes))
