"""Runtimes turn tensors into tensors; one file a library, imported only when used. They run in the model worker alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from agent.core.types import TensorSpec

RuntimeName = Literal["litert", "onnxruntime", "openvino"]
RUNTIMES: dict[str, str] = {
    "litert": "agent.runtimes.litert:LiteRt",
    "onnxruntime": "agent.runtimes.onnx:OnnxRuntime",
    "openvino": "agent.runtimes.openvino:OpenVino",
}
# what reads a format of model files, the usual one first
READERS: dict[str, tuple[RuntimeName, ...]] = {
    "tflite": ("litert",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
DEFAULT_DELEGATES: dict[RuntimeName, tuple[str, ...]] = {
    "litert": ("xnnpack", "cpu"),
    "onnxruntime": ("cpu",),
    "openvino": ("cpu",),
}


@dataclass(frozen=True, slots=True)
class Delegate:
    """What may run a model: an accelerator, or a way to use the CPU. library: of an external LiteRT delegate. options: its own."""

    name: str
    library: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to run a model.

    threads: of one inference. delegates: asked for, best first; a runtime takes the first that it can have, one of its
    `DEFAULT_DELEGATES` where none is asked for. graph_optimization: none, basic, extended or all.
    """

    threads: int = 1
    delegates: tuple[Delegate, ...] = ()
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


def default_delegates(runtime: RuntimeName) -> tuple[Delegate, ...]:
    """Those of `DEFAULT_DELEGATES`."""
    return tuple(Delegate(name) for name in DEFAULT_DELEGATES[runtime])


class Runtime(Protocol):
    """A loaded model. `report` says what the library found in it."""

    report: ModelReport

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        """Load the model; BundleError, one line, where the file is not a model that this library can run."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Outputs in the order of `report.outputs`, arrays of their own: they are decoded beside the next call."""

    def close(self) -> None:
        """Free what the library holds."""
