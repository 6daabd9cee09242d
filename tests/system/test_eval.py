"""`eval` as people use it: real models against the figures of their source, and what goes wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agent_process import edge_agent
from tests.media import plain, write_picture
from tests.models import Found, faded, write_onnx, write_tflite, yolo
from tests.real_models import CLASSIFIERS, write_bundle

AP50 = {  # of an independent reference, by pycocotools
    "ssd_mobilenet_v1_coco_quant.tflite": 0.230,
    "yolox_nano.onnx": 0.391,
    "yolox_nano_dynamic_range.tflite": 0.372,
    "yolov8n_int8_416.tflite": 0.436,
}
MARGIN = 0.005
BOX = (16.0, 8.0, 48.0, 40.0)


def figures(*arguments: str | Path) -> dict[str, Any]:
    run = edge_agent("eval", *arguments, "--json")
    assert run.returncode == 0, run.stderr
    assert all(re.fullmatch(r"\d+ of \d+ pictures", line) for line in run.stderr.splitlines())
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.data
@pytest.mark.parametrize("name", AP50)
def test_average_precision(name: str, data: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", data, name)
    found = figures(bundle, "--coco", data / "coco50/instances.json", "--images", data / "coco50/images")
    assert found["ap50"] >= AP50[name] - MARGIN
    assert found["pictures"] == 50
    assert found["labels_without_category"] == found["categories_without_label"] == []
    assert 0 < found["ap"] < found["ap50"]
    assert found["at_threshold"]["precision"] > found["at_threshold"]["recall"] > 0


@pytest.mark.data
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classes_in_folders(name: str, data: Path, tmp_path: Path) -> None:
    expected = json.loads((data / "expected/classifications.json").read_text())[name]
    right = {picture: top[0]["class_id"] for picture, top in expected.items()}
    for picture, class_id in [*right.items(), ("face.jpg", "goldfish")]:
        (tmp_path / f"val/{class_id}").mkdir(parents=True)
        shutil.copyfile(data / "images" / picture, tmp_path / f"val/{class_id}" / picture)
    found = figures(write_bundle(tmp_path / "bundle", data, name), "--folders", tmp_path / "val")
    assert (found["pictures"], found["top1"]) == (len(right) + 1, pytest.approx(len(right) / (len(right) + 1), abs=1e-3))
    assert {c["name"]: (c["top1"], c["top5"]) for c in found["classes"]} == {
        **{str(class_id): (1, 1) for class_id in right.values()},
        "goldfish": (0, 0),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A detector and a classifier, a white picture of a car, and the truth about it."""
    write_onnx(tmp_path / "detector.onnx", [yolo([Found(BOX, class_id=1)], normalized=False)])
    write_tflite(tmp_path / "classifier.tflite", [faded("scores", np.array([[0.2, 0.8]], np.float32))])
    (tmp_path / "bundle.yaml").write_text(
        'name: classes\nversion: "1.0.0"\nmodel: classifier.tflite\nlabels: labels.txt\ninput: {mean: 0, std: 255}\n'
    )
    (tmp_path / "labels.txt").write_text("person\ncar\n")
    (tmp_path / "fruit.txt").write_text("apple\npear\n")
    for name in ("images", "val/car", "hollow", "strange/car", "strange/unicorn"):
        (tmp_path / name).mkdir(parents=True)
        if name != "hollow":
            write_picture(tmp_path / name / "a.png", plain((64, 64), (255, 255, 255)))
    boxes = [{"image_id": 1, "category_id": 3, "bbox": [16, 8, 32, 32]}]
    pictures = [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}]
    truth = {"images": pictures, "annotations": boxes, "categories": [{"id": 3, "name": "car"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "other.json").write_text(json.dumps(truth | {"images": [pictures[0] | {"width": 65}]}))
    (tmp_path / "absent.json").write_text(json.dumps(truth | {"images": [pictures[0] | {"file_name": "b.png"}]}))
    (tmp_path / "broken.json").write_text("{")
    return tmp_path


def test_a_table_for_people(folder: Path) -> None:
    run = edge_agent("eval", "detector.onnx", "--labels", "labels.txt", "--coco", "truth.json", "--images", "images", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert "labels of no category: person" in run.stdout
    assert re.search(r"^car +1 +1\.000 +1\.000 +1\.000 +1\.000$", run.stdout, re.MULTILINE)
    run = edge_agent("eval", ".", "--folders", "val", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"^all +1 +1\.000 +1\.000$", run.stdout, re.MULTILINE)


def test_options_over_the_protocols(folder: Path) -> None:
    options = ("--labels", "labels.txt", "--coco", "truth.json", "--images", "images", "--json")
    run = edge_agent("eval", "detector.onnx", *options, "--score", "0.95", "--threads", "1", cwd=folder)
    assert json.loads(run.stdout)["ap50"] == 0


ROWS = {
    "nothing to judge by": ("detector.onnx", 2, "one of the arguments --coco --folders is required"),
    "no pictures named": ("detector.onnx --coco truth.json", 2, "--images DIR goes with --coco"),
    "pictures twice": ("detector.onnx --folders val --images images", 2, "--images DIR goes with --coco"),
    "no such model": ("nothing.onnx --folders val", 2, r"nothing\.onnx: there is no such model file"),
    "no such file": ("detector.onnx --coco nothing.json --images images", 2, r"--coco nothing\.json: No such file"),
    "no such folder": ("detector.onnx --coco truth.json --images nothing", 2, "--images nothing: there is no such folder"),
    "no JSON": ("detector.onnx --coco broken.json --images images", 1, r"broken\.json: not JSON"),
    "no folder of classes": (". --folders nothing", 2, "--folders nothing: No such file or directory"),
    "empty folder": (". --folders hollow", 1, "hollow: there are no pictures in folders of their class"),
    "unknown class": (". --folders strange", 1, "strange: unicorn: neither a label of the model nor a class id"),
    "no labels": ("detector.onnx --coco truth.json --images images", 1, r"truth\.json: the model has no labels; .*--labels"),
    "other labels": (
        "detector.onnx --labels fruit.txt --coco truth.json --images images",
        1,
        r"truth\.json: none of the model's labels is a category: apple, pear, but car",
    ),
    "another task": ("detector.onnx --labels labels.txt --folders val", 2, "its task is detect; this judges .* classify"),
    "another size": (
        "detector.onnx --labels labels.txt --coco other.json --images images",
        1,
        r"a\.png: it is 64x64, other\.json says 65x64",
    ),
    "a picture is missing": (
        "detector.onnx --labels labels.txt --coco absent.json --images images",
        1,
        r"picture images/b\.png is not there",
    ),
}


@pytest.mark.parametrize(("command", "status", "line"), ROWS.values(), ids=ROWS)
def test_what_people_get_wrong(command: str, status: int, line: str, folder: Path) -> None:
    run = edge_agent("eval", *command.split(), cwd=folder)
    assert (run.returncode, run.stdout) == (status, "")
    (told,) = run.stderr.splitlines()
    assert re.search(line, told), told


def test_without_the_extra(folder: Path) -> None:
    program = "import sys; sys.modules['pycocotools'] = None; from agent.cli.main import main; sys.exit(main())"
    options = ["eval", "detector.onnx", "--labels", "labels.txt", "--coco", "truth.json", "--images", "images"]
    run = subprocess.run([sys.executable, "-c", program, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, "edge-agent: eval --coco needs pycocotools: pip install 'edge-agent[eval]'\n")
