"""Manifest over metadata over guess; and where they do not agree, which field it is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.bundles.load import open_bundle
from agent.bundles.resolve import UndecidedError, resolve
from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import RUNTIMES, ModelReport, RuntimeOptions
from tests.models import (
    Found,
    Input,
    Output,
    Person,
    class_map,
    constant,
    movenet,
    ssd,
    write_onnx,
    write_tflite,
    yolo,
    yolo_pose,
    yolox,
)

FOUND = [Found((8, 8, 40, 40), class_id=1)]
YOLO = yolo(FOUND, normalized=True)
QUANTIZED = Input((1, 64, 64, 3), dtype="uint8", scale=1 / 255)


def report(path: Path, runtime: str) -> ModelReport:
    loaded: ModelReport = load_class(RUNTIMES[runtime])(str(path), RuntimeOptions()).report
    return loaded


def resolved(path: Path, labels: Path | None = None) -> ModelSpec:
    bundle = open_bundle(path, labels)
    return resolve(bundle, report(bundle.model, bundle.runtime))


class Bundles:
    """Writes bundles into a folder and resolves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, manifest: str, labels: Sequence[str] = ()) -> Path:
        """A bundle.yaml beside m.tflite or m.onnx."""
        (model,) = self.folder.glob("m.*")
        text = f'name: tiny\nversion: "1.0.0"\nmodel: {model.name}\n{manifest}\n'
        if labels:
            (self.folder / "labels.txt").write_text("\n".join(labels))
            text += "labels: labels.txt\n"
        (self.folder / "bundle.yaml").write_text(text)
        return self.folder

    def spec(self, manifest: str, labels: Sequence[str] = ()) -> ModelSpec:
        return resolved(self.write(manifest, labels))

    def refused(self, manifest: str, labels: Sequence[str] = ()) -> str:
        with pytest.raises(BundleError) as caught:
            self.spec(manifest, labels)
        return str(caught.value).removeprefix(f"{self.folder}/")

    def tflite(self, *outputs: Output, input_: Input | None = None, files: dict[str, str] | None = None) -> Path:
        return write_tflite(self.folder / "m.tflite", outputs, input_, files)

    def onnx(self, *outputs: Output, input_: Input | None = None, metadata: dict[str, str] | None = None) -> Path:
        return write_onnx(self.folder / "m.onnx", outputs, input_, metadata)


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path)


def test_a_bare_file_by_its_shapes(bundles: Bundles) -> None:
    spec = resolved(bundles.tflite(YOLO))
    assert (spec.name, spec.version, spec.task, spec.labels) == ("m", "0.0.0", "detect", ())
    assert spec.input == InputSpec(size=(64, 64), mean=(0.0,), std=(255.0,))
    assert spec.tensor == TensorSpec("images", (1, 64, 64, 3), "float32", layout="NHWC")
    assert spec.head == HeadSpec("yolo", {"box": None})
    assert spec.thresholds == Thresholds(score=0.25, iou=0.45)
    assert len(spec.digest) == 64


def test_a_bare_file_by_its_metadata(bundles: Bundles) -> None:
    metadata = {"task": "detect", "names": "{0: 'person', 1: 'car'}", "imgsz": "[64, 64]"}
    spec = resolved(bundles.onnx(yolo(FOUND, normalized=False), metadata=metadata))
    assert spec.labels == ("person", "car")
    assert spec.head == HeadSpec("yolo", {"box": "xywh_pixels"})
    assert spec.tensor.layout == "NCHW"
    tflite = resolved(
        bundles.tflite(YOLO, files={"temp_meta.txt": str({"task": "detect", "names": ["a", "b"], "imgsz": [64, 64]})})
    )
    assert tflite.head == HeadSpec("yolo", {"box": "xywh_normalized"})


def test_the_manifest_wins(bundles: Bundles) -> None:
    bundles.onnx(YOLO, metadata={"task": "detect", "names": "{0: 'person', 1: 'car'}"})
    spec = bundles.spec(
        "input: {color: bgr, resize: stretch, pad: 0, interpolation: area, mean: [1, 2, 3], std: 2}\n"
        "head: {type: yolo, box: xywh_normalized}\n"
        "nms: {score: 0.5, class_agnostic: true, max_detections: 7}",
        labels=["a", "b"],
    )
    assert spec.labels == ("a", "b")
    assert spec.input == InputSpec(
        size=(64, 64), color="bgr", resize="stretch", pad=0, interpolation="area", mean=(1.0, 2.0, 3.0), std=(2.0,)
    )
    assert spec.head.options == {"box": "xywh_normalized"}
    assert spec.thresholds == Thresholds(score=0.5, iou=0.45, class_agnostic=True, max_detections=7)
    assert bundles.spec("head: {type: yolo}").head.options == {"box": "xywh_pixels"}


