"""The best class of each row of class scores, whatever form the model leaves them in."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads.tensors import dequantize, least, logit, not_below, within_unit
from agent.core.types import TensorSpec

ScoreForm = Literal["probabilities", "sigmoid", "softmax"]
Background = Literal["none", "first", "last"]

SLACK = 1e-3  # of a logit: what its float32 arithmetic may be wrong by
OVERSHOOT = 1e-3  # of a probability, in half precision
STEEP = 80.0  # exp(STEEP) is still a float32


class ClassScores:
    """Rows of C scores: probabilities as they are, or logits whose sigmoid or softmax is taken.

    background: which of a row's scores stands for nothing, and is never the best. form: None tells probabilities from logits of
    a sigmoid by the range of a quantized tensor, else by the numbers of each picture.
    """

    def __init__(self, tensor: TensorSpec, form: ScoreForm | None, background: Background) -> None:
        if form == "softmax" and background == "none":
            raise ValueError("a softmax has to say which of its classes is the background: first or last")
        if form is None and tensor.quantized:
            form = "probabilities" if within_unit(tensor) else "sigmoid"
        self._tensor = tensor
        self._form = form
        self._background = 0 if background == "first" else -1
        self._classes = {"none": slice(None), "first": slice(1, None), "last": slice(None, -1)}[background]

    def best(self, rows: NDArray[Any], threshold: float) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
        """Which of the (N, C) rows reach the threshold or are NaN, their scores, and their classes without the background."""
        raw = rows[:, self._classes].max(axis=1)
        form = self._form or ("sigmoid" if raw.size and _outside_unit(rows) else "probabilities")
        if form == "softmax":
            margin = dequantize(raw, self._tensor) - dequantize(rows[:, self._background], self._tensor)
            likely = not_below(margin, logit(threshold) - SLACK)  # a probability is at most the sigmoid of this margin
            scores = _softmax(dequantize(rows[likely], self._tensor))[:, self._classes].max(axis=1)
        elif form == "sigmoid":
            likely = not_below(raw, least(logit(threshold) - SLACK, self._tensor))
            scores = sigmoid(dequantize(raw[likely], self._tensor))
        else:
            likely = not_below(raw, least(threshold, self._tensor))
            scores = dequantize(raw[likely], self._tensor)
        exact = not_below(scores, threshold)
        return likely[exact], scores[exact], rows[likely[exact], self._classes].argmax(axis=1)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x))."""
    return (1 / (1 + np.exp(-np.clip(logits, -STEEP, STEEP)))).astype(np.float32)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    values: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return values


def _outside_unit(rows: NDArray[Any]) -> bool:
    return bool(rows.min() < -OVERSHOOT or rows.max() > 1 + OVERSHOOT)
