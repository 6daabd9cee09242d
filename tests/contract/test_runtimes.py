"""What every runtime must do, asked of each, and of the fake that fails on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import RUNTIMES, Delegate, Runtime, RuntimeOptions
from tests.faulty_runtime import FaultyRuntime
from tests.models import SCORES, SCORES_TFLITE, faded, write_onnx, write_openvino

# LiteRT's Delegate complains in its destructor when its library is not there.
DELEGATE_COMPLAINS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


OUTPUT = faded("scores", np.array([SCORES], np.float32))
MODELS: dict[str, Callable[[Path], Path]] = {
    "litert": lambda _folder: SCORES_TFLITE,
    "onnxruntime": lambda folder: write_onnx(folder / "m.onnx", [OUTPUT]),
    "openvino": lambda folder: write_openvino(folder / "m.xml", [OUTPUT]),
}


def runtime(name: str) -> Callable[[str, RuntimeOptions], Runtime]:
    """A runtime of RUNTIMES."""
    if name == "openvino" and find_spec("openvino") is None:  # which importing it would tell its makers
        pytest.skip("OpenVINO is not installed")
    made: Callable[[str, RuntimeOptions], Runtime] = load_class(RUNTIMES[name])
    return made


def named(*names: str) -> RuntimeOptions:
    """Delegates without options."""
    return RuntimeOptions(delegates=tuple(Delegate(name) for name in names))


@dataclass(frozen=True)
class Case:
    """load: the runtime on a model whose first output is `SCORES` for a white picture. white: what makes its input white."""

    load: Callable[[str, RuntimeOptions], Runtime]
    model: Path
    outputs: tuple[float, ...]
    white: float


@pytest.fixture(params=["litert", "onnxruntime", "openvino", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "fake":
        return Case(FaultyRuntime, tmp_path / "fake", (0.0, 1.0, 0.0, 0.0), 0.0)
    return Case(runtime(request.param), MODELS[request.param](tmp_path), SCORES, 1.0)


def test_it_reports_its_tensors_and_runs(case: Case) -> None:
    loaded = case.load(str(case.model), RuntimeOptions())
    (tensor,) = loaded.report.inputs
    assert len(tensor.shape) == 4
    picture = np.full(tensor.shape, case.white, tensor.dtype)
    (scores,) = loaded.run([picture])
    (output,) = loaded.report.outputs
    assert scores.shape == output.shape
    assert scores.dtype.name == output.dtype
    np.testing.assert_allclose(scores[0], case.outputs, atol=1e-6)
    assert loaded.report.refused == {}
    loaded.close()


def test_outputs_outlive_the_next_run(case: Case) -> None:
    loaded = case.load(str(case.model), RuntimeOptions())
    (tensor,) = loaded.report.inputs
    (first,) = loaded.run([np.full(tensor.shape, case.white, tensor.dtype)])
    before = first.copy()
    for _ in range(3):
        loaded.run([np.zeros(tensor.shape, tensor.dtype)])
    np.testing.assert_array_equal(first, before)
    loaded.close()


@pytest.fixture(params=["litert", "onnxruntime", "openvino"])
def real(request: pytest.FixtureRequest) -> Callable[[str, RuntimeOptions], Runtime]:
    return runtime(request.param)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3" + b"\xff" * 64, b"\x08\x08" + b"\xff" * 64])
def test_what_is_no_model_is_refused_in_one_line(
    content: bytes, real: Callable[[str, RuntimeOptions], Runtime], tmp_path: Path
) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        real(str(path), RuntimeOptions())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@DELEGATE_COMPLAINS
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("onnxruntime", ("tensorrt", "cuda", "cpu")),
        ("litert", ("edgetpu", "nonsense", "cpu")),
        ("openvino", ("npu", "nonsense", "cpu")),
    ],
)
def test_a_delegate_that_cannot_be_had_is_told(name: str, wanted: tuple[str, ...], tmp_path: Path) -> None:
    loaded = runtime(name)(str(MODELS[name](tmp_path)), named(*wanted))
    assert loaded.report.delegate == "cpu"
    assert list(loaded.report.refused) == list(wanted[:2])
    assert all(why and "\n" not in why for why in loaded.report.refused.values())


@DELEGATE_COMPLAINS
@pytest.mark.parametrize(
    ("name", "wanted", "says"),
    [
        ("onnxruntime", "cuda", "none of the delegates cuda can be had: this onnxruntime has only .*cpu"),
        ("litert", "edgetpu", "edgetpu: libedgetpu"),
        ("litert", "nonsense", "only xnnpack, cpu, edgetpu; for another, name its library"),
        ("openvino", "npu", "npu: this OpenVINO has only cpu"),
    ],
)
def test_no_delegate_at_all_is_an_error(name: str, wanted: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=says):
        runtime(name)(str(MODELS[name](tmp_path)), named(wanted))


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_graph_optimization_and_threads_are_settings(level: str, case: Case) -> None:
    loaded = case.load(str(case.model), RuntimeOptions(threads=2, graph_optimization=level))
    (tensor,) = loaded.report.inputs
    (scores,) = loaded.run([np.full(tensor.shape, case.white, tensor.dtype)])
    np.testing.assert_allclose(scores[0], case.outputs, atol=1e-6)
    loaded.close()
