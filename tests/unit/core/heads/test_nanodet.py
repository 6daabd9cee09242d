"""NanoDet and its relatives, one cell after the other."""

import math

import numpy as np
import pytest

from agent.core.heads import ModelOutputs
from agent.core.heads.nanodet import NanoDet, NanoDetOptions
from agent.core.types import TensorSpec
from tests.heads import Expected, Tensors, Values, check

SIZE = (80, 48)
BINS = 8


def decoded(scores: Values, distances: Values, strides: tuple[int, ...], center: float, score: float) -> list[Expected]:
    found, i = [], 0
    for stride in strides:
        for row in range(math.ceil(SIZE[1] / stride)):
            for column in range(math.ceil(SIZE[0] / stride)):
                best = int(np.argmax(scores[i]))
                if scores[i, best] >= score:
                    powers = np.exp(distances[i].astype(float).reshape(4, BINS))
                    left, top, right, bottom = (powers / powers.sum(axis=1, keepdims=True)) @ np.arange(BINS) * stride
                    x, y = (column + center) * stride, (row + center) * stride
                    box = np.clip([x - left, y - top, x + right, y + bottom], 0, [*SIZE, *SIZE])
                    found.append((float(scores[i, best]), best, box.tolist()))
                i += 1
    assert i == len(scores)
    return found


def values(strides: tuple[int, ...]) -> tuple[list[int], Values, Values]:
    rng = np.random.default_rng(3)
    counts = [math.ceil(SIZE[0] / stride) * math.ceil(SIZE[1] / stride) for stride in strides]
    return counts, rng.random((sum(counts), 3)), rng.normal(0, 3, (sum(counts), 4 * BINS))


@pytest.mark.parametrize("strides", [(8, 16, 32, 64), (8, 16, 32)])
@pytest.mark.parametrize("center", [None, 0.5])
def test_one_tensor(strides: tuple[int, ...], center: float | None) -> None:
    _, scores, distances = values(strides)
    tensors = Tensors({"output": np.concatenate((scores, distances), axis=1)[None]}, SIZE)
    check(tensors.found("nanodet", 0.5, center=center), decoded(scores, distances, strides, center or 0.0, 0.5))


@pytest.mark.parametrize("strides", [(8, 16, 32, 64), (8, 16, 32)])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("quantized", [False, True])
def test_two_tensors_a_grid(strides: tuple[int, ...], interleaved: bool, quantized: bool) -> None:
    counts, scores, distances = values(strides)
    ends = np.cumsum(counts)[:-1]
    named = {f"cls_pred_stride_{s}": part[None] for s, part in zip(strides, np.split(scores, ends), strict=True)}
    sides = {f"dis_pred_stride_{s}": part[None] for s, part in zip(strides, np.split(distances, ends), strict=True)}
    parts = [part for pair in zip(sides.items(), named.items(), strict=True) for part in pair]
    tensors = Tensors(dict(parts) if interleaved else named | sides, SIZE, quantized=quantized)
    real = dict(zip([tensor.name for tensor in tensors.outputs.tensors], tensors.real, strict=True))
    scores, distances = (np.concatenate([real[name][0] for name in names]) for names in (named, sides))
    name = "picodet" if len(strides) == 4 else "nanodet"
    found = tensors.found(name, 0.5)
    expected = decoded(scores, distances, strides, 0.5, 0.5)
    if quantized:
        assert len(found) == len(expected)
    else:
        check(found, expected)
    assert NanoDet.classes(tensors.outputs) == 3


def test_logits() -> None:
    _, scores, distances = values((8, 16, 32))
    rows = np.concatenate((np.log(scores / (1 - scores)), distances), axis=1)
    found = Tensors({"output": rows[None]}, SIZE).found("nanodet", 0.5, scores="sigmoid")
    check(found, decoded(scores, distances, (8, 16, 32), 0.0, 0.5))


@pytest.mark.parametrize(
    ("shape", "side", "classes"),
    [
        ((1, 2125, 112), 320, 80),
        ((1, 3598, 112), 416, 80),
        ((1, 2100, 33), 320, 1),
        ((1, -1, 112), 320, 80),
        ((1, 2125, 32), 320, None),
    ],
)
def test_shapes(shape: tuple[int, ...], side: int, classes: int | None) -> None:
    outputs = ModelOutputs((TensorSpec("out", shape, "float32"),), (side, side), 0)
    if classes:
        assert NanoDet.classes(outputs) == classes
        NanoDet(outputs, NanoDetOptions())
    else:
        with pytest.raises(ValueError, match="the nanodet head needs one tensor"):
            NanoDet.classes(outputs)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"needs \[1, N, classes \+ 44\], or scores .* at input size \[80, 48\], not 'a'"):
        Tensors({"a": np.zeros((1, 84, 47))}, SIZE).head("nanodet", reg_max=10)
    with pytest.raises(ValueError, match="the picodet head needs scores and distances of four grids, not 'a'"):
        Tensors({"a": np.zeros((1, 84, 47))}, SIZE).head("picodet")
    with pytest.raises(ValueError, match="reg_max is a number of cells"):
        NanoDetOptions(reg_max=0)
    with pytest.raises(ValueError, match="strides are pixels"):
        NanoDetOptions(strides=(0,))
