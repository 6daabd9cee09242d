"""Tensors for heads, float or quantized, and what a head makes of them beside what a naive decoder does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import HEADS, Head, ModelOutputs
from agent.core.spec import Thresholds
from agent.core.types import Detections, TensorSpec
from agent.loading import load_class

SIZE = (96, 64)  # width, height
Values = NDArray[Any]
Expected = tuple[float, int, Sequence[float]]  # score, class, x1 y1 x2 y2


class Tensors:
    """Named outputs with their values. quantized: as uint8, each with a scale of its own."""

    def __init__(self, values: dict[str, Values], size: tuple[int, int] = SIZE, classes: int = 0, quantized: bool = False) -> None:
        made = [_quantized(name, array) if quantized else _float(name, array) for name, array in values.items()]
        self.outputs = ModelOutputs(tuple(spec for spec, _ in made), size, classes)
        self.arrays = [array for _, array in made]
        self.real = [_real(spec, array) for spec, array in made]

    def head(self, name: str, **options: Any) -> Head:
        cls = load_class(HEADS[name])
        made: Head = cls(self.outputs, cls.Options(**options))
        return made

    def found(self, name: str, score: float, **options: Any) -> Detections:
        """What the head finds from a score on."""
        found = self.head(name, **options)(self.arrays, Thresholds(score, None))
        assert isinstance(found, Detections)
        assert not any(np.shares_memory(found.boxes, array) for array in self.arrays)
        return found


def check(found: Detections, expected: Sequence[Expected]) -> None:
    """The same, best first."""
    assert [part.dtype.name for part in (found.boxes, found.scores, found.class_ids)] == ["float32", "float32", "int32"]
    assert found.boxes.shape == (len(expected), 4)
    expected = sorted(expected, key=lambda one: -one[0])
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.class_ids, [class_id for _, class_id, _ in expected])
    np.testing.assert_allclose(found.boxes, np.reshape([box for _, _, box in expected], (-1, 4)), rtol=1e-3, atol=2e-2)


def _float(name: str, array: Values) -> tuple[TensorSpec, Values]:
    kept = array if array.dtype.kind == "i" else array.astype(np.float32)
    return TensorSpec(name, array.shape, kept.dtype.name), kept


def _quantized(name: str, array: Values) -> tuple[TensorSpec, Values]:
    if array.dtype.kind == "i":
        return _float(name, array)
    low, high = min(0.0, float(array.min())), float(array.max())
    scale = (high - low) / 255 or 1.0
    zero_point = round(-low / scale)
    raw = np.clip(np.rint(array / scale) + zero_point, 0, 255).astype(np.uint8)
    return TensorSpec(name, array.shape, "uint8", scale, zero_point), raw


def _real(spec: TensorSpec, array: Values) -> Values:
    """What the numbers stand for."""
    if not spec.quantized:
        return array
    real: Values = (array.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return real
