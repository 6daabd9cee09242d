"""ONNX models and OpenVINO's own (NAME.xml with NAME.bin) on OpenVINO: one stream, tuned for latency.

TFLite files are left to LiteRT: OpenVINO reads them, but does not tell the scales of quantized inputs and outputs.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import Delegate, ModelReport, RuntimeOptions, default_delegates

# `import openvino` reports itself to Google Analytics (openvino/tools/ovc/__init__.py), unless this package cannot be imported
cast("dict[str, ModuleType | None]", sys.modules)["openvino_telemetry"] = None
try:
    import openvino
except ImportError:
    raise BundleError("OpenVINO is not installed; install it with: pip install 'edge-agent[openvino]'") from None

DTYPES = {"float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool"}
MOST_METADATA_CHARS = 1 << 18
METADATA_FILE = "metadata.yaml"  # what Ultralytics writes beside the model (ultralytics/engine/exporter.py, export_openvino)


class OpenVino:
    """A model. Delegates are OpenVINO's devices: cpu, gpu, npu, auto; their options are properties such as CACHE_DIR."""

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except Exception as error:  # noqa: BLE001  whatever a frontend raises
            raise BundleError(f"{path}: OpenVINO cannot read it: {_line(error)}") from None
        compiled, delegate, refused = _first_that_compiles(core, model, path, options)
        self._request = compiled.create_infer_request()
        self.report = ModelReport(
            inputs=tuple(_spec(path, tensor) for tensor in model.inputs),
            outputs=tuple(_spec(path, tensor) for tensor in model.outputs),
            delegate=delegate,
            refused=refused,
            metadata=_metadata(model) | _beside(Path(path)),
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See `Runtime`."""
        results = self._request.infer(list(inputs), share_inputs=True)
        return [results[i] for i in range(len(self.report.outputs))]

    def close(self) -> None:
        """Free the model."""
        del self._request


def _first_that_compiles(core: Any, model: Any, path: str, options: RuntimeOptions) -> tuple[Any, str, dict[str, str]]:
    there = {device.partition(".")[0].lower() for device in core.available_devices}
    refused: dict[str, str] = {}
    for delegate in options.delegates or default_delegates("openvino"):
        if delegate.name not in {*there, "auto"}:
            refused[delegate.name] = f"this OpenVINO has only {', '.join([*sorted(there), 'auto'])}"
            continue
        try:
            return core.compile_model(model, delegate.name.upper(), _properties(delegate, options)), delegate.name, refused
        except Exception as error:  # noqa: BLE001  whatever a plug-in raises
            refused[delegate.name] = _line(error)
    raise BundleError(f"{path}: OpenVINO cannot load it: {'; '.join(f'{name}: {why}' for name, why in refused.items())}")


def _properties(delegate: Delegate, options: RuntimeOptions) -> dict[str, str]:
    properties = {"PERFORMANCE_HINT": "LATENCY"}
    if delegate.name == "cpu":
        properties |= {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(options.threads)}
    return properties | dict(delegate.options)


def _spec(path: str, tensor: Any) -> TensorSpec:
    name = tensor.any_name if tensor.names else "unnamed"
    dtype = tensor.element_type.to_dtype().name
    if dtype not in DTYPES or tensor.partial_shape.rank.is_dynamic:
        raise BundleError(f"{path}: tensor {name} is {tensor.element_type} {tensor.partial_shape}, which is not supported")
    shape = tuple(n.get_length() if n.is_static else -1 for n in tensor.partial_shape)
    return TensorSpec(name=name, shape=shape, dtype=dtype)


def _metadata(model: Any) -> dict[str, str]:
    """ONNX metadata_props (rt_info `framework`), and what conversion tools note (`model_info`, as model_info.NAME)."""
    information = model.get_rt_info()
    found: dict[str, str] = {}
    for section, prefix in (("framework", ""), ("model_info", "model_info.")):
        if section in information:
            entries = information[section]
            entries = entries if isinstance(entries, Mapping) else entries.value
            found |= {f"{prefix}{key}": str(getattr(value, "value", value)) for key, value in entries.items()}
    return found


def _beside(path: Path) -> dict[str, str]:
    try:
        with (path.parent / METADATA_FILE).open(encoding="utf-8") as file:
            return {METADATA_FILE: file.read(MOST_METADATA_CHARS)} if path.suffix == ".xml" else {}
    except (OSError, UnicodeDecodeError):
        return {}


def _line(error: Exception) -> str:
    """What an error says, in one line, without the places in OpenVINO's source that it comes from."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '", "FrontEnd API failed"))]
    return " ".join(" ".join(said or lines).split())[:300]
