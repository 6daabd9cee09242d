"""ONNX models on onnxruntime: the CPU provider unless others are asked for, in their order."""

import os
import re
from collections.abc import Sequence
from typing import Any

# from 1.29 on it else reports to Microsoft, and keeps an id of the device (onnxruntime, core/platform/posix/telemetry.cc)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import ModelReport, RuntimeOptions, default_delegates

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
# what onnxruntime writes in core/common/status.cc and core/framework/tensorprotoutils.cc
PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
RECORD_ASSIGNMENT = ("session.record_ep_graph_assignment_info", "1")
FATAL_ONLY = 4  # onnxruntime's log level: its warnings come back to us as what `get_providers` says


class OnnxRuntime:
    """An ONNX model. Delegates are execution providers by their short names: cpu, cuda, tensorrt, openvino, …"""

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        available = {short_name(name): name for name in onnxruntime.get_available_providers()}
        wanted = options.delegates or default_delegates("onnxruntime")
        providers = [(available[one.name], dict(one.options)) for one in wanted if one.name in available]
        refused = {one.name: f"this onnxruntime has only {', '.join(available)}" for one in wanted if one.name not in available}
        if not providers:
            names = ", ".join(one.name for one in wanted)
            raise BundleError(f"{path}: none of the delegates {names} can be had: this onnxruntime has only {', '.join(available)}")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.graph_optimization_level = LEVELS[options.graph_optimization]
        settings.log_severity_level = FATAL_ONLY
        settings.add_session_config_entry(*RECORD_ASSIGNMENT)
        self._session, failed = _open(path, settings, providers)
        active = self._session.get_providers()
        delegate = _taking_part(self._session)
        refused |= {short_name(name): "onnxruntime left it out without a word" for name, _ in providers if name not in active}
        refused |= {short_name(name): "it took none of this model's operators" for name in active[: active.index(delegate)]}
        refused |= failed
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._inputs = [tensor.name for tensor in inputs]
        self._outputs = [tensor.name for tensor in outputs]
        self.report = ModelReport(
            inputs=tuple(_spec(path, tensor) for tensor in inputs),
            outputs=tuple(_spec(path, tensor) for tensor in outputs),
            delegate=short_name(delegate),
            refused=refused,
            metadata=dict(self._session.get_modelmeta().custom_metadata_map),
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See `Runtime`."""
        outputs: Sequence[NDArray[Any]] = self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True)))
        return outputs

    def close(self) -> None:
        """Free the session."""
        del self._session


def short_name(provider: str) -> str:
    """The name of a provider in configs: cuda for CUDAExecutionProvider."""
    return provider.removesuffix("ExecutionProvider").lower()


def _open(
    path: str, settings: onnxruntime.SessionOptions, providers: Sequence[tuple[str, dict[str, str]]]
) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """A session on the first provider with which one can be made, and those after it; those before by short name, and why not."""
    failed: dict[str, str] = {}
    for begin, (name, _) in enumerate(providers):
        try:
            # without onnxruntime's own fallback, which would go on without a provider that fails and not say so
            return onnxruntime.InferenceSession(path, settings, providers=providers[begin:], enable_fallback=0), failed
        except Exception as error:  # noqa: BLE001  onnxruntime's exceptions share no base but this one
            failed[short_name(name)] = why = _line(error)
    raise BundleError(f"{path}: onnxruntime cannot load it: {why}")


def _taking_part(session: onnxruntime.InferenceSession) -> str:
    """The first provider that runs any of the model; of an onnxruntime too old to tell, its first."""
    active: list[str] = session.get_providers()
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return active[0]
    names = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    return next((name for name in active if name in names), active[0])


def _spec(path: str, tensor: Any) -> TensorSpec:
    if tensor.type not in DTYPES:
        raise BundleError(f"{path}: tensor {tensor.name} is of type {tensor.type}, which is not supported")
    shape = tuple(n if isinstance(n, int) else -1 for n in tensor.shape)
    return TensorSpec(name=tensor.name, shape=shape, dtype=DTYPES[tensor.type])


def _line(error: Exception) -> str:
    """An error's text in one line, without onnxruntime's prefix."""
    text = " ".join(str(error).split())
    return PREFIX.sub("", text)