def test_a_quantized_input_takes_the_pixels_themselves(bundles: Bundles) -> None:
    bundles.tflite(YOLO, input_=QUANTIZED)
    assert (bundles.spec("").input.mean, bundles.spec("").input.std) == ((), ())
    given = bundles.spec("input: {mean: 0, std: 255}").input
    assert (given.mean, given.std) == ((0.0,), (255.0,))


@pytest.mark.parametrize(
    ("outputs", "head"),
    [
        ([YOLO], "yolo"),
        (ssd(FOUND), "ssd"),
        ([constant("scores", [[0.1, 0.9]])], "classify"),
        ([yolox(FOUND, classes=80, size=(96, 96))], "yolox"),
    ],
)
def test_heads_are_guessed(bundles: Bundles, outputs: list[Output], head: str) -> None:
    assert resolved(bundles.tflite(*outputs, input_=Input((1, 96, 96, 3)) if head == "yolox" else QUANTIZED)).head.type == head


def test_what_may_be_two_things_is_asked(bundles: Bundles) -> None:
    path = bundles.onnx(yolox(FOUND))
    with pytest.raises(UndecidedError) as caught:
        resolved(path)
    assert str(caught.value) == (
        f"{path}: head.type: output [1, 84, 7] fits yolox (2 classes) and yolo (3): "
        f"say head.type, or run edge-agent model init {path}"
    )
    assert (caught.value.field, caught.value.choices) == ("head.type", ("yolox", "yolo"))
    assert bundles.spec("head: {type: yolox}").head.options == {"strides": (8, 16, 32)}
    assert bundles.spec("", labels=["a", "b"]).head.type == "yolox"
    assert bundles.spec("", labels=["a", "b", "c"]).head.type == "yolo"


def test_a_float_classifier_has_to_say_its_numbers(bundles: Bundles) -> None:
    bundles.onnx(constant("scores", [[0.1, 0.9]]))
    assert bundles.refused("").startswith(
        "bundle.yaml: input.mean: which numbers does input images [1, 3, 64, 64] of float32 take?"
    )
    assert bundles.refused("input: {mean: 1}").startswith("bundle.yaml: input.mean: which numbers")
    assert bundles.spec("input: {mean: 127.5, std: 127.5}").input.mean == (127.5,)


def test_a_dynamic_size_has_to_be_said(bundles: Bundles) -> None:
    path = bundles.onnx(YOLO, input_=Input((1, 3, 64, 64), open=(0, 2, 3)))
    with pytest.raises(
        UndecidedError, match=r"input\.size: the model takes pictures of any size, its input being images \[\?, 3, \?, \?\]"
    ):
        resolved(path)


def test_a_dynamic_size_is_what_the_manifest_or_the_file_says(bundles: Bundles) -> None:
    wide = yolo(FOUND, size=(96, 32), normalized=False)
    open_ = Input((1, 3, 32, 96), open=(0, 2, 3))
    bundles.onnx(wide, input_=open_)
    spec = bundles.spec("input: {size: [96, 32]}\nhead: {type: yolo}")
    assert spec.input.size == (96, 32)
    assert spec.tensor.shape == (1, 3, 32, 96)
    bundles.onnx(wide, input_=open_, metadata={"task": "detect", "names": "['a', 'b']", "imgsz": "[32, 96]"})
    assert bundles.spec("").input.size == (96, 32)


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("input: {size: [640, 64]}", "bundle.yaml: input.size: it says [640, 64], m.tflite has [64, 64] (width, height)"),
        ("input: {color: gray}", "bundle.yaml: input.color: gray, but input images [1, 64, 64, 3] has 3 channels"),
        ("input: {mean: [1, 2], std: 1}", "bundle.yaml: input.mean: 2 numbers for 3 channels"),
        ("task: classify\nhead: {type: yolo}", "bundle.yaml: task: it says classify, but head yolo is for detect"),
        ("task: classify", "bundle.yaml: head: no head takes the outputs output0 [1, 6, 84] as they are"),
        ("head: {type: ssd}", "bundle.yaml: head: the ssd head needs four float tensors"),
        ("head: {type: yolox}", "bundle.yaml: head: the yolox head needs [1, 84, 5 + classes]"),
    ],
)
def test_what_does_not_agree_is_named(bundles: Bundles, manifest: str, expected: str) -> None:
    bundles.tflite(YOLO)
    assert bundles.refused(manifest).startswith(expected)


