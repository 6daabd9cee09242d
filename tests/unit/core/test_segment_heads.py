"""The heads of segmentation on tensors made by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.core.guess import guess_heads
from agent.core.heads import ModelOutputs
from agent.core.heads.mask import Mask, MaskOptions
from agent.core.heads.segment import Segment, SegmentOptions
from agent.core.spec import Thresholds
from agent.core.types import TensorSpec

ALL = Thresholds(0.0, None)
SIZE = (24, 16)  # width, height


def outputs(
    shape: tuple[int, ...], dtype: str = "float32", scale: float = 0.0, zero_point: int = 0, size: Any = SIZE
) -> ModelOutputs:
    return ModelOutputs((TensorSpec("out", shape, dtype, scale, zero_point),), size, 0)


def softmax(scores: NDArray[Any]) -> NDArray[Any]:
    """Over the first axis."""
    powers = np.exp(scores.astype(float) - scores.max(axis=0))
    result: NDArray[Any] = powers / powers.sum(axis=0)
    return result


def reference(scores: NDArray[Any], least: float) -> NDArray[np.int16]:
    """scores: probabilities (C, h, w). Background is class 0."""
    best = scores.argmax(axis=0)
    return np.where((scores.max(axis=0) < np.float32(least)) | (best == 0), -1, best).astype(np.int16)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("dtype", "scale", "zero_point"), [("float32", 0.0, 0), ("int8", 0.05, 3), ("uint8", 0.1, 100)])
@pytest.mark.parametrize("least", [0.0, 0.4])
@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_best_of_logits(layout: str, dtype: str, scale: float, zero_point: int, least: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw: NDArray[Any] = rng.normal(0, 2, (3, 16, 24)).astype(np.float32)
    if scale:
        limits = np.iinfo(dtype)
        raw = rng.integers(limits.min, limits.max + 1, (3, 16, 24)).astype(dtype)
    tensor = raw[None] if layout == "NCHW" else raw.transpose(1, 2, 0)[None]
    made = outputs(tensor.shape, dtype, scale, zero_point)
    real = (raw.astype(np.float32) - zero_point) * np.float32(scale or 1)
    found = Segment(made, SegmentOptions(min_area=0))([tensor], Thresholds(least, None))
    assert Segment.classes(made) == 3
    np.testing.assert_array_equal(found.class_map, reference(softmax(real), least))


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 0.0), ("uint8", 1 / 255)])
def test_probabilities_are_taken_as_they_are(dtype: str, scale: float) -> None:
    scores = np.array([[[0.2, 0.1]], [[0.6, 0.3]], [[0.2, 0.2]]], np.float32)
    raw = (scores * 255).astype(np.uint8) if scale else scores
    head = Segment(outputs((1, 3, 1, 2), dtype, scale, size=(2, 1)), SegmentOptions())
    assert head([raw[None]], Thresholds(0.25, None)).class_map.tolist() == [[1, 1]]
    assert head([raw[None]], Thresholds(0.5, None)).class_map.tolist() == [[1, -1]]
    logits = Segment(outputs((1, 3, 1, 2), dtype, scale, size=(2, 1)), SegmentOptions(scores="logits"))
    assert logits([raw[None]], Thresholds(0.5, None)).class_map.tolist() == [[-1, -1]], "the softmax of small numbers is flat"


@pytest.mark.parametrize("shape", [(1, 16, 24), (1, 16, 24, 1), (1, 1, 16, 24)])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_are_the_classes(shape: tuple[int, ...], dtype: str) -> None:
    classes = np.arange(384).reshape(16, 24) % 5
    found = Segment(outputs(shape, dtype), SegmentOptions())([classes.astype(dtype).reshape(shape)], ALL)
    np.testing.assert_array_equal(found.class_map, np.where(classes == 0, -1, classes))
    assert Segment.classes(outputs(shape, dtype)) is None
    assert sorted(found.class_ids.tolist()) == [1, 2, 3, 4]


def test_classes_out_of_range_stay_out_of_range() -> None:
    raw = np.array([[[70_000, -70_000, 1, 1 << 40]]])
    found = Segment(outputs((1, 1, 4), "int64", size=(4, 1)), SegmentOptions())([raw], ALL)
    assert found.class_map.tolist() == [[32766, -1, 1, 32766]]


def test_background_is_an_option() -> None:
    raw = np.array([[[0, 1, 2, 2]]])
    made = outputs((1, 1, 4), "int64", size=(4, 1))
    assert Segment(made, SegmentOptions(background=2))([raw], ALL).class_ids.tolist() == [0, 1]
    assert Segment(made, SegmentOptions(background=-1))([raw], ALL).class_ids.tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="background is a class, or -1"):
        SegmentOptions(background=-2)


def test_specks_are_left_out() -> None:
    raw = np.ones((1, 100, 100), np.int64)
    raw[0, 0, :9] = 2
    made = outputs((1, 100, 100), "int64", size=(100, 100))
    found = Segment(made, SegmentOptions())([raw], ALL)
    assert (found.class_ids.tolist(), found.class_map[0, :10].tolist()) == ([1], [-1] * 9 + [1])
    assert Segment(made, SegmentOptions(min_area=0))([raw], ALL).class_ids.tolist() == [1, 2]
    with pytest.raises(ValueError, match="min_area is a part of the picture"):
        MaskOptions(min_area=2)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_told(number: float) -> None:
    raw = np.zeros((1, 3, 16, 24), np.float32)
    raw[0, 1, 2, 3] = number
    with pytest.raises(ValueError, match="a score is not finite"):
        Segment(outputs(raw.shape), SegmentOptions())([raw], ALL)
    with pytest.raises(ValueError, match="a score is not finite"):
        Mask(outputs((1, 16, 24)), MaskOptions())([raw[:, 1]], ALL)


@pytest.mark.parametrize("shape", [(1, 16, 24), (1, 16, 24, 1), (1, 1, 16, 24)])
@pytest.mark.parametrize(
    ("values", "dtype", "scale", "zero_point", "options"),
    [
        ([0.2, 0.6], "float32", 0.0, 0, MaskOptions()),
        ([-0.2, 0.6], "float32", 0.0, 0, MaskOptions()),
        ([-0.2, 3.0], "float32", 0.0, 0, MaskOptions()),
        ([100, 140], "uint8", 1 / 255, 0, MaskOptions()),
        ([-2, 10], "int8", 1 / 255, -128, MaskOptions()),
        ([-1, 11], "int8", 1 / 254, -127, MaskOptions()),
        ([-1, 1], "int8", 0.1, 0, MaskOptions()),
        ([99, 101], "uint8", 1 / 255, 100, MaskOptions(scores="logits")),
    ],
)
def test_a_mask(
    shape: tuple[int, ...], values: list[float], dtype: str, scale: float, zero_point: int, options: MaskOptions
) -> None:
    """The first is below a probability of 0.5, the second above."""
    on = np.arange(384).reshape(16, 24) % 3 == 0
    head = Mask(outputs(shape, dtype, scale, zero_point), options)
    found = head([np.where(on, values[1], values[0]).astype(dtype).reshape(shape)], Mask.defaults)
    np.testing.assert_array_equal(found.class_map, np.where(on, 0, -1))
    assert Mask.classes(outputs(shape, dtype, scale, zero_point)) == 1


def test_the_ends_of_the_scale() -> None:
    raw = np.array([[[-5.0, 0.0, 5.0]]], np.float32)
    head = Mask(outputs((1, 1, 3), size=(3, 1)), MaskOptions())
    assert head([raw], Thresholds(0.0, None)).class_map.tolist() == [[0, 0, 0]]
    assert head([raw], Thresholds(1.0, None)).class_map.tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "heads"),
    [
        ((1, 513, 513), "int64", (513, 513), ["segment"]),
        ((1, 257, 257, 21), "float32", (513, 513), ["segment"]),
        ((1, 21, 65, 65), "float32", (513, 513), ["segment"]),
        ((1, 33, 33, 21), "float32", (513, 513), ["segment"]),
        ((1, 19, 512, 1024), "float32", (1024, 512), ["segment"]),
        ((1, 21, -1, -1), "float32", (640, 480), ["segment"]),
        ((1, 256, 256, 1), "float32", (256, 256), ["mask"]),
        ((1, 1, 128, 128), "float32", (256, 256), ["mask"]),
        ((1, 1026, 1026), "int64", (513, 513), []),
        ((1, 16, 16, 21), "float32", (513, 513), []),
        ((1, 512, 1024, 19), "float32", (512, 1024), []),
        ((1, 1, 1, 1000), "float32", (224, 224), ["classify"]),
        ((1, 1, 17, 3), "float32", (192, 192), ["movenet"]),
        ((1, -1, 85), "float32", (640, 640), ["yolox", "yolov5"]),
    ],
)
def test_guesses(shape: tuple[int, ...], dtype: str, size: tuple[int, int], heads: list[str]) -> None:
    assert list(guess_heads(outputs(shape, dtype, size=size)).heads) == heads


def test_a_shape_that_can_be_read_both_ways_is_asked_about() -> None:
    made = outputs((1, 21, 21, 22), size=(21, 21))
    with pytest.raises(ValueError, match="the segment head needs"):
        Segment(outputs((1, 30, 40, 22), size=(21, 21)), SegmentOptions())
    both = outputs((1, 21, 21, 21), size=(21, 21))
    with pytest.raises(ValueError, match="option layout has to say it"):
        Segment(both, SegmentOptions())
    assert Segment.classes(both) is None
    Segment(both, SegmentOptions(layout="NCHW"))
    with pytest.raises(ValueError, match="layout is NCHW, which does not fit"):
        Segment(outputs((1, 42, 42, 3), size=(42, 42)), SegmentOptions(layout="NCHW"))
    assert Segment.classes(made) == 22
