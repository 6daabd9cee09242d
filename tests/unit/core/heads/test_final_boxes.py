"""Heads of models that suppress by themselves: yolo_end2end and detections."""

import numpy as np
import pytest

from tests.heads import Expected, Tensors, Values, check

ROWS = np.array([[9.6, 6.4, 48, 32, 0.8, 3], [0, 0, 96, 64, 0.5, 0], [1, 1, 2, 2, 0.1, 1], [0, 0, 0, 0, 0, 0]])
FOUND: list[Expected] = [(0.8, 3, [9.6, 6.4, 48, 32]), (0.5, 0, [0, 0, 96, 64])]
FRACTIONS = ROWS / [96, 64, 96, 64, 1, 1]


@pytest.mark.parametrize("rows", [ROWS, FRACTIONS])
def test_yolo_end2end(rows: Values) -> None:
    check(Tensors({"out": rows[None]}).found("yolo_end2end", 0.4), FOUND)


def test_yolo_end2end_takes_boxes_for_what_they_are_declared() -> None:
    tensors = Tensors({"out": np.array([[[0, 0, 1, 1, 0.9, 0]]])})
    check(tensors.found("yolo_end2end", 0.5, box="xyxy_pixels"), [(0.9, 0, [0, 0, 1, 1])])
    check(tensors.found("yolo_end2end", 0.5, box="xyxy_normalized"), [(0.9, 0, [0, 0, 96, 64])])


def test_yolo_end2end_quantized() -> None:
    """In pixels, at a scale of 0.5: scores are then as coarse as that."""
    rows = np.array([[10, 6, 48, 32, 1, 3], [0, 0, 96, 64, 0, 0]])
    tensors = Tensors({"out": np.concatenate((rows, [[0, 0, 127.5, 0, 0, 0]]))[None]}, quantized=True)
    check(tensors.found("yolo_end2end", 0.4), [(1.0, 3, [10, 6, 48, 32])])


@pytest.mark.parametrize("shape", [(1, 300, 7), (1, 300, 5), (300, 6), (1, 8400, 6)])
def test_yolo_end2end_needs_its_tensor(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs one tensor \[1, N, 6\]: x1, y1, x2, y2, score, class, not 'out'"):
        Tensors({"out": np.zeros(shape)}).head("yolo_end2end")


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("rows", [ROWS, FRACTIONS])
@pytest.mark.parametrize("order", [("labels", "boxes", "scores"), ("boxes", "labels", "scores"), ("scores", "labels", "boxes")])
def test_detections(batched: bool, rows: Values, order: tuple[str, ...]) -> None:
    values = {"labels": rows[:, 5].astype(np.int64), "boxes": rows[:, :4], "scores": rows[:, 4]}
    tensors = Tensors({name: values[name][None] if batched else values[name] for name in order})
    check(tensors.found("detections", 0.4), FOUND)
    check(tensors.found("detections", 0.95), [])


def test_detections_of_a_class_that_cannot_be_are_for_the_agent_to_notice() -> None:
    values = {"labels": np.array([[-7]]), "boxes": np.zeros((1, 1, 4)), "scores": np.array([[0.9]])}
    assert Tensors(values).found("detections", 0.5).class_ids.tolist() == [-1]


def test_detections_need_three_tensors() -> None:
    with pytest.raises(ValueError, match="the detections head needs three tensors: labels"):
        Tensors({"a": np.zeros((1, 5)), "b": np.zeros((1, 5, 4)), "c": np.zeros((1, 5))}).head("detections")
