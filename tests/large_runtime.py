"""A runtime whose answers do not fit into a packet. Runs in a real model worker."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.runtimes import ModelReport, RuntimeOptions

SIDE = 64
PEOPLE = 1000  # some 228 kB


class LargeRuntime:
    """path: the side of the class map that it gives without having announced it; or "people", for `PEOPLE` with 17 points."""

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        del options
        if path == "people":
            self._output: NDArray[Any] = np.tile(np.linspace(0.9, 0.3, 57, dtype=np.float32), (1, PEOPLE, 1))
            self._output[..., 5] = 0
            output = TensorSpec("people", (1, PEOPLE, 57), "float32")
        else:
            self._output = np.ones((1, int(path), int(path)), np.int64)
            output = TensorSpec("map", (1, -1, -1), "int64")
        picture = TensorSpec("picture", (1, SIDE, SIDE, 3), "uint8", layout="NHWC")
        self.report = ModelReport((picture,), (output,), "cpu", {}, {})

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        del inputs
        return [self._output.copy()]

    def close(self) -> None:
        pass
