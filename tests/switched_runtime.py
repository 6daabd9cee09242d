"""A runtime that behaves as the file at its model's path says at the moment, so that a model can turn bad while it serves."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError
from agent.runtimes import RuntimeOptions
from tests.faulty_runtime import FaultyRuntime


class SwitchedRuntime(FaultyRuntime):
    """A classifier of pictures by their mean. Its file says

    nothing: that it is fine. broken, segfault: while it is loaded. constant: at each picture. crash, hang, nan, blind, slow (50 ms
    a picture): at each that is not black, as those of the warm-up are.
    """

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        self._file = Path(path)
        what = self._file.read_text()
        if what == "broken":
            raise BundleError("no model")
        super().__init__(what if what == "segfault" else "", options)

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        mean = float(inputs[0].mean()) / 255
        what = self._file.read_text()
        if what != "constant" and not mean:
            what = ""
        if what == "crash":
            FaultyRuntime("segfault", RuntimeOptions())
        elif what == "hang":
            time.sleep(1000)
        elif what == "slow":
            time.sleep(0.05)
        scores = {"nan": (np.nan, 0), "constant": (0.25, 0.75), "blind": (0, 0)}.get(what, (1 - mean, mean))
        return [np.array([[*scores, 0, 0]], np.float32)]
