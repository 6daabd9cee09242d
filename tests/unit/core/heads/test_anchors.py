"""Heads whose boxes are relative to anchors: ssd_raw and blazeface."""

import math

import numpy as np
import pytest

from agent.core.heads.blazeface import BlazeFaceOptions
from agent.core.heads.ssd_raw import SsdRawOptions, ssd_anchors
from tests.heads import Expected, Tensors, check


def test_the_usual_anchors() -> None:
    """Of SSD MobileNet at 300 and 320; numbers as MediaPipe's ssd_anchors_calculator_test.cc has them, scales as TensorFlow's."""
    anchors = ssd_anchors((300, 300), SsdRawOptions())
    assert anchors.shape == (1917, 4)
    assert len(ssd_anchors((320, 320), SsdRawOptions())) == 2034
    low, half, double = 0.2, math.sqrt(0.5), math.sqrt(2)
    first = [[0.1, 0.1], [low * half, low * double], [low * double, low * half]]
    np.testing.assert_allclose(anchors[:3, 2:], first, rtol=1e-5)
    np.testing.assert_allclose(anchors[3, :2], [0.5 / 19, 1.5 / 19], rtol=1e-5)
    next_grid = anchors[19 * 19 * 3 :][:6]
    np.testing.assert_allclose(next_grid[[0, 5], 2], [0.35, math.sqrt(0.35 * 0.5)], rtol=1e-5)
    np.testing.assert_allclose(next_grid[:, 3] / next_grid[:, 2], [1, 2, 0.5, 3, 0.3333, 1], rtol=1e-5)
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, math.sqrt(0.95), math.sqrt(0.95)], rtol=1e-5)


def test_anchors_of_ones_own() -> None:
    options = SsdRawOptions(strides=(32,), min_scale=0.5, aspect_ratios=(4.0,), interpolated_aspect_ratio=0, reduce_lowest=False)
    np.testing.assert_allclose(ssd_anchors((64, 40), options), [[y, x, 0.25, 1.0] for y in (0.25, 0.75) for x in (0.25, 0.75)])


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_ssd_raw(background: bool, quantized: bool, logits: bool) -> None:
    size, options = (64, 64), SsdRawOptions(strides=(16, 32))
    anchors = ssd_anchors(size, options)
    encoded = np.zeros((len(anchors), 4))
    encoded[20] = 1.0, -2.0, 1.5, -1.0
    encoded[60] = 0.0, 0.0, 0.0, 0.0
    probabilities = np.full((len(anchors), 3), 0.01)
    probabilities[:, 0], probabilities[20, 1], probabilities[60, 2] = 0.6 if background else 0.01, 0.9, 0.7
    scores = np.log(probabilities / (1 - probabilities)) if logits else probabilities
    tensors = Tensors({"class_predictions": scores[None], "box_encodings": encoded[None]}, size, 2 if background else 3, quantized)
    expected: list[Expected] = []
    for i, score, class_id in ((20, 0.9, 1), (60, 0.7, 2)):
        y, x, height, width = anchors[i].tolist()
        ty, tx, th, tw = tensors.real[1][0][i].tolist()
        y, x, height, width = y + ty / 10 * height, x + tx / 10 * width, height * math.exp(th / 5), width * math.exp(tw / 5)
        box = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, 1) * 64
        expected.append((score, class_id - background, box.tolist()))
    found = tensors.found("ssd_raw", 0.5, strides=(16, 32))
    np.testing.assert_array_equal(found.class_ids, [class_id for _, class_id, _ in expected])
    np.testing.assert_allclose(found.scores, [0.9, 0.7], atol=0.01 if quantized else 1e-6)
    np.testing.assert_allclose(found.boxes, [box for _, _, box in expected], rtol=1e-3, atol=1e-3)


def test_ssd_raw_counts_its_anchors() -> None:
    tensors = Tensors({"s": np.zeros((1, 1900, 91)), "b": np.zeros((1, 1900, 4))}, (300, 300))
    with pytest.raises(ValueError, match=r"its anchor options make 1917 anchors at input size \[300, 300\], not 's'"):
        tensors.head("ssd_raw")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": ()}, "strides are pixels"),
        ({"aspect_ratios": (0.0,)}, "aspect_ratios are widths over heights"),
        ({"box_scales": (0.0, 1.0, 1.0, 1.0)}, "box_scales are four numbers above 0"),
    ],
)
def test_ssd_raw_options(options: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SsdRawOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "n", "at", "center"),
    [
        (128, 896, 3, (12, 4)),  # the second cell of 16 x 16, two boxes each
        (128, 896, 512 + 7, (24, 8)),  # the second of 8 x 8, six boxes each
        (192, 2016, 1152 + 6, (24, 8)),  # palms
        (256, 896, 3, (24, 8)),  # the back camera's
        (192, 2304, 49, (6, 6)),  # full range, one box each
    ],
)
@pytest.mark.parametrize("quantized", [False, True])
def test_blazeface(side: int, n: int, at: int, center: tuple[int, int], quantized: bool) -> None:
    regressors, scores = np.zeros((1, n, 16)), np.full((1, n, 1), -8.0)
    regressors[0, at, :4] = 2, -1, 10, 20
    scores[0, at] = 3
    tensors = Tensors({"regressors": regressors, "classificators": scores}, (side, side), quantized=quantized)
    found = tensors.found("blazeface", 0.5)
    x, y = center[0] + 2, center[1] - 1
    np.testing.assert_allclose(found.boxes, [[x - 5, y - 10, x + 5, y + 10]], atol=0.2 if quantized else 1e-4)
    np.testing.assert_allclose(found.scores, [1 / (1 + math.exp(-3))], atol=0.01)
    check(tensors.found("blazeface", 0.99), [])


def test_blazeface_needs_its_tensors() -> None:
    with pytest.raises(ValueError, match=r"the blazeface head needs two tensors, scores \[1, N, 1\]"):
        Tensors({"a": np.zeros((1, 896, 2)), "b": np.zeros((1, 896, 16))}).head("blazeface")
    odd = Tensors({"a": np.zeros((1, 895, 1)), "b": np.zeros((1, 895, 16))}, (128, 128))
    with pytest.raises(ValueError, match=r"no strides of such a model make 895 boxes at input size \[128, 128\]"):
        odd.head("blazeface")
    with pytest.raises(ValueError, match=r"strides \[8\] do not make 895 boxes"):
        odd.head("blazeface", strides=(8,))
    with pytest.raises(ValueError, match="strides are pixels"):
        BlazeFaceOptions(strides=(0,))
