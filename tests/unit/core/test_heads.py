"""The heads on tensors made by hand, and against decoders that take one box after the other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.core.heads import HEADS, ModelOutputs
from agent.core.heads.classify import Classify, ClassifyOptions
from agent.core.heads.ssd import OPERATOR, Roles, Ssd, SsdOptions
from agent.core.heads.tensors import cells, dequantize, least
from agent.core.heads.yolo import Yolo, YoloOptions
from agent.core.heads.yolox import YoloX, YoloXOptions
from agent.core.spec import Thresholds
from agent.core.types import Detections, TensorSpec
from agent.loading import load_class

SIZE = (96, 64)  # width, height
CELLS = 12 * 8 + 6 * 4 + 3 * 2  # at strides 8, 16, 32
YOLOV8_INT8 = (0.004697551019489765, -128)


def outputs(*tensors: TensorSpec, size: tuple[int, int] = SIZE, classes: int = 0) -> ModelOutputs:
    return ModelOutputs(tensors, size, classes)


def at(score: float) -> Thresholds:
    return Thresholds(score, None)


# Quantized scores


@given(
    st.floats(0, 1),
    st.sampled_from(["int8", "uint8", "int16"]),
    st.floats(1e-5, 0.1),
    st.integers(-128, 127),
)
@settings(max_examples=500, deadline=None)
def test_least_is_the_first_raw_number_that_reaches_the_score(score: float, dtype: str, scale: float, zero_point: int) -> None:
    tensor = TensorSpec("scores", (1,), dtype, scale, zero_point)
    limits = np.iinfo(dtype)
    raw = np.arange(limits.min, limits.max + 1).astype(dtype)
    np.testing.assert_array_equal(raw >= least(score, tensor), dequantize(raw, tensor) >= score)


# SSD


def ssd_tensors(names: tuple[str, ...] = ("a", "b", "c", "d"), roles: Roles = OPERATOR, n: int = 4) -> tuple[TensorSpec, ...]:
    shapes = {"boxes": (1, n, 4), "classes": (1, n), "scores": (1, n), "count": (1,)}
    return tuple(TensorSpec(name, shapes[role], "float32") for name, role in zip(names, roles, strict=True))


SSD_VALUES: dict[str, NDArray[np.float32]] = {
    "boxes": np.array([[[0.1, 0.2, 0.5, 0.6], [-0.5, 0, 1, np.inf], [0, 0, 1, 1], [np.nan] * 4]], np.float32),
    "classes": np.array([[16, 0, 3, 1e9]], np.float32),
    "scores": np.array([[0.5, 0.8, 0.3, np.nan]], np.float32),
    "count": np.array([3], np.float32),
}


@pytest.mark.parametrize(
    ("names", "roles", "option"),
    [
        (tuple(f"TFLite_Detection_PostProcess{i}" for i in ("", ":1", ":2", ":3")), OPERATOR, None),
        (tuple(f"TFLite_Detection_PostProcess{i}" for i in (":2", ":1", "", ":3")), ("scores", "classes", "boxes", "count"), None),
        (tuple(f"StatefulPartitionedCall:{i}" for i in (3, 2, 1, 0)), OPERATOR, None),
        (tuple(f"StatefulPartitionedCall:{i}" for i in (1, 3, 0, 2)), ("scores", "boxes", "count", "classes"), None),
        (("a", "b", "c", "d"), OPERATOR, None),
        (("a", "b", "c", "d"), ("scores", "boxes", "count", "classes"), None),
        (("a", "b", "c", "d"), ("count", "classes", "scores", "boxes"), ("count", "classes", "scores", "boxes")),
        (("a", "b", "c", "d"), ("boxes", "scores", "classes", "count"), ("boxes", "scores", "classes", "count")),
    ],
)
def test_ssd_tells_its_outputs_apart(names: tuple[str, ...], roles: Roles, option: Roles | None) -> None:
    head = Ssd(outputs(*ssd_tensors(names, roles)), SsdOptions(option))
    found = head([SSD_VALUES[role] for role in roles], at(0.4))
    np.testing.assert_array_equal(found.class_ids, [0, 16])
    np.testing.assert_array_equal(found.scores, np.array([0.8, 0.5], np.float32))
    np.testing.assert_allclose(found.boxes, np.array([[0, 0, 96, 64], [0.2 * 96, 0.1 * 64, 0.6 * 96, 0.5 * 64]]), rtol=1e-6)


def test_ssd_asks_which_is_which() -> None:
    tensors = ssd_tensors(roles=("count", "classes", "scores", "boxes"))
    with pytest.raises(ValueError, match=r"which is which of 'a' \[1\] float32, .*option outputs"):
        Ssd(outputs(*tensors), SsdOptions())
    with pytest.raises(ValueError, match="which is which"):
        Ssd(outputs(*tensors), SsdOptions(OPERATOR))


@pytest.mark.parametrize(("count", "left"), [(0, 0), (1, 1), (3, 3), (-1, 0), (np.nan, 0)])
def test_ssd_ignores_what_lies_beyond_the_count(count: float, left: int) -> None:
    head = Ssd(outputs(*ssd_tensors()), SsdOptions())
    values = SSD_VALUES | {"count": np.array([count], np.float32)}
    found = head([values[role] for role in OPERATOR], at(0))
    assert len(found) == left
    assert np.isfinite(found.boxes).all()


def test_ssd_needs_its_four_tensors() -> None:
    with pytest.raises(ValueError, match=r"four float tensors: boxes \[1, N, 4\].*not 'scores' \[1, 10\] float32"):
        Ssd.classes(outputs(TensorSpec("scores", (1, 10), "float32")))
    assert Ssd.classes(outputs(*ssd_tensors())) is None


# YOLO and YOLOX, one box after the other


def decode_yolo(real: NDArray[Any], score: float, normalized: bool) -> list[tuple[float, int, list[float]]]:
    """real: (4 + C, N)."""
    width, height = SIZE if normalized else (1, 1)
    found = []
    for x, y, w, h, *scores in real.T:
        best = int(np.argmax(scores))
        if scores[best] >= np.float32(score):
            box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            found.append((scores[best], best, box))
    return sorted(found, key=lambda one: -one[0])


def decode_yolox(real: NDArray[Any], score: float) -> list[tuple[float, int, list[float]]]:
    """real: (N, 5 + C)."""
    found = []
    i = 0
    for stride in (8, 16, 32):
        for row in range(SIZE[1] // stride):
            for column in range(SIZE[0] // stride):
                x, y, w, h, objectness, *scores = real[i]
                i += 1
                best = int(np.argmax(scores))
                if objectness * scores[best] >= np.float32(score):
                    x, y = (x + column) * stride, (y + row) * stride
                    w, h = np.exp(w) * stride, np.exp(h) * stride
                    found.append((objectness * scores[best], best, [x - w / 2, y - h / 2, x + w / 2, y + h / 2]))
    assert i == len(real)
    return sorted(found, key=lambda one: -one[0])


def check(found: Detections, expected: list[tuple[float, int, list[float]]]) -> None:
    assert len(found) == len(expected)
    assert [part.dtype.name for part in (found.boxes, found.scores, found.class_ids)] == ["float32", "float32", "int32"]
    if expected:
        scores, class_ids, boxes = zip(*expected, strict=True)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
        np.testing.assert_array_equal(found.class_ids, class_ids)
        np.testing.assert_allclose(found.boxes, boxes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("normalized", [False, True])
@given(seed=st.integers(0, 1000), score=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
@settings(max_examples=20, deadline=None)
def test_yolo(transposed: bool, dtype: str, normalized: bool, seed: int, score: float) -> None:
    rng = np.random.default_rng(seed)
    scale, zero_point = (YOLOV8_INT8 if normalized else (0.5, -128)) if dtype == "int8" else (0.0, 0)
    raw: NDArray[Any] = rng.random((9, CELLS)).astype(np.float32) * (1 if normalized else 96)
    raw[4:] = rng.random((5, CELLS)) ** 4
    if dtype == "int8":
        raw = rng.integers(-128, 128, (9, CELLS)).astype(np.int8)
    shape = (1, CELLS, 9) if transposed else (1, 9, CELLS)
    tensor = TensorSpec("out", shape, dtype, scale, zero_point)
    head = Yolo(outputs(tensor), YoloOptions())
    assert Yolo.classes(outputs(tensor)) == 5
    real = (raw.astype(np.float32) - zero_point) * np.float32(scale) if scale else raw
    found = head([(raw.T if transposed else raw)[None]], at(score))
    check(found, decode_yolo(real.astype(np.float32), score, normalized))


@pytest.mark.parametrize("box", ["xywh_normalized", "xywh_pixels"])
def test_yolo_takes_the_boxes_for_what_they_are_declared(box: Any) -> None:
    raw = np.zeros((1, 5, CELLS), np.float32)
    raw[0, :, 7] = 0.5, 0.5, 1.0, 1.0, 0.9
    head = Yolo(outputs(TensorSpec("out", raw.shape, "float32")), YoloOptions(box))
    expected = [[0, 0, 96, 64]] if box == "xywh_normalized" else [[0, 0, 1, 1]]
    np.testing.assert_array_equal(head([raw], at(0.5)).boxes, expected)


@pytest.mark.parametrize(
    ("shape", "classes"),
    [
        ((1, 84, 3549), 80),
        ((1, 3549, 84), 80),
        ((-1, 84, -1), 80),
        ((1, -1, 6), 2),
        ((1, 5, 14365), 1),  # with a finer grid
        ((1, 25200, 85), None),
        ((1, 10647, 85), None),  # three boxes a cell: YOLOv5
        ((1, 300, 6), None),  # NMS inside
        ((1, 4, 3549), None),
        ((84, 3549), None),
    ],
)
def test_yolo_knows_its_shape(shape: tuple[int, ...], classes: int | None) -> None:
    made = outputs(TensorSpec("out", shape, "float32"), size=(416, 416))
    if classes:
        assert Yolo.classes(made) == classes
        Yolo(made, YoloOptions())
    else:
        with pytest.raises(ValueError, match=r"needs one tensor \[1, 4 \+ classes, 3549\].* input size \[416, 416\], not 'out' \["):
            Yolo.classes(made)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@given(seed=st.integers(0, 1000), score=st.sampled_from([0.0, 0.2, 0.5, 0.9]))
@settings(max_examples=20, deadline=None)
def test_yolox(dtype: str, seed: int, score: float) -> None:
    rng = np.random.default_rng(seed)
    scale, zero_point = (0.01, 60) if dtype == "uint8" else (0.0, 0)
    raw: NDArray[Any] = rng.normal(0, 1, (CELLS, 8)).astype(np.float32)
    raw[:, 4:] = rng.random((CELLS, 4)) ** 0.5
    if dtype == "uint8":
        raw = rng.integers(60, 161, (CELLS, 8)).astype(np.uint8)
    tensor = TensorSpec("out", (1, CELLS, 8), dtype, scale, zero_point)
    head = YoloX(outputs(tensor), YoloXOptions())
    assert YoloX.classes(outputs(tensor)) == 3
    real = (raw.astype(np.float32) - zero_point) * np.float32(scale) if scale else raw
    check(head([raw[None]], at(score)), decode_yolox(real.astype(np.float32), score))


def test_yolox_boxes_stay_finite() -> None:
    raw = np.ones((1, CELLS, 6), np.float32)
    raw[..., 2:4] = 1000
    head = YoloX(outputs(TensorSpec("out", raw.shape, "float32")), YoloXOptions())
    assert np.isfinite(head([raw], at(0.5)).boxes).all()


def test_yolox_strides_are_an_option() -> None:
    tensor = TensorSpec("out", (1, 13 * 13, 85), "float32")
    head = YoloX(outputs(tensor, size=(416, 416)), YoloXOptions(strides=(32,)))
    raw = np.zeros(tensor.shape, np.float32)
    raw[0, -1, :6] = 0.5, 0.5, 0, 0, 1, 0.9
    np.testing.assert_array_equal(head([raw], at(0.5)).boxes, [[384, 384, 416, 416]])
    with pytest.raises(
        ValueError, match=r"\[1, 3549, 5 \+ classes\] at input size \[416, 416\] and strides \[8, 16, 32\], not 'out'"
    ):
        YoloX(outputs(tensor, size=(416, 416)), YoloXOptions())


def test_yolox_needs_room_for_a_class() -> None:
    with pytest.raises(ValueError, match=r"one tensor \[1, cells, 5 \+ classes\], not 'out' \[1, 3549, 5\] float32"):
        YoloX.classes(outputs(TensorSpec("out", (1, 3549, 5), "float32")))


# Classifiers

LOGITS = np.array([[1.0, 3.0, -2.0, 3.0, 0.0]], np.float32)


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers: NDArray[Any] = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    return powers


def test_classify_takes_the_softmax_of_logits() -> None:
    head = Classify(outputs(TensorSpec("out", (1, 5), "float32")), ClassifyOptions())
    best = head([LOGITS], Thresholds(0.0, None, max_detections=3))
    np.testing.assert_array_equal(best.class_ids, [1, 3, 0])
    np.testing.assert_allclose(best.scores, softmax(LOGITS)[0, [1, 3, 0]], rtol=1e-6)


def test_classify_leaves_probabilities_as_they_are() -> None:
    probabilities = softmax(LOGITS).astype(np.float32) * np.float32(1.01)
    head = Classify(outputs(TensorSpec("out", (1, 5), "float32")), ClassifyOptions())
    best = head([probabilities], Thresholds(0.03, None))
    np.testing.assert_array_equal(best.class_ids, [1, 3, 0])
    np.testing.assert_array_equal(best.scores, probabilities[0, [1, 3, 0]])


def test_classify_does_as_it_is_told() -> None:
    tensor = outputs(TensorSpec("out", (1, 1, 1, 3), "float32"))
    scores = np.array([[[[0.9, 0.8, 0.1]]]], np.float32)
    several = Classify(tensor, ClassifyOptions("probabilities"))([scores], Thresholds(0.5, None))
    np.testing.assert_array_equal(several.scores, scores[0, 0, 0, :2])
    one_hot = np.array([[[[1.0, 0.0, 0.0]]]], np.float32)
    flat = Classify(tensor, ClassifyOptions("logits"))([one_hot], Thresholds(0.0, None))
    np.testing.assert_allclose(flat.scores, softmax(one_hot).ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("uint8", 1 / 256, 0), ("int8", 1 / 256, -128), ("uint8", 1 / 255, 0), ("int8", 1 / 254, -127)],
)
def test_classify_takes_a_quantized_range_of_0_to_1_for_probabilities(dtype: str, scale: float, zero_point: int) -> None:
    """Even where they sum to something else."""
    head = Classify(outputs(TensorSpec("out", (1, 4), dtype, scale, zero_point)), ClassifyOptions())
    raw = (np.array([[10, 200, 200, 0]]) + zero_point).astype(dtype)
    best = head([raw], Thresholds(10 * scale, None))
    np.testing.assert_array_equal(best.class_ids, [1, 2, 0])
    np.testing.assert_allclose(best.scores, np.array([200, 200, 10]) * scale, rtol=1e-6)


def test_classify_dequantizes_logits() -> None:
    head = Classify(outputs(TensorSpec("out", (1, 3), "int8", 0.1, -20)), ClassifyOptions())
    best = head([np.array([[-20, 0, 10]], np.int8)], Thresholds(0.0, None, max_detections=1))
    np.testing.assert_array_equal(best.class_ids, [2])
    np.testing.assert_allclose(best.scores, softmax(np.array([0.0, 2.0, 3.0]))[2:], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((1, 1001), 1001), ((-1, 10), 10), ((1, 1, 1, 1000), 1000), ((1, 1), None), ((1, 2, 3), None), ((5,), None)],
)
def test_classify_knows_its_shape(shape: tuple[int, ...], classes: int | None) -> None:
    made = outputs(TensorSpec("out", shape, "float32"))
    if classes:
        assert Classify.classes(made) == classes
    else:
        with pytest.raises(ValueError, match=r"one tensor \[1, classes\], not 'out' \["):
            Classify.classes(made)


def test_nothing_returned_shares_memory_with_the_tensors() -> None:
    for head, raw in (
        (Yolo(outputs(TensorSpec("out", (1, 5, CELLS), "float32")), YoloOptions()), np.ones((1, 5, CELLS), np.float32)),
        (YoloX(outputs(TensorSpec("out", (1, CELLS, 6), "float32")), YoloXOptions()), np.ones((1, CELLS, 6), np.float32)),
    ):
        found = head([raw], at(0.5))
        assert len(found) == CELLS
        assert not np.shares_memory(found.boxes, raw)
        assert not np.shares_memory(found.scores, raw)
    best = Classify(outputs(TensorSpec("out", (1, 5), "float32")), ClassifyOptions())([LOGITS], at(0.0))
    assert not np.shares_memory(best.scores, LOGITS)
    values = [SSD_VALUES[role] for role in OPERATOR]
    found = Ssd(outputs(*ssd_tensors()), SsdOptions())(values, at(0.0))
    assert not any(np.shares_memory(part, value) for part in (found.boxes, found.scores, found.class_ids) for value in values)


@pytest.mark.parametrize("name", ["yolo", "yolox", "ssd", "classify"])
def test_a_nan_score_is_not_hidden(name: str) -> None:
    """The agent takes it for a broken model, which it is; nothing found would look like an empty street."""
    n = cells((32, 32), (8, 16, 32))
    every: dict[str, list[tuple[int, ...]]] = {
        "yolo": [(1, 6, n)],
        "yolox": [(1, n, 7)],
        "ssd": [(1, 5, 4), (1, 5), (1, 5), (1,)],
        "classify": [(1, 5)],
    }
    shapes = every[name]
    names = ["TFLite_Detection_PostProcess", *(f"TFLite_Detection_PostProcess:{i}" for i in (1, 2, 3))]
    specs = tuple(TensorSpec(names[i], shape, "float32") for i, shape in enumerate(shapes))
    head_class = load_class(HEADS[name])
    head = head_class(ModelOutputs(specs, (32, 32), 0), head_class.Options())
    tensors = [np.full(shape, np.nan, np.float32) for shape in shapes]
    if name == "ssd":
        tensors[3][0] = 5
    found = head(tensors, Thresholds(score=0.3, iou=None))
    assert np.isnan(found.scores).any()
