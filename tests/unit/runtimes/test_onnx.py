"""Which of onnxruntime's providers a model really runs on. The stock one has azure beside cpu, which takes no usual operator."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.runtimes import Delegate, RuntimeOptions
from agent.runtimes.onnx import OnnxRuntime
from tests.models import SCORES, faded, write_onnx

LOAD = "import sys; from agent.runtimes import onnx, RuntimeOptions; onnx.OnnxRuntime(sys.argv[1], RuntimeOptions())"
NOT_UTF8 = {"key": "\ud800"}  # a provider's option with which no session can be made


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_onnx(tmp_path / "m.onnx", [faded("scores", np.array([SCORES], np.float32))]))


@pytest.mark.parametrize("names", [("azure", "cpu"), ("azure",)])
def test_a_provider_that_takes_nothing_is_refused(names: tuple[str, ...], model: str) -> None:
    report = OnnxRuntime(model, RuntimeOptions(delegates=tuple(map(Delegate, names)))).report
    assert (report.delegate, report.refused) == ("cpu", {"azure": "it took none of this model's operators"})


def test_a_provider_that_is_not_needed_is_not_refused(model: str) -> None:
    report = OnnxRuntime(model, RuntimeOptions(delegates=(Delegate("cpu"), Delegate("azure")))).report
    assert (report.delegate, report.refused) == ("cpu", {})


def test_a_provider_that_fails_is_left_for_the_next(model: str) -> None:
    report = OnnxRuntime(model, RuntimeOptions(delegates=(Delegate("azure", options=NOT_UTF8), Delegate("cpu")))).report
    assert report.delegate == "cpu"
    assert report.refused["azure"].startswith("initialize_session(): incompatible function arguments")


def test_it_keeps_no_id_of_the_device_and_reports_nothing(model: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    silencing = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")  # it is quiet in a CI by itself
    environment = {name: value for name, value in os.environ.items() if name not in silencing}
    subprocess.run([sys.executable, "-c", LOAD, model], env={**environment, "HOME": str(home), "TMPDIR": str(home)}, check=True)
    assert not list(home.iterdir())
