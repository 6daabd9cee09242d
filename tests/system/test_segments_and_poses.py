"""Segmentation and key points as people use them: `predict`, and `run` with a real broker."""

import json
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.agent_process import edge_agent
from tests.conftest import ROOT
from tests.media import plain, write_video
from tests.models import Input, Person, class_map, constant, faded, movenet, write_onnx, write_tflite, yolo_pose
from tests.mosquitto import Mosquitto, Subscriber

WHITE = (255, 255, 255)
SCHEMA = json.loads((ROOT / "docs/schema/result.json").read_text())
PERSON = Person((16, 24, 48, 40), [(20, 28, 0.9), (44, 36, 0.4)])
POSE_METADATA = {"task": "pose", "names": "{0: 'person'}", "imgsz": "[64, 64]", "kpt_shape": "[2, 3]"}
GRASS, SKY = 2, 1
SCENE = np.full((32, 32), GRASS)
SCENE[:16, :8] = SKY
SCENE[16:, 24:] = 0  # background


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Models of both tasks and a white picture, twice as wide as high."""
    write_onnx(tmp_path / "pose.onnx", [yolo_pose([PERSON], normalized=False)], metadata=POSE_METADATA)
    write_tflite(tmp_path / "scene.tflite", [class_map(SCENE)], Input((1, 64, 64, 3), dtype="uint8", scale=1 / 255))
    (tmp_path / "labels.txt").write_text("background\nsky\ngrass\n")
    assert cv2.imwrite(str(tmp_path / "a.png"), plain((128, 64), WHITE))
    return tmp_path


def decoded(mask: dict[str, Any]) -> NDArray[np.bool_]:
    height, width = mask["size"]
    return np.repeat(np.arange(len(mask["rle"])) % 2 == 1, mask["rle"]).reshape(width, height).T


def predict(folder: Path, *words: str) -> list[dict[str, Any]]:
    run = edge_agent("predict", *words, "--json", cwd=folder)
    assert (run.returncode, run.stderr) == (0, "")
    results = [json.loads(line) for line in run.stdout.splitlines()]
    for result in results:
        jsonschema.validate(result, SCHEMA)
    return results


def test_lines_for_people(folder: Path) -> None:
    poses = edge_agent("predict", "pose.onnx", "a.png", cwd=folder)
    assert (poses.returncode, poses.stderr) == (0, "")
    # the letterbox's grey bars make the picture darker than white
    assert poses.stdout.endswith("person 0.65 [32 16 96 48] 2 points\n")
    scene = edge_agent("predict", "scene.tflite", "a.png", "--labels", "labels.txt", cwd=folder)
    assert (scene.returncode, scene.stderr) == (0, "")
    assert scene.stdout.endswith("ms  grass 75.0 %, sky 12.5 %\n")


def test_poses_on_the_source_picture(folder: Path) -> None:
    (result,) = predict(folder, "pose.onnx", "a.png")
    assert (result["task"], result["counts"]) == ("keypoints", {"person": 1})
    (person,) = result["detections"]
    assert person["box"] == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.001)
    np.testing.assert_allclose(person["points"], [[0.3125, 0.375, 0.9], [0.6875, 0.625, 0.4]], atol=0.001)


def test_segments_on_the_source_picture(folder: Path) -> None:
    (result,) = predict(folder, "scene.tflite", "a.png", "--labels", "labels.txt")
    assert (result["task"], result["counts"]) == ("segment", {"grass": 1, "sky": 1})
    assert [(s["label"], s["class_id"], s["area"]) for s in result["segments"]] == [("grass", 2, 0.75), ("sky", 1, 0.125)]
    for segment in result["segments"]:
        np.testing.assert_array_equal(decoded(segment["mask"]), segment["class_id"] == SCENE)


def test_a_letterboxes_bars_are_no_part_of_the_mask(folder: Path) -> None:
    (folder / "bundle.yaml").write_text(
        'name: scene\nversion: "1.0.0"\nmodel: scene.tflite\nlabels: labels.txt\n'
        "input: {resize: letterbox, pad: 255}\nhead: {type: segment, background: -1}\n"
    )
    (result,) = predict(folder, ".", "a.png")
    assert result["counts"] == {"grass": 1, "sky": 1, "background": 1}
    for segment in result["segments"]:
        np.testing.assert_array_equal(decoded(segment["mask"]), SCENE[8:24] == segment["class_id"])


def test_people_of_movenet(folder: Path) -> None:
    places = [(0.25 + 0.5 * i / 16, 0.5, 0.8) for i in range(17)]
    write_tflite(folder / "movenet.tflite", [movenet(places)], Input((1, 64, 64, 3), dtype="int32"))
    (result,) = predict(folder, "movenet.tflite", "a.png", "--score", "0.3")
    (person,) = result["detections"]  # the picture fills half of the letterbox, which is else black
    assert person["score"] == pytest.approx(0.4, abs=0.01)
    assert person["box"] == pytest.approx([0.5, 0, 0.5, 1], abs=0.001)
    assert person["points"][8][:2] == pytest.approx([0.5, 0.5], abs=0.001)


def test_a_mask_of_logits(folder: Path) -> None:
    logits = np.full((1, 32, 64, 1), -2.0)
    logits[0, :, 32:] = 3.0
    write_onnx(folder / "mask.onnx", [constant("logits", logits)], Input((1, 32, 64, 3)))
    (folder / "bundle.yaml").write_text('name: mask\nversion: "1.0.0"\nmodel: mask.onnx\ninput: {mean: 0, std: 255}\n')
    (result,) = predict(folder, ".", "a.png")
    assert [(s["label"], s["area"], s["mask"]) for s in result["segments"]] == [
        ("0", 0.5, {"size": [32, 64], "rle": [32 * 32, 32 * 32]})
    ]


def test_a_least_score_of_a_segmentation(folder: Path) -> None:
    probabilities = np.tile(np.array([0.1, 0.9]), (1, 32, 64, 1))
    write_onnx(folder / "sure.onnx", [faded("scores", probabilities)], Input((1, 32, 64, 3)))
    (folder / "bundle.yaml").write_text('name: sure\nversion: "1.0.0"\nmodel: sure.onnx\ninput: {mean: 0, std: 255}\n')
    assert predict(folder, ".", "a.png", "--score", "0.85")[0]["counts"] == {"1": 1}
    assert predict(folder, ".", "a.png", "--score", "0.95")[0]["counts"] == {}


def test_noise_of_the_size_of_a_deeplab_is_answered(folder: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 21, (513, 513))
    write_onnx(folder / "noise.onnx", [class_map(noise)], Input((1, 513, 513, 3)))
    (folder / "bundle.yaml").write_text('name: noise\nversion: "1.0.0"\nmodel: noise.onnx\ninput: {mean: 0, std: 255}\n')
    (result,) = predict(folder, ".", "a.png")
    assert len(result["segments"]) == len(result["counts"]) == 20
    assert not result["truncated"]
    for segment in result["segments"]:
        assert segment["area"] == pytest.approx(1 / 21, abs=0.005)
        np.testing.assert_array_equal(decoded(segment["mask"]), noise[::8, ::8] == segment["class_id"])


def test_a_class_map_larger_than_the_input_is_refused(folder: Path) -> None:
    write_onnx(folder / "large.onnx", [class_map(np.ones((96, 96)))])
    run = edge_agent("predict", "large.onnx", "a.png", cwd=folder)
    assert run.returncode == 1
    assert run.stderr.startswith("edge-agent: large.onnx: head: no head takes the outputs ArgMax [1, 96, 96] as they are")
    (folder / "bundle.yaml").write_text('name: large\nversion: "1.0.0"\nmodel: large.onnx\nhead: {type: segment}\n')
    run = edge_agent("predict", ".", "a.png", cwd=folder)
    assert run.returncode == 1
    assert run.stderr.endswith("no larger than the input size [64, 64], not 'ArgMax' [1, 96, 96] int64\n")


def test_instance_masks_are_refused_by_name(folder: Path) -> None:
    write_onnx(folder / "seg.onnx", [class_map(SCENE)], metadata={"task": "segment", "names": "{0: 'person'}"})
    run = edge_agent("predict", "seg.onnx", "a.png", cwd=folder)
    assert run.returncode == 1
    taken = "of Ultralytics' models detect, classify and pose are taken, of RF-DETR's detect"
    assert run.stderr == f"edge-agent: seg.onnx: its metadata says task segment, for which there is no head; {taken}\n"


def test_annotated_pictures(folder: Path) -> None:
    for model in ("pose.onnx", "scene.tflite"):
        run = edge_agent("predict", model, "a.png", "--save", f"out-{model}", cwd=folder)
        assert (run.returncode, run.stderr) == (0, "")
        picture = cv2.imread(str(folder / f"out-{model}/a.annotated.jpg"))
        assert picture is not None
        assert (picture[32, 8] != 255).any() == (model == "scene.tflite")  # grass, or beside the person
        assert (picture[16, 64] != 255).any()  # the box's upper edge, or grass


def test_run_publishes_segments_and_poses(folder: Path) -> None:
    write_video(folder / "clip.mp4", [plain((128, 64), WHITE)] * 10)
    with Mosquitto(folder) as broker, Subscriber(broker) as subscriber:
        config = {
            "device": {"id": "porch"},
            "sources": {"clip": {"type": "file", "path": "clip.mp4"}},
            "models": {"pose": {"bundle": "pose.onnx"}, "scene": {"bundle": "scene.tflite", "labels": "labels.txt"}},
            "pipelines": {
                "pose": {"source": "clip", "model": "pose"},
                "scene": {"source": "clip", "model": "scene", "labels": ["sky"]},
            },
            "mqtt": {"host": broker.host, "port": broker.port},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        run = edge_agent("run", "config.yaml", cwd=folder)
        assert run.returncode == 0, run.stderr
        subscriber.wait_for(lambda m: m.topic.endswith("/availability") and m.payload == b"offline", "the end")
        results = {
            name: [json.loads(payload) for payload in subscriber.payloads(f"edge/v1/porch/results/{name}")]
            for name in ("pose", "scene")
        }
        info = json.loads(subscriber.payloads("edge/v1/porch/info")[-1])
        states = [json.loads(payload) for payload in subscriber.payloads("edge/v1/porch/state/scene")]
    for result in (*results["pose"], *results["scene"]):
        jsonschema.validate(result, SCHEMA)
    assert [[r["seq"] for r in results[name]] for name in ("pose", "scene")] == [list(range(1, 11))] * 2
    assert {slot: model["task"] for slot, model in info["models"].items()} == {"pose": "keypoints", "scene": "segment"}
    assert all(len(person["points"]) == 2 for result in results["pose"] for person in result["detections"])
    assert all([s["label"] for s in result["segments"]] == ["sky"] for result in results["scene"])
    assert {"sky": 1} in [state["counts"] for state in states]


@pytest.mark.data
def test_deeplab_sees_the_bird(data: Path, tmp_path: Path) -> None:
    """As libcoral counts the IoU: pixels that agree, by those of both maps less them."""
    labels = (data / "images/pascal_voc_segmentation_labels.txt").read_text().splitlines()[:21]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    model, picture = data / "models/segment/deeplabv3_mnv2_dm05_pascal_quant.tflite", data / "images/bird_segmentation.bmp"
    (result,) = predict(tmp_path, str(model), str(picture), "--labels", "labels.txt", "--save", "out")
    truth = cv2.imread(str(data / "images/bird_segmentation_mask.bmp"), cv2.IMREAD_UNCHANGED)
    assert truth is not None
    found = np.zeros(truth.shape, int)
    for segment in result["segments"]:
        found[decoded(segment["mask"])] = segment["class_id"]
    agreeing = int((found == truth).sum())
    assert agreeing / (2 * truth.size - agreeing) >= 0.9
    assert result["segments"][0]["label"] == "bird"
    before, after = cv2.imread(str(picture)), cv2.imread(str(tmp_path / "out/bird_segmentation.annotated.jpg"))
    assert before is not None
    assert after is not None
    changed = np.abs(before.astype(int) - after).mean(axis=2)
    assert changed[found == 3].mean() > 5 * changed[found == 0].mean()
