"""`predict` as people use it, on a tiny model and pictures of the test's own."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from agent.bundles.store import Store
from tests.agent_process import COMMAND, edge_agent
from tests.conftest import ROOT
from tests.media import plain, write_video
from tests.models import Found, Input, faded, write_onnx, write_tflite, yolo

WHITE = (255, 255, 255)
BOX = (16.0, 8.0, 48.0, 40.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A detector, a classifier, labels, two pictures and a video."""
    write_onnx(tmp_path / "detector.onnx", [yolo([Found(BOX)], normalized=False)])
    write_tflite(tmp_path / "classifier.tflite", [faded("scores", np.array([[0.2, 0.8]], np.float32))])
    (tmp_path / "bundle.yaml").write_text(
        'name: classes\nversion: "1.0.0"\nmodel: classifier.tflite\nlabels: labels.txt\ninput: {mean: 0, std: 255}\n'
    )
    (tmp_path / "labels.txt").write_text("person\ncar\n")
    for name in ("a.png", "b.png"):
        assert cv2.imwrite(str(tmp_path / name), plain((64, 64), WHITE))
    write_video(tmp_path / "clip.avi", [plain((64, 48), WHITE)] * 4, fps=5)
    return tmp_path


def test_a_line_a_frame(folder: Path) -> None:
    run = edge_agent("predict", "detector.onnx", "a.png", "clip.avi", "--labels", "labels.txt", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("a.png  ")
    assert lines[0].endswith("person 0.90 [16 8 48 40]")
    assert [line.split("  ")[0] for line in lines[1:]] == [f"clip.avi {i}" for i in range(4)]


def test_a_name_and_a_version_in_the_store(folder: Path) -> None:
    state = folder / "state"
    stored = Store(state, 0).import_directory(folder, "factory")
    (folder / "config.yaml").write_text("{model: classes@1.0.0, source: a.png, mqtt: localhost, state_dir: state}")
    before = sorted(state.rglob("*"))
    run = edge_agent("predict", "classes@1.0.0", "a.png", "--state-dir", "state", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("car 0.80, person 0.20\n")
    assert "classes 1.0.0" in edge_agent("check", "config.yaml", cwd=folder).stdout
    shown = edge_agent("model", "show", "classes@1.0.0", "--state-dir", "state", "--json", cwd=folder)
    assert json.loads(shown.stdout)["digest"] == stored.digest
    assert sorted(state.rglob("*")) == before
    run = edge_agent("predict", "classes@1.0.1", "a.png", "--state-dir", "state", cwd=folder)
    assert run.returncode == 1
    assert "classes@1.0.1: it is not in the store of this device; of classes it has 1.0.0; give a model file" in run.stderr


def test_messages_as_json_lines(folder: Path) -> None:
    schema = json.loads((ROOT / "docs/schema/result.json").read_text())
    run = edge_agent("predict", ".", ".", "--json", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    results = [json.loads(line) for line in run.stdout.splitlines()]
    for result in results:
        jsonschema.validate(result, schema)
    assert [result["source"] for result in results] == ["a.png", "b.png"]
    assert results[0]["classes"][0] == {"label": "car", "class_id": 1, "score": pytest.approx(0.8, abs=0.01)}


def test_annotated_pictures_and_video(folder: Path) -> None:
    run = edge_agent("predict", "detector.onnx", "a.png", "clip.avi", "a.png", "--save", "out", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "a.annotated-2.jpg",
        "a.annotated.jpg",
        "clip.annotated.mp4",
    ]
    picture = cv2.imread(str(folder / "out/a.annotated.jpg"))
    assert picture is not None
    assert (picture[int(BOX[1]), 20] != picture[2, 60]).any(), "the box's upper edge is drawn"
    video = cv2.VideoCapture(str(folder / "out/clip.annotated.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (4, 5)
    video.release()


def test_thresholds_of_the_command_line(folder: Path) -> None:
    run = edge_agent("predict", "detector.onnx", "a.png", "--score", "0.95", cwd=folder)
    assert run.stdout.endswith("nothing\n")


def test_a_delegate_that_cannot_be_had_is_told(folder: Path) -> None:
    run = edge_agent("predict", "detector.onnx", "a.png", "--delegate", "cuda", "--delegate", "cpu", cwd=folder)
    assert run.returncode == 0
    assert run.stderr.startswith("edge-agent: delegate cuda is not to be had")


def test_a_model_of_any_picture_size_is_run_at_the_size_that_its_bundle_says(folder: Path) -> None:
    write_onnx(folder / "any.onnx", [yolo([Found(BOX)], normalized=False)], Input((1, 3, 64, 64), open=(0, 2, 3)))
    (folder / "bundle.yaml").write_text(
        'name: any\nversion: "1.0.0"\nmodel: any.onnx\ninput: {size: [64, 64]}\nhead: {type: yolo}\n'
    )
    run = edge_agent("predict", ".", "a.png", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert "0 0.90 [16 8 48 40]" in run.stdout


def test_videos_of_one_name_do_not_mix(folder: Path) -> None:
    (folder / "other").mkdir()
    write_video(folder / "other/clip.avi", [plain((64, 48), WHITE)] * 2, fps=5)
    run = edge_agent("predict", "detector.onnx", "clip.avi", "other/clip.avi", "--save", "out", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["clip.annotated-2.mp4", "clip.annotated.mp4"]


def test_workers_import_nothing_from_the_working_directory(folder: Path) -> None:
    (folder / "msgspec.py").write_text("raise SystemExit(77)\n")
    run = subprocess.run(
        [*COMMAND[:1], "-P", *COMMAND[1:], "predict", "detector.onnx", "a.png"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_openvino_runs_what_onnxruntime_runs_and_its_own(folder: Path) -> None:
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    by_onnxruntime = edge_agent("predict", "detector.onnx", "a.png", "--labels", "labels.txt", cwd=folder).stdout
    program = (
        "import agent.runtimes.openvino as ours\n"
        "ours.openvino.save_model(ours.openvino.Core().read_model('detector.onnx'), 'ir/m.xml', compress_to_fp16=False)\n"
    )
    (folder / "ir").mkdir()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder)
    for words in (["detector.onnx", "--runtime", "openvino"], ["ir/m.xml"]):
        run = edge_agent("predict", *words, "a.png", "--labels", "labels.txt", cwd=folder)
        assert run.returncode == 0, run.stderr
        assert without_time(run.stdout) == without_time(by_onnxruntime)
    made = edge_agent("model", "init", "ir/m.xml", "--labels", "labels.txt", "--output", "bundle", cwd=folder)
    assert made.stdout.splitlines()[0] == "wrote bundle: bundle.yaml, labels.txt, m.bin, m.xml", made.stderr
    assert edge_agent("predict", "bundle", "a.png", cwd=folder).returncode == 0


def without_time(lines: str) -> str:
    return re.sub(r"\d+\.\d ms", "", lines)


def test_a_runtime_that_is_not_installed_is_told_in_one_line(folder: Path) -> None:
    (folder / "hidden").mkdir()
    (folder / "hidden" / "openvino.py").write_text("raise ImportError\n")
    environment = os.environ | {"PYTHONPATH": f"{folder / 'hidden'}:{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-m", "agent.cli.main", "predict", "detector.onnx", "a.png", "--runtime", "openvino"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "edge-agent: OpenVINO is not installed; install it with: pip install 'edge-agent[openvino]'\n"
