"""Preprocessing, heads and NMS on real models and pictures, against what an independent reference saw."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from agent.core.guess import guess_heads
from agent.core.heads import Head, ModelOutputs
from agent.core.heads.classify import Classify
from agent.core.heads.scores_boxes import ScoresBoxes
from agent.core.heads.ssd import Ssd
from agent.core.heads.yolo import Yolo
from agent.core.heads.yolox import YoloX
from agent.core.nms import nms
from agent.core.preprocess import Preprocessor
from agent.core.spec import InputSpec, Thresholds
from agent.core.types import Classes, Detections, Frame, Layout, TensorSpec

pytestmark = pytest.mark.data

GAP = "n/a"  # in the list of COCO's labels, for a category that was never used

Run = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class Loaded:
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    run: Run


def load(path: Path) -> Loaded:
    return load_tflite(path) if path.suffix == ".tflite" else load_onnx(path)


def layout_of(shape: Sequence[int]) -> Layout:
    return "NCHW" if shape[1] == 3 else "NHWC"


def load_tflite(path: Path) -> Loaded:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()

    def spec(detail: dict[str, Any], picture: bool) -> TensorSpec:
        shape = tuple(detail["shape"].tolist())
        scale, zero_point = detail["quantization"]
        layout = layout_of(shape) if picture else None
        return TensorSpec(detail["name"], shape, np.dtype(detail["dtype"]).name, scale, zero_point, layout)

    (source,), targets = interpreter.get_input_details(), interpreter.get_output_details()

    def run(tensor: NDArray[Any]) -> list[NDArray[Any]]:
        interpreter.set_tensor(source["index"], tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(target["index"]) for target in targets]

    return Loaded(spec(source, picture=True), tuple(spec(target, picture=False) for target in targets), run)


def load_onnx(path: Path) -> Loaded:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,), targets = session.get_inputs(), session.get_outputs()
    return Loaded(
        TensorSpec(source.name, tuple(source.shape), "float32", layout=layout_of(source.shape)),
        tuple(TensorSpec(target.name, tuple(target.shape), "float32") for target in targets),
        lambda tensor: session.run(None, {source.name: tensor}),
    )


def predict(
    model: Loaded, head_type: type[Head], picture: Path, thresholds: Thresholds, scaling: dict[str, Any]
) -> Detections | Classes:
    """As the worker does it: preprocess, run, decode, suppress, and back to the picture."""
    pixels = cv2.imread(str(picture))
    assert pixels is not None
    frame = Frame(np.asarray(pixels, np.uint8), "bgr24", pixels.shape[1], pixels.shape[0], 0, 0, 0, "test")
    _, *sides = model.input.shape
    height, width = (side for side in sides if side != 3)
    spec = InputSpec((width, height), **{**head_type.input, **scaling})
    preprocess = Preprocessor(spec, model.input)
    tensor = np.empty(preprocess.shape, model.input.dtype)
    geometry = preprocess(frame, tensor)
    outputs = ModelOutputs(model.outputs, (width, height), 0)
    found = head_type(outputs, head_type.Options())(model.run(tensor), thresholds)
    if isinstance(found, Classes):
        return found
    assert isinstance(found, Detections)
    if thresholds.iou is not None:
        found = found[nms(found.boxes, found.scores, found.class_ids, thresholds.iou, False, thresholds.max_detections)]
    return Detections(geometry.to_source(found.boxes), found.scores, found.class_ids)


def overlap(a: NDArray[Any], b: NDArray[Any]) -> float:
    """IoU of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(sides, 0)))
    return inter / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - inter)


def coco_names(data: Path, classes: int | None) -> list[str]:
    """As the expected results write them. The list of 91 has gaps; the models with 80 classes count on over them."""
    names = (data / "images/coco_labels.txt").read_text().replace(" ", "_").splitlines()
    return [name for name in names if name != GAP] if classes == 80 else names


DETECTORS: list[tuple[str, type[Head], dict[str, Any]]] = [
    ("ssd_mobilenet_v1_coco_quant.tflite", Ssd, {}),
    ("yolox_nano.onnx", YoloX, {}),
    ("yolox_nano_dynamic_range.tflite", YoloX, {}),
    ("yolov8n_int8_416.tflite", Yolo, {}),
    ("ultraface_rfb_320.onnx", ScoresBoxes, {"mean": (127.0,), "std": (128.0,)}),
    ("ultraface_rfb_320_int8_qdq.onnx", ScoresBoxes, {"mean": (127.0,), "std": (128.0,)}),
]


@pytest.mark.parametrize("picture", ["bus.jpg", "zidane.jpg", "cat.bmp", "face.jpg", "grace_hopper.bmp"])
@pytest.mark.parametrize(("name", "head", "scaling"), DETECTORS)
def test_detectors_see_what_the_reference_saw(
    data: Path, name: str, head: type[Head], scaling: dict[str, Any], picture: str
) -> None:
    expected = json.loads((data / "expected/detections.json").read_text())[name]
    if picture not in expected["images"]:
        return
    score = expected["score"]
    model = load(data / "models/detect" / name)
    found = predict(model, head, data / "images" / picture, Thresholds(score - 0.03, expected["nms_iou"]), scaling)
    faces = head is ScoresBoxes
    names = ["face"] if faces else coco_names(data, head.classes(ModelOutputs(model.outputs, (416, 416), 0)))
    assert isinstance(found, Detections)
    left = list(range(len(found)))
    for one in expected["images"][picture]["det"]:
        match = next(
            i
            for i in left
            if names[found.class_ids[i]] == one["cls"]
            and abs(found.scores[i] - one["score"]) <= 0.03
            and overlap(found.boxes[i], np.array(one["box_xyxy"])) >= 0.9
        )
        left.remove(match)
    assert [found.scores[i] for i in left if found.scores[i] > score + 0.03] == []


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v1_0.5_160_quant.tflite"])
def test_classifiers_see_what_the_reference_saw(data: Path, name: str) -> None:
    model = load(data / "models/classify" / name)
    for picture, expected in json.loads((data / "expected/classifications.json").read_text())[name].items():
        found = predict(model, Classify, data / "images" / picture, Thresholds(0.0, None, max_detections=3), {})
        assert isinstance(found, Classes)
        np.testing.assert_allclose(found.scores, [one["score"] for one in expected], atol=0.03)
        for one in expected:
            alike = [c for c, s in zip(found.class_ids, found.scores, strict=True) if abs(s - one["score"]) <= 0.03]
            assert one["class_id"] in alike, (picture, found)


@pytest.mark.parametrize(
    ("path", "heads"),
    [
        ("detect/ssd_mobilenet_v1_coco_quant.tflite", ["ssd"]),
        ("detect/yolox_nano.onnx", ["yolox"]),
        ("detect/yolox_nano_dynamic_range.tflite", ["yolox"]),
        ("detect/yolov8n_int8_416.tflite", ["yolo"]),
        ("classify/mobilenet_v2_1.0_224_quant.tflite", ["classify"]),
        ("detect/ultraface_rfb_320.onnx", ["scores_boxes"]),
        ("detect/ultraface_rfb_320_int8_qdq.onnx", ["scores_boxes"]),
    ],
)
def test_heads_are_guessed(data: Path, path: str, heads: list[str]) -> None:
    model = load(data / "models" / path)
    _, *sides = model.input.shape
    height, width = (side for side in sides if side != 3)
    assert list(guess_heads(ModelOutputs(model.outputs, (width, height), 0)).heads) == heads
