"""What every runtime must do, asked of each, and of the fake that fails on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import RUNTIMES, Runtime, RuntimeOptions
from tests.faulty_runtime import FaultyRuntime
from tests.models import faded, write_onnx, write_tflite

SCORES = [0.0, 0.25, 0.75]
# LiteRT's Delegate complains in its destructor when its library is not there.
DELEGATE_COMPLAINS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass(frozen=True)
class Case:
    """load: the runtime on a model whose first output is `SCORES` for a white picture. white: what makes its input white."""

    load: Callable[[str, RuntimeOptions], Runtime]
    model: Path
    outputs: tuple[float, ...]
    white: float


@pytest.fixture(params=["litert", "onnxruntime", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    output = faded("scores", np.array([SCORES], np.float32))
    match request.param:
        case "litert":
            return Case(load_class(RUNTIMES["litert"]), write_tflite(tmp_path / "m.tflite", [output]), tuple(SCORES), 1.0)
        case "onnxruntime":
            return Case(load_class(RUNTIMES["onnxruntime"]), write_onnx(tmp_path / "m.onnx", [output]), tuple(SCORES), 1.0)
        case _:
            return Case(FaultyRuntime, tmp_path / "fake", (0.0, 1.0, 0.0, 0.0), 0.0)


def test_it_reports_its_tensors_and_runs(case: Case) -> None:
    runtime = case.load(str(case.model), RuntimeOptions())
    (tensor,) = runtime.report.inputs
    assert len(tensor.shape) == 4
    picture = np.full(tensor.shape, case.white, tensor.dtype)
    (scores,) = runtime.run([picture])
    (output,) = runtime.report.outputs
    assert scores.shape == output.shape
    assert scores.dtype.name == output.dtype
    np.testing.assert_allclose(scores[0], case.outputs, atol=1e-6)
    assert runtime.report.refused == {}
    runtime.close()


def test_outputs_outlive_the_next_run(case: Case) -> None:
    runtime = case.load(str(case.model), RuntimeOptions())
    (tensor,) = runtime.report.inputs
    (first,) = runtime.run([np.full(tensor.shape, case.white, tensor.dtype)])
    before = first.copy()
    for _ in range(3):
        runtime.run([np.zeros(tensor.shape, tensor.dtype)])
    np.testing.assert_array_equal(first, before)
    runtime.close()


@pytest.fixture(params=["litert", "onnxruntime"])
def real(request: pytest.FixtureRequest) -> Callable[[str, RuntimeOptions], Runtime]:
    runtime: Callable[[str, RuntimeOptions], Runtime] = load_class(RUNTIMES[request.param])
    return runtime


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
def test_a_delegate_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    output = faded("scores", np.array([SCORES], np.float32))
    onnx, tflite = write_onnx(tmp_path / "m.onnx", [output]), write_tflite(tmp_path / "m.tflite", [output])
    for name, path, wanted, active in (
        ("onnxruntime", onnx, ("tensorrt", "cuda", "cpu"), "cpu"),
        ("litert", tflite, ("edgetpu", "nonsense", "cpu"), "cpu"),
    ):
        runtime = load_class(RUNTIMES[name])(str(path), RuntimeOptions(delegates=wanted))
        assert runtime.report.delegate == active
        assert list(runtime.report.refused) == list(wanted[:2])
        assert all(why and "\n" not in why for why in runtime.report.refused.values())


@DELEGATE_COMPLAINS
def test_no_delegate_at_all_is_an_error(tmp_path: Path) -> None:
    output = faded("scores", np.array([SCORES], np.float32))
    with pytest.raises(BundleError, match="none of the delegates cuda"):
        load_class(RUNTIMES["onnxruntime"])(str(write_onnx(tmp_path / "m.onnx", [output])), RuntimeOptions(delegates=("cuda",)))
    with pytest.raises(BundleError, match="edgetpu: libedgetpu"):
        load_class(RUNTIMES["litert"])(str(write_tflite(tmp_path / "m.tflite", [output])), RuntimeOptions(delegates=("edgetpu",)))


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_graph_optimization_and_threads_are_settings(level: str, case: Case) -> None:
    runtime = case.load(str(case.model), RuntimeOptions(threads=2, graph_optimization=level))
    (tensor,) = runtime.report.inputs
    (scores,) = runtime.run([np.full(tensor.shape, case.white, tensor.dtype)])
    np.testing.assert_allclose(scores[0], case.outputs, atol=1e-6)
    runtime.close()
