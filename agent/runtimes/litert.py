"""TFLite models on LiteRT, or on its predecessor tflite-runtime where that alone is installed.

XNNPACK unless told otherwise; the Edge TPU and other accelerators by their delegate libraries.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import Delegate, ModelReport, RuntimeOptions, default_delegates
from agent.runtimes.tflite_metadata import read_tflite_metadata

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate
except ImportError:
    from tflite_runtime.interpreter import Interpreter, OpResolverType, load_delegate

OWN = ("xnnpack", "cpu")
EXTERNAL = {"edgetpu": "libedgetpu.so.1"}
TAKES_NOTHING = "it took none of this model's operators"
HINTS = {  # part of what LiteRT says, and what to do about it
    "not a valid Flatbuffer": "is the file cut off?",
    "unresolved custom op": "export the model without it",
}


class LiteRt:
    """A TFLite model.

    Delegates: xnnpack, cpu (the reference kernels), those of `EXTERNAL`, and any that brings its library.
    """

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
    for delegate in options.delegates or default_delegates("litert"):
        try:
            interpreter = _load(path, delegate, options.threads)
        except (_RefusedError, ValueError, RuntimeError) as error:
            refused[delegate.name] = _line(error)
        else:
            if delegate.name == "xnnpack" and not _delegated(interpreter):
                refused["xnnpack"] = TAKES_NOTHING
                return interpreter, "cpu", refused
            return interpreter, delegate.name, refused
    reasons = [f"{name}: {why}" for name, why in refused.items()]
    if len(reasons) > len(set(refused.values())) == 1:  # the model's fault, not the delegates'
        reasons = list(refused.values())[:1]
    raise BundleError(f"{path}: LiteRT cannot load it: {'; '.join(reasons)}")


class _RefusedError(Exception):
    """A delegate cannot be had, or has nothing to do."""


def _load(path: str, delegate: Delegate, threads: int) -> Interpreter:
    """A model on a delegate. Raises _RefusedError, ValueError and RuntimeError."""
    external = None if delegate.name in OWN else [_external(delegate)]
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if delegate.name == "cpu" else OpResolverType.AUTO
    interpreter = Interpreter(path, num_threads=threads, experimental_op_resolver_type=resolver, experimental_delegates=external)
    if external and not _delegated(interpreter):  # before XNNPACK gets what is left, when tensors are allocated
        raise _RefusedError(TAKES_NOTHING)
    interpreter.allocate_tensors()
    return interpreter


def _external(delegate: Delegate) -> Any:
    library = delegate.library or EXTERNAL.get(delegate.name)
    if library is None:
        raise _RefusedError(f"LiteRT has no such delegate, only {', '.join((*OWN, *EXTERNAL))}; for another, name its library")
    try:
        return load_delegate(library, dict(delegate.options))
    except OSError as error:
        raise _RefusedError(f"{library}: {_line(error)}") from None
    except AttributeError:
        raise _RefusedError(f"{library} is no LiteRT delegate: it has no tflite_plugin_create_delegate") from None
    except ValueError as error:  # "Failed to load delegate from LIBRARY", and in further lines what it says itself
        said = " ".join(str(error).partition("\n")[2].split())
        raise _RefusedError(f"{library} refuses{f': {said}' if said else ''}") from None


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
