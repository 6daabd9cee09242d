"""Bundles around the real models of the test data, in folders of the test's own."""

import shutil
from pathlib import Path

import yaml

BUNDLES: dict[str, dict[str, object]] = {
    "ssd_mobilenet_v1_coco_quant.tflite": {"head": {"type": "ssd"}, "nms": {"iou": 0.45}},
    "yolox_nano.onnx": {"head": {"type": "yolox"}},
    "yolox_nano_dynamic_range.tflite": {"head": {"type": "yolox"}},
    "yolov8n_int8_416.tflite": {},
    "ultraface_rfb_320.onnx": {"head": {"type": "scores_boxes"}, "input": {"mean": 127, "std": 128}},
    "ultraface_rfb_320_int8_qdq.onnx": {"head": {"type": "scores_boxes"}, "input": {"mean": 127, "std": 128}},
    "mobilenet_v2_1.0_224_quant.tflite": {},
    "mobilenet_v1_0.5_160_quant.tflite": {},
}
CLASSIFIERS = [name for name in BUNDLES if name.startswith("mobilenet")]
DETECTORS = [name for name in BUNDLES if name not in CLASSIFIERS]


def model_file(data: Path, name: str) -> Path:
    """Where a model lies in the test data."""
    (found,) = data.glob(f"models/*/{name}")
    return found


def coco91(data: Path) -> list[str]:
    """The SSD's classes from 0: COCO's category numbers less 1, n/a where COCO left one out."""
    return (data / "images/coco_labels.txt").read_text().splitlines()


def coco80(data: Path) -> list[str]:
    """The classes of the YOLOs."""
    return [label for label in coco91(data) if label != "n/a"]


def write_bundle(folder: Path, data: Path, name: str) -> Path:
    """A bundle's directory with a copy of the model and, where its file has none, the labels."""
    folder.mkdir(parents=True)
    shutil.copyfile(model_file(data, name), folder / name)
    manifest = {"name": name.split(".", 1)[0].lower(), "version": "1.0.0", "model": name, **BUNDLES[name]}
    if "head" in manifest:
        labels = ["face"] if name.startswith("ultraface") else coco91(data) if name.startswith("ssd") else coco80(data)
        (folder / "labels.txt").write_text("\n".join(labels) + "\n")
        manifest["labels"] = "labels.txt"
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    return folder