def test_labels_are_counted(bundles: Bundles, tmp_path: Path) -> None:
    path = bundles.tflite(YOLO)
    three = ["a", "b", "c"]
    assert (
        bundles.refused("", labels=three) == "bundle.yaml: labels: labels.txt has 3 lines, output output0 [1, 6, 84] has 2 classes"
    )
    with pytest.raises(BundleError, match=r"m\.tflite: labels: labels\.txt has 3 lines, output"):
        resolved(path, tmp_path / "labels.txt")
    bundles.tflite(YOLO, files={"metadata.json": '{"task": "detect", "names": {"0": "a"}}'})
    assert bundles.refused("") == "bundle.yaml: labels: m.tflite's metadata has 1 labels, output output0 [1, 6, 84] has 2 classes"


NAMES = "{0: 'person', 1: 'car'}"
END2END = constant("output0", [[[8, 8, 40, 40, 0.9, 1]] * 300])
YOLOV5 = constant("output0", [[[24, 24, 32, 32, 1, 0, 0.9]] * 252])
RT_DETR = constant("output0", [[[0.5, 0.5, 0.5, 0.5, 0, 0.9]] * 300])
LETTERBOX = InputSpec(size=(64, 64), mean=(0.0,), std=(255.0,))
STRETCH = InputSpec(size=(64, 64), resize="stretch", mean=(0.0,), std=(255.0,))


@pytest.mark.parametrize(
    ("output", "metadata", "head", "input_"),
    [
        (END2END, {"task": "detect", "end2end": "True"}, HeadSpec("yolo_end2end", {"box": "xyxy_pixels"}), LETTERBOX),
        (END2END, {"task": "detect", "args": "{'nms': True}"}, HeadSpec("yolo_end2end", {"box": "xyxy_pixels"}), LETTERBOX),
        (END2END, {"task": "detect"}, HeadSpec("yolo_end2end", {"box": None}), LETTERBOX),  # YOLOv10
        (END2END, {"task": "detect", "args": "{'nms': False}"}, HeadSpec("yolo_end2end", {"box": None}), LETTERBOX),
        (YOLOV5, {"stride": "32"}, HeadSpec("yolov5", {"box": "xywh_pixels", "anchors": None}), LETTERBOX),
        (
            RT_DETR,
            {"task": "detect", "description": "Ultralytics rtdetr-l model"},
            HeadSpec("detr", {"scores": None, "background": None}),
            STRETCH,
        ),
    ],
)
def test_ultralytics_heads(bundles: Bundles, output: Output, metadata: dict[str, str], head: HeadSpec, input_: InputSpec) -> None:
    spec = resolved(bundles.onnx(output, metadata={"names": NAMES, **metadata}))
    assert (spec.head, spec.input, spec.labels) == (head, input_, ("person", "car"))


def test_rf_detr(bundles: Bundles) -> None:
    told = {
        "task": "detect",
        "class_id_to_name": {"0": "person", "2": "car"},
        "means": [0.5, 0.25, 0.1],
        "stds": [0.2, 0.2, 0.2],
    }
    outputs = [constant("dets", np.full((1, 300, 4), 0.5)), constant("labels", np.full((1, 300, 4), -3))]
    spec = resolved(bundles.onnx(*outputs, metadata={"rfdetr_inference": json.dumps(told)}))
    assert spec.head == HeadSpec("detr", {"scores": None, "background": None})
    assert spec.labels == ("person", "1", "car")
    assert spec.input == InputSpec(size=(64, 64), resize="stretch", mean=(127.5, 63.75, 25.5), std=(51.0, 51.0, 51.0))
    told["task"] = "segment"
    with pytest.raises(BundleError, match="its metadata says task segment, for which there is no head"):
        resolved(bundles.onnx(*outputs, metadata={"rfdetr_inference": json.dumps(told)}))


def test_options_that_are_wanted_are_named(bundles: Bundles) -> None:
    path = bundles.onnx(constant("s", np.zeros((1, 730, 30))), constant("b", np.zeros((1, 730, 4))))
    with pytest.raises(BundleError, match=r"m\.onnx: head: no head takes .* as they are: .*is one of the 30 scores of 's'"):
        resolved(path)
    spec = bundles.spec("head: {type: scores_boxes, background: first}\ninput: {mean: 0, std: 1}")
    assert spec.head.options == {"box": None, "scores": None, "background": "first"}


def test_tasks_that_are_not_built(bundles: Bundles) -> None:
    path = bundles.onnx(YOLO, metadata={"task": "segment", "names": "{0: 'person'}"})
    with pytest.raises(BundleError, match=r"its metadata says task segment, for which there is no head; of Ultralytics' models"):
        resolved(path)


