"""`predict` on the real models gives what an independent reference saw."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agent_process import edge_agent
from tests.real_models import CLASSIFIERS, DETECTORS, coco80, model_file, write_bundle

MARGIN = 0.03  # of a score: CPUs differ
LEAST_IOU = 0.9


def predict(model: Path, pictures: list[Path], *options: str) -> dict[str, Any]:
    """Result messages by the picture's name."""
    run = edge_agent("predict", model, *pictures, "--json", *options)
    assert (run.returncode, run.stderr) == (0, "")
    return {result["source"]: result for result in map(json.loads, run.stdout.splitlines())}


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def check_detections(result: dict[str, Any], expected: dict[str, Any], least: float) -> None:
    """One to one above the margin; what is within the margin of the threshold may be there or not."""
    width, height = expected["size"]
    assert (result["frame"]["width"], result["frame"]["height"]) == (width, height)
    found = [
        (d["label"].replace(" ", "_"), d["score"], (np.array(d["box"]) * [width, height, width, height]).tolist())
        for d in result["detections"]
    ]
    wanted = [(d["cls"].replace(" ", "_"), d["score"], d["box_xyxy"]) for d in expected["det"]]
    for mine, others in ((wanted, found), (found, wanted)):
        left = list(others)
        for label, score, box in mine:
            matches = [o for o in left if o[0] == label and abs(o[1] - score) <= MARGIN and iou(o[2], box) >= LEAST_IOU]
            assert matches or score <= least + MARGIN, f"{result['source']}: {label} {score} {box} has no partner in {left}"
            if matches:
                left.remove(matches[0])


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name: str, data: Path, tmp_path: Path) -> None:
    expected = json.loads((data / "expected/detections.json").read_text())[name]
    pictures = [data / "images" / picture for picture in expected["images"]]
    options = ["--score", str(expected["score"]), "--iou", str(expected["nms_iou"])]
    results = predict(write_bundle(tmp_path / "bundle", data, name), pictures, *options)
    assert results.keys() == expected["images"].keys()
    for picture, result in results.items():
        check_detections(result, expected["images"][picture], expected["score"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, data: Path, tmp_path: Path) -> None:
    expected = json.loads((data / "expected/classifications.json").read_text())[name]
    pictures = [data / "images" / picture for picture in expected]
    results = predict(write_bundle(tmp_path / "bundle", data, name), pictures, "--max-detections", "3")
    for picture, top in expected.items():
        found = results[picture]["classes"]
        assert len(found) == 3
        scores = {c["class_id"]: c["score"] for c in found}
        for wanted in top:
            near = abs(scores.get(wanted["class_id"], 0) - wanted["score"]) <= MARGIN
            assert near or wanted["score"] <= found[-1]["score"] + MARGIN, f"{picture}: {wanted} in {found}"
        assert found[0]["class_id"] == top[0]["class_id"] or found[0]["score"] - top[0]["score"] <= MARGIN


def test_yolov8_from_the_bare_file_and_a_label_list(data: Path, tmp_path: Path) -> None:
    name = "yolov8n_int8_416.tflite"
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(coco80(data)))
    expected = json.loads((data / "expected/detections.json").read_text())[name]
    pictures = [data / "images" / picture for picture in expected["images"]]
    results = predict(model_file(data, name), pictures, "--labels", str(labels), "--score", str(expected["score"]))
    for picture, result in results.items():
        check_detections(result, expected["images"][picture], expected["score"])
