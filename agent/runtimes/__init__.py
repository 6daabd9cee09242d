"""Runtimes turn tensors into tensors; one file a library, imported only when used. They run in the model worker alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from agent.core.types import TensorSpec

RUNTIMES: dict[str, str] = {
    "litert": "agent.runtimes.litert:LiteRt",
    "onnxruntime": "agent.runtimes.onnx:OnnxRuntime",
}


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to run a model.

    threads: of one inference. delegates: asked for, best first; a runtime takes the first that it can have.
    graph_optimization: none, basic, extended or all.
    """

    threads: int = 1
    delegates: tuple[str, ...] = ()
    graph_optimization: str = "all"


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a runtime says of a loaded model.

    inputs, outputs: in the order of `Runtime.run`. delegate: what really runs it. refused: delegates that were asked for and could
    not be had, with the reason. metadata: what the file says of itself, name to text (ONNX metadata_props; the files of the zip
    that is appended to a TFLite file).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegate: str
    refused: Mapping[str, str]
    metadata: Mapping[str, str]


class Runtime(Protocol):
    """A loaded model. `report` says what the library found in it."""

    report: ModelReport

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        """Load the model; BundleError, one line, where the file is not a model that this library can run."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Outputs in the order of `report.outputs`, arrays of their own: they are decoded beside the next call."""

    def close(self) -> None:
        """Free what the library holds."""
