"""Transformers' queries."""

import numpy as np
import pytest

from agent.core.heads import ModelOutputs
from agent.core.heads.detr import Detr
from agent.core.types import TensorSpec
from tests.heads import Expected, Tensors, check

Q = 100
FOUND: list[Expected] = [(0.8, 1, [38.4, 16, 57.6, 48]), (0.6, 0, [0, 0, 96, 64])]
BOXES = np.zeros((1, Q, 4))
BOXES[0, 7] = 0.5, 0.5, 0.2, 0.5
BOXES[0, 9] = 0.5, 0.5, 1.0, 1.0


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("names", [("dets", "labels"), ("labels", "dets"), ("pred_boxes", "logits")])
def test_sigmoid(names: tuple[str, str], quantized: bool) -> None:
    logits = np.full((1, Q, 2), -8.0)
    logits[0, 7, 1], logits[0, 9, 0] = logit(0.8), logit(0.6)
    values = {"dets": BOXES, "labels": logits, "pred_boxes": BOXES, "logits": logits}
    tensors = Tensors({name: values[name] for name in names}, quantized=quantized)
    found = tensors.found("detr", 0.4, scores="sigmoid")
    np.testing.assert_array_equal(found.class_ids, [1, 0])
    np.testing.assert_allclose(found.scores, [0.8, 0.6], atol=0.01 if quantized else 1e-6)
    np.testing.assert_allclose(found.boxes, [box for _, _, box in FOUND], atol=0.6 if quantized else 1e-4)


def test_softmax_with_a_class_for_nothing() -> None:
    """DETR's, by its hundred queries."""
    logits = np.zeros((1, Q, 3))
    logits[..., 2] = 9
    logits[0, 7] = np.log([0.1, 0.8, 0.1])
    logits[0, 9] = np.log([0.6, 0.1, 0.3])
    tensors = Tensors({"logits": logits, "pred_boxes": BOXES})
    check(tensors.found("detr", 0.4), FOUND)
    assert Detr.classes(tensors.outputs) == 2


def test_one_tensor_of_probabilities() -> None:
    """Ultralytics' RT-DETR."""
    rows = np.concatenate((BOXES, np.zeros((1, Q, 2))), axis=2)
    rows[0, 7, 5], rows[0, 9, 4] = 0.8, 0.6
    tensors = Tensors({"output0": rows})
    check(tensors.found("detr", 0.4), FOUND)
    assert Detr.classes(tensors.outputs) == 2


def test_the_last_class_may_be_for_nothing() -> None:
    """RF-DETR after training on one's own classes: one label less."""
    logits = np.full((1, Q, 3), -8.0)
    logits[0, 7], logits[0, 9, 0] = [-8.0, logit(0.8), 5.0], logit(0.6)
    check(Tensors({"dets": BOXES, "labels": logits}, classes=2).found("detr", 0.4), FOUND)
    assert Tensors({"dets": BOXES, "labels": logits}, classes=3).found("detr", 0.4).class_ids[0] == 2
    with pytest.raises(ValueError, match=r"4 labels for 3 scores of 'labels' .* with scores: sigmoid and background: none"):
        Tensors({"dets": BOXES, "labels": logits}, classes=4).head("detr")


@pytest.mark.parametrize(
    ("shapes", "labels", "classes"),
    [
        ([(1, 100, 92), (1, 100, 4)], 0, 91),
        ([(1, 300, 80), (1, 300, 4)], 0, 80),
        ([(1, 300, 91), (1, 300, 4)], 0, 91),
        ([(1, 300, 91), (1, 300, 4)], 90, 90),
        ([(1, 300, 84)], 0, 80),
        ([(1, 300, 1), (1, 300, 4)], 0, 1),
        ([(1, 8400, 84)], 0, None),
        ([(1, 4420, 2), (1, 4420, 4)], 0, None),
        ([(1, 300, 4)], 0, None),
    ],
)
def test_shapes(shapes: list[tuple[int, ...]], labels: int, classes: int | None) -> None:
    outputs = ModelOutputs(tuple(TensorSpec(f"o{i}", shape, "float32") for i, shape in enumerate(shapes)), (640, 640), labels)
    if classes:
        assert Detr.classes(outputs) == classes
    else:
        with pytest.raises(ValueError, match="the detr head needs"):
            Detr.classes(outputs)
