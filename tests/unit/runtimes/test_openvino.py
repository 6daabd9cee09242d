"""What is OpenVINO's own."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import RUNTIMES, Delegate, Runtime, RuntimeOptions
from tests.models import faded, write_onnx, write_openvino

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed", allow_module_level=True)

OUTPUT = faded("scores", np.array([[0.0, 0.25, 0.75]], np.float32))


def openvino(path: Path, *delegates: Delegate) -> Runtime:
    made: Runtime = load_class(RUNTIMES["openvino"])(str(path), RuntimeOptions(delegates=delegates))
    return made


def test_it_reads_onnx_and_what_that_tells(tmp_path: Path) -> None:
    loaded = openvino(write_onnx(tmp_path / "m.onnx", [OUTPUT], metadata={"task": "detect", "names": "{0: 'cat'}"}))
    assert loaded.report.metadata == {"task": "detect", "names": "{0: 'cat'}"}
    (scores,) = loaded.run([np.ones((1, 3, 64, 64), np.float32)])
    np.testing.assert_allclose(scores, [[0.0, 0.25, 0.75]], atol=1e-6)


def test_it_reads_what_the_converter_and_ultralytics_tell(tmp_path: Path) -> None:
    model = write_openvino(tmp_path / "m.xml", [OUTPUT], {"labels": "cat traffic_light"})
    assert openvino(model).report.metadata == {"model_info.labels": "cat traffic_light"}
    (tmp_path / "metadata.yaml").write_text("task: detect\nnames: {0: cat}\n")
    assert openvino(model).report.metadata["metadata.yaml"] == "task: detect\nnames: {0: cat}\n"


def test_its_properties_are_options(tmp_path: Path) -> None:
    model = write_openvino(tmp_path / "m.xml", [OUTPUT])
    assert openvino(model, Delegate("cpu", options={"CACHE_DIR": str(tmp_path / "cache")})).report.delegate == "cpu"
    assert (tmp_path / "cache").is_dir()
    with pytest.raises(BundleError, match=r"cpu: NotFound: Unsupported property NONSENSE by CPU plugin"):
        openvino(model, Delegate("cpu", options={"NONSENSE": "1"}))
    assert openvino(model, Delegate("auto")).report.delegate == "auto"


def test_it_does_not_phone_home(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    model = write_openvino(tmp_path / "m.xml", [OUTPUT])
    program = (
        "import sys, numpy as np\n"
        "from agent.runtimes import RuntimeOptions\n"
        "from agent.runtimes.openvino import OpenVino\n"
        "OpenVino(sys.argv[1], RuntimeOptions()).run([np.ones((1, 3, 64, 64), np.float32)])\n"
    )
    trace = tmp_path / "trace"
    traced = subprocess.run(
        ["strace", "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", trace, sys.executable, "-c", program, model],
        check=False,
    )
    if traced.returncode and "ptrace" in trace.read_text():
        pytest.skip("tracing is not allowed here")
    assert traced.returncode == 0
    assert [line for line in trace.read_text().splitlines() if "(" in line and "SIG" not in line] == []


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['openvino'] = None\n"
        "from agent.errors import BundleError\n"
        "try:\n"
        "    import agent.runtimes.openvino\n"
        "except BundleError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert said == "OpenVINO is not installed; install it with: pip install 'edge-agent[openvino]'\n"
