"""TFLite models on LiteRT: XNNPACK unless told otherwise, the Edge TPU by its delegate library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate
from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import ModelReport, RuntimeOptions
from agent.runtimes.tflite_metadata import read_tflite_metadata

EXTERNAL = {"edgetpu": "libedgetpu.so.1"}
HINTS = {  # part of what LiteRT says, and what to do about it
    "not a valid Flatbuffer": "is the file cut off?",
    "unresolved custom op": "export the model without it",
}


class LiteRt:
    """A TFLite model. Delegates: xnnpack, cpu (the reference kernels) and those of `EXTERNAL`."""

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        self._interpreter, delegate, refused = _first_that_loads(path, options)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs = [detail["index"] for detail in inputs]
        self._outputs = [detail["index"] for detail in outputs]
        self._shapes = [tuple(detail["shape"]) for detail in inputs]
        self.report = ModelReport(
            inputs=tuple(_spec(detail) for detail in inputs),
            outputs=tuple(_spec(detail) for detail in outputs),
            delegate=delegate,
            refused=refused,
            metadata=read_tflite_metadata(path),
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See `Runtime`."""
        for i, array in enumerate(inputs):
            if array.shape != self._shapes[i]:
                self._interpreter.resize_tensor_input(self._inputs[i], array.shape)
                self._interpreter.allocate_tensors()
                self._shapes[i] = array.shape
        for index, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def close(self) -> None:
        """Free the interpreter."""
        del self._interpreter


def _first_that_loads(path: str, options: RuntimeOptions) -> tuple[Interpreter, str, dict[str, str]]:
    refused: dict[str, str] = {}
    for name in options.delegates or ("xnnpack", "cpu"):
        if name not in ("xnnpack", "cpu", *EXTERNAL):
            refused[name] = f"the litert runtime has no such delegate, only xnnpack, cpu, {', '.join(EXTERNAL)}"
            continue
        try:
            interpreter = _load(path, name, options.threads)
        except OSError as error:
            refused[name] = f"{EXTERNAL[name]}: {_line(error)}"
        except (ValueError, RuntimeError) as error:
            refused[name] = _line(error)
        else:
            if name == "xnnpack" and not _delegated(interpreter):
                refused[name] = "it took none of this model's operators"
                return interpreter, "cpu", refused
            return interpreter, name, refused
    reasons = [f"{name}: {why}" for name, why in refused.items()]
    if len(reasons) > len(set(refused.values())) == 1:  # the model's fault, not the delegates'
        reasons = list(refused.values())[:1]
    raise BundleError(f"{path}: LiteRT cannot load it: {'; '.join(reasons)}")


def _load(path: str, delegate: str, threads: int) -> Interpreter:
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegate == "cpu" else OpResolverType.AUTO
    external = [load_delegate(EXTERNAL[delegate])] if delegate in EXTERNAL else None
    interpreter = Interpreter(path, num_threads=threads, experimental_op_resolver_type=resolver, experimental_delegates=external)
    interpreter.allocate_tensors()
    return interpreter


def _delegated(interpreter: Interpreter) -> bool:
    """Whether a delegate took over any operators: LiteRT falls back to its own kernels without a word."""
    return any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())  # noqa: SLF001  nothing public tells it


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    signature = detail.get("shape_signature", detail["shape"])
    return TensorSpec(
        name=detail["name"],
        shape=tuple(int(n) for n in signature),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _line(error: Exception) -> str:
    """An error's first sentence, in one line."""
    text = " ".join(str(error).split("\n", 1)[0].split()).removesuffix(".")
    return text + next((f"; {hint}" for part, hint in HINTS.items() if part in text), "")