def test_key_points_by_their_metadata(bundles: Bundles) -> None:
    person = Person((16, 8, 48, 40), ((20, 10, 0.9), (30, 30, 0.4)))
    metadata = {"task": "pose", "names": "{0: 'person'}", "imgsz": "[64, 64]", "kpt_shape": "[2, 3]"}
    spec = resolved(bundles.onnx(yolo_pose([person], normalized=False), metadata=metadata))
    assert (spec.task, spec.labels) == ("keypoints", ("person",))
    assert spec.head == HeadSpec("yolo_pose", {"kpt_shape": (2, 3), "box": "xywh_pixels"})
    assert spec.input == InputSpec(size=(64, 64), mean=(0.0,), std=(255.0,))
    bundles.onnx(yolo_pose([person], normalized=False), metadata=metadata | {"names": "['person', 'dog']"})
    assert bundles.refused("").startswith(
        "bundle.yaml: head: the yolo_pose head needs for kpt_shape [2, 3] and 2 labels one tensor [1, 10 + classes, 84]"
    )


def test_a_class_map_of_integers(bundles: Bundles) -> None:
    spec = resolved(bundles.tflite(class_map(np.zeros((32, 32))), input_=QUANTIZED))
    assert (spec.task, spec.head.type) == ("segment", "segment")


def test_a_picture_of_32_bit_integers(bundles: Bundles) -> None:
    spec = resolved(bundles.tflite(movenet([(0.5, 0.5, 0.9)] * 17), input_=Input((1, 64, 64, 3), dtype="int32")))
    assert (spec.task, spec.head.type, spec.tensor.dtype) == ("keypoints", "movenet", "int32")
    assert spec.input == InputSpec(size=(64, 64), pad=0, mean=(0.0,), std=(1.0,))


def picture(shape: tuple[int, ...], **fields: Any) -> TensorSpec:
    return TensorSpec("in", shape, **{"dtype": "float32", **fields})


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([picture((1, 64))], "input in [1, 64] is no picture of 1 or 3 channels, [1, h, w, c] or [1, c, h, w]"),
        ([picture((1, 64, 64, 4))], "input in [1, 64, 64, 4] is no picture"),
        ([picture((8, 64, 64, 3))], "input in [8, 64, 64, 3] takes 8 pictures at once; export the model for batches of 1"),
        (
            [picture((1, 64, 64, 3), dtype="int64")],
            "input in [1, 64, 64, 3] is int64; only uint8, int8, int32, float16, float32 can hold",
        ),
        ([picture((1, 40000, 300, 3))], "input in [1, 40000, 300, 3] is no picture of a usual size, but of 300x40000; from 1 to"),
        (
            [picture((1, 3, 16384, 16384))],
            "input in [1, 3, 16384, 16384] is no picture of a usual size, but of 16384x16384; from 1 to 16384 pixels a side and at",
        ),
        ([picture((1, 0, 64, 3))], "input in [1, 0, 64, 3] is no picture of a usual size, but of 64x0; from 1 to"),
        ([picture((1, 3)), picture((1, 3))], "the model has 2 inputs (in [1, 3], in [1, 3]); only one picture is taken yet"),
        ([], "the model has 0 inputs (); only one picture is taken yet"),
    ],
)
def test_inputs_that_are_no_picture(bundles: Bundles, inputs: list[TensorSpec], expected: str) -> None:
    bundle = open_bundle(bundles.tflite(YOLO))
    with pytest.raises(BundleError) as caught:
        resolve(bundle, ModelReport(tuple(inputs), (), "cpu", {}, {}))
    assert str(caught.value).startswith(f"{bundle.model}: {expected}")


def test_gray_pictures(bundles: Bundles) -> None:
    spec = resolved(bundles.tflite(YOLO, input_=Input((1, 64, 64, 1))))
    assert spec.input.color == "gray"


REAL = {
    "detect/ssd_mobilenet_v1_coco_quant.tflite": ("ssd", (300, 300), 0),
    "detect/yolox_nano.onnx": ("yolox", (416, 416), 0),
    "detect/yolox_nano_dynamic_range.tflite": ("yolox", (416, 416), 0),
    "detect/yolov8n_int8_416.tflite": ("yolo", (416, 416), 80),
    "classify/mobilenet_v2_1.0_224_quant.tflite": ("classify", (224, 224), 1001),
    "classify/mobilenet_v1_0.5_160_quant.tflite": ("classify", (160, 160), 1001),
}


@pytest.mark.parametrize("name", REAL)
def test_real_models_need_no_bundle(data: Path, name: str) -> None:
    spec = resolved(data / "models" / name)
    assert (spec.head.type, spec.input.size, len(spec.labels)) == REAL[name]
