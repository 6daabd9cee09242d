"""The best class of each row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.heads.class_scores import Background, ClassScores, ScoreForm
from tests.heads import Tensors, Values


def probabilities(real: Values, form: ScoreForm) -> Values:
    if form == "probabilities":
        return real
    powers = np.exp(real.astype(float))
    made: Values = powers / powers.sum(axis=1, keepdims=True) if form == "softmax" else powers / (1 + powers)
    return made


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("background", ["none", "first", "last"])
@pytest.mark.parametrize("form", ["probabilities", "sigmoid", "softmax"])
@given(seed=st.integers(0, 1000), score=st.sampled_from([0.0, 0.1, 0.35, 0.6, 0.99, 1.0]))
@settings(max_examples=15, deadline=None)
def test_best(quantized: bool, background: Background, form: ScoreForm, seed: int, score: float) -> None:
    if (form, background) == ("softmax", "none"):
        return
    rng = np.random.default_rng(seed)
    values = rng.random((40, 5)) if form == "probabilities" else rng.normal(-1, 3, (40, 5))
    tensors = Tensors({"scores": values}, quantized=quantized)
    keep, scores, class_ids = ClassScores(tensors.outputs.tensors[0], form, background).best(tensors.arrays[0], score)
    expected = probabilities(tensors.real[0], form)
    expected = expected[:, {"none": slice(None), "first": slice(1, None), "last": slice(None, -1)}[background]]
    best = expected.max(axis=1)
    sure = np.abs(best - score) > 1e-5
    np.testing.assert_array_equal(np.isin(np.arange(40), keep)[sure], (best >= score)[sure])
    np.testing.assert_allclose(scores, best[keep], rtol=1e-4)
    np.testing.assert_allclose(expected[keep, class_ids], best[keep])


@pytest.mark.parametrize("quantized", [False, True])
def test_the_form_is_told_from_the_numbers(quantized: bool) -> None:
    for values, expected in (([[0.2, 0.9], [1.0, 0.0]], [0.9, 1.0]), ([[-4.0, 2.0], [0.0, -1.0]], [0.8808, 0.5])):
        tensors = Tensors({"scores": np.array(values)}, quantized=quantized)
        _, scores, _ = ClassScores(tensors.outputs.tensors[0], None, "none").best(tensors.arrays[0], 0.0)
        np.testing.assert_allclose(scores, expected, atol=0.01)


def test_a_softmax_needs_a_background() -> None:
    with pytest.raises(ValueError, match="which of its classes is the background"):
        ClassScores(Tensors({"s": np.zeros((1, 2))}).outputs.tensors[0], "softmax", "none")


@pytest.mark.parametrize("form", ["probabilities", "sigmoid", "softmax", None])
def test_a_nan_is_not_hidden(form: Any) -> None:
    tensors = Tensors({"scores": np.array([[0.1, 0.2], [np.nan, 0.2]])})
    keep, scores, _ = ClassScores(tensors.outputs.tensors[0], form, "last" if form == "softmax" else "none").best(
        tensors.arrays[0], 0.7
    )
    assert keep.tolist() == [1]
    assert np.isnan(scores).all()


def test_large_logits_stay_finite() -> None:
    tensors = Tensors({"scores": np.array([[1e30, -1e30], [-1e30, 1e30]])})
    for form in ("sigmoid", "softmax"):
        _, scores, _ = ClassScores(tensors.outputs.tensors[0], form, "first").best(tensors.arrays[0], 0.0)
        np.testing.assert_allclose(scores, [0, 1], atol=1e-6)
