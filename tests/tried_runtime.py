"""A runtime that behaves as its model's path says. Runs in a real model worker."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.runtimes import RuntimeOptions
from tests.faulty_runtime import FaultyRuntime


class TriedRuntime(FaultyRuntime):
    """A classifier whose scores fade with the picture. path: a folder, and in it one of these

    segfault, hang, leak: while it is loaded. leak-later: at its first picture. crash-later: at a picture that is not black.
    slow-N: N ms a picture.
    """

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        self._what, _, number = path.rpartition("/")[2].partition("-")
        self._number = number
        super().__init__("" if number else self._what, options)
        if self._what == "leak" and not number:
            _leak()

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        mean = float(inputs[0].mean()) / 255
        if self._what == "slow":
            time.sleep(int(self._number) / 1000)
        elif mean and self._what == "leak":
            _leak()
        elif mean and self._what == "crash":
            FaultyRuntime("segfault", RuntimeOptions())
        return [np.array([[1 - mean, mean, 0, 0]], np.float32)]


def _leak() -> None:
    held = []
    while True:
        held.append(np.ones(4 << 20, np.uint8))
        time.sleep(0.0001)
