"""What a model file tells of itself."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.bundles.metadata import FileFacts, read_facts
from agent.runtimes.tflite_metadata import SUMMARY, read_tflite_metadata

NAMES = {0: "person", 1: "traffic light"}
ULTRALYTICS = {"description": "Ultralytics YOLOv8n", "author": "Ultralytics", "license": "AGPL-3.0", "task": "detect", "stride": 32}
EXPORTED = {**ULTRALYTICS, "imgsz": [480, 640], "names": NAMES}


def test_ultralytics_in_onnx() -> None:
    facts = read_facts({key: str(value) for key, value in EXPORTED.items()}, "onnxruntime")
    assert facts.head == "yolo"
    assert facts.head_options == {"box": "xywh_pixels"}
    assert facts.labels == ("person", "traffic light")
    assert facts.size == (640, 480)
    assert facts.input["resize"] == "letterbox"
    assert (facts.license, facts.description) == ("AGPL-3.0", "Ultralytics YOLOv8n")


@pytest.mark.parametrize("metadata", [{"temp_meta.txt": str(EXPORTED)}, {"metadata.json": json.dumps(EXPORTED)}])
def test_ultralytics_in_tflite(metadata: dict[str, str]) -> None:
    facts = read_facts({**metadata, SUMMARY: '{"labels": "temp_meta.txt", "color": "rgb"}'}, "litert")
    assert facts.head_options == {"box": "xywh_normalized"}
    assert facts.labels == ("person", "traffic light")
    assert facts.size == (640, 480)


def test_ultralytics_beside_an_openvino_model() -> None:
    facts = read_facts({"metadata.yaml": yaml.safe_dump(EXPORTED), "model_info.labels": "person traffic_light"}, "openvino")
    assert (facts.head, facts.head_options) == ("yolo", {"box": "xywh_pixels"})
    assert facts.labels == ("person", "traffic light")
    assert facts.size == (640, 480)
    assert read_facts({"metadata.yaml": "{"}, "openvino") == FileFacts()


def test_labels_that_other_tools_note_in_an_openvino_model() -> None:
    assert read_facts({"model_info.labels": "person traffic_light"}, "openvino").labels == ("person", "traffic light")


def test_other_tasks_of_ultralytics() -> None:
    classify = read_facts({"task": "classify", "names": str(NAMES)}, "onnxruntime")
    assert (classify.head, classify.input["resize"], classify.head_options) == ("classify", "crop", {})
    segment = read_facts({"task": "segment", "names": str(NAMES)}, "onnxruntime")
    assert (segment.task, segment.head, segment.input) == ("segment", None, {})


@pytest.mark.parametrize(
    ("kpt_shape", "read"),
    [("[17, 3]", [17, 3]), ("(4, 2)", [4, 2]), ("[17, 4]", None), ("[0, 3]", None), ("17", None), ("['a', 3]", None)],
)
def test_key_points_of_ultralytics(kpt_shape: str, read: list[int] | None) -> None:
    pose = read_facts({"task": "pose", "names": str(NAMES), "kpt_shape": kpt_shape}, "litert")
    assert (pose.head, pose.input["resize"]) == ("yolo_pose", "letterbox")
    assert pose.head_options == {"box": "xywh_normalized", "kpt_shape": read}
    assert read_facts({"task": "pose", "names": str(NAMES)}, "onnxruntime").head_options["kpt_shape"] is None
    for told in ({"end2end": "True"}, {"end2end": "False", "args": "{'nms': True}"}):
        end_to_end = {"task": "pose", "names": str(NAMES), "kpt_shape": kpt_shape, **told}
        assert read_facts(end_to_end, "litert").head_options["box"] is None


def test_tflite_metadata() -> None:
    summary = {"color": "rgb", "mean": [127.5], "std": [127.5], "labels": "l.txt", "description": "Says\nwhat it sees"}
    facts = read_facts({SUMMARY: json.dumps(summary), "l.txt": "a\nb\n", "labels2.txt": "c"}, "litert")
    assert facts.labels == ("a", "b")
    assert facts.input == {"color": "rgb", "mean": [127.5], "std": [127.5]}
    assert facts.description == "Says what it sees"


def test_outputs_of_a_detector() -> None:
    names = ["score", "location", "number of detections", "category"]
    facts = read_facts({SUMMARY: json.dumps({"outputs": names})}, "litert")
    assert (facts.head, facts.head_options) == ("ssd", {"outputs": ["scores", "boxes", "count", "classes"]})
    for other in (names[:3], ["score"] * 4, "score", [1, 2, 3, 4], None):
        assert read_facts({SUMMARY: json.dumps({"outputs": other})}, "litert").head is None


def test_yolov5() -> None:
    facts = read_facts({"stride": "32", "names": str(NAMES)}, "onnxruntime")
    assert (facts.head, facts.head_options, facts.labels) == ("yolov5", {"box": "xywh_pixels"}, ("person", "traffic light"))
    facts = read_facts({"temp_meta.txt": str({"stride": 32, "names": NAMES})}, "litert")
    assert (facts.head, facts.head_options, facts.task) == ("yolov5", {"box": "xywh_normalized"}, None)


@pytest.mark.parametrize(
    ("data", "head", "heads"),
    [
        ({}, "yolo", ("yolo", "yolo_end2end", "yolov5", "detr")),
        ({"end2end": False, "args": {"nms": False}}, "yolo", ("yolo", "yolo_end2end", "yolov5", "detr")),
        ({"end2end": True}, "yolo_end2end", ()),
        ({"args": {"nms": True}}, "yolo_end2end", ()),
        ({"description": "Ultralytics rtdetr-l model trained on coco.yaml"}, "detr", ()),
    ],
)
def test_ultralytics_detectors(data: dict[str, object], head: str, heads: tuple[str, ...]) -> None:
    told = {**EXPORTED, **data}
    for metadata in ({key: str(value) for key, value in told.items()}, {"metadata.json": json.dumps(told)}):
        facts = read_facts(metadata, "onnxruntime")
        assert (facts.head, facts.heads) == (head, heads)


def test_rf_detr() -> None:
    told = {"task": "detect", "class_id_to_name": {"1": "person"}, "means": [0.485, 0.456, 0.406], "stds": [0.229, 0.224, 0.225]}
    facts = read_facts({"rfdetr_inference": json.dumps(told)}, "onnxruntime")
    assert (facts.origin, facts.head, facts.labels) == ("RF-DETR", "detr", ("0", "person"))
    assert facts.input["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert facts.input["resize"] == "stretch"


@pytest.mark.parametrize(
    "told",
    [
        {"class_id_to_name": {"x": "a"}, "means": "0", "stds": [1]},
        {"class_id_to_name": {"99999999": "a"}, "means": [0, 0, 0], "stds": [0, 0, 0]},
        {"class_id_to_name": [], "class_names": 7, "means": [1e400, 0, 0]},
    ],
)
def test_rf_detr_that_makes_no_sense(told: dict[str, object]) -> None:
    facts = read_facts({"rfdetr_inference": json.dumps(told)}, "onnxruntime")
    assert (facts.labels, facts.input) == (None, {"resize": "stretch"})


def test_a_label_list_alone() -> None:
    assert read_facts({"imagenet_labels.txt": "a\nb"}, "litert") == FileFacts(labels=("a", "b"))
    assert read_facts({"labels.txt": "a", "more_labels.txt": "b"}, "litert") == FileFacts()
    assert read_facts({}, "litert") == FileFacts()


@pytest.mark.parametrize(
    "names",
    [
        "{0: 'a', 2: 'b'}",
        "{0: 1}",
        "[",
        "-" * 100_000 + "1",
        "(" * 5000,
        "1",
        "[]",
        "['a\\n']",
        "x" * 5_000_000,
    ],
)
def test_names_that_make_no_sense_are_not_said(names: str) -> None:
    assert read_facts({"task": "detect", "names": names}, "litert").labels is None


@pytest.mark.parametrize("imgsz", ["416", "[416]", "[0, 0]", "[1e9, 1]", "'x'", "[99999, 1]"])
def test_sizes_that_make_no_sense_are_not_said(imgsz: str) -> None:
    assert read_facts({"task": "detect", "names": "{}", "imgsz": imgsz}, "litert").size is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"metadata.yaml": "!!timestamp foo"},
        {"metadata.yaml": "!!bool foo"},
        {"metadata.yaml": "!!int ''"},
        {"task": "detect", "names": f"{{0x{'f' * 5000}: 'a'}}"},
        {"rfdetr_inference": json.dumps({"means": [10**400, 0, 0], "stds": [1, 1, 1]})},
        {SUMMARY: '{"mean": "abc", "std": [1]}'},
        {SUMMARY: '{"mean": [null], "std": [1]}'},
        {SUMMARY: '{"mean": [0], "std": 0}'},
        *({SUMMARY: f'{{"color": "purple", "mean": [0], "std": [{std}]}}'} for std in ("0", "-1", "NaN", "1e400", "[]")),
    ],
)
def test_hostile_metadata_says_nothing(metadata: dict[str, str]) -> None:
    facts = read_facts(metadata, "litert")
    assert (facts.labels, facts.head) == (None, None)
    assert not {"color", "mean", "std"} & facts.input.keys()


def test_what_is_nested_without_end_is_no_task() -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    facts = read_facts({"metadata.yaml": "\n".join([*lines, "task: *a29", "names: *a29"])}, "openvino")
    assert (facts.task, facts.labels) == (None, None)


@given(
    st.dictionaries(
        st.sampled_from(
            ["task", "names", "imgsz", "metadata.json", "stride", "temp_meta.txt", SUMMARY, "rfdetr_inference", "labels.txt"]
        ),
        st.text(),
    )
)
def test_anything_can_stand_there(metadata: dict[str, str]) -> None:
    assert isinstance(read_facts(metadata, "litert"), FileFacts)


VALUE = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "task",
                "names",
                "imgsz",
                "stride",
                "license",
                "args",
                "labels",
                "outputs",
                "mean",
                "std",
                "means",
                "stds",
                "class_id_to_name",
            ]
        ),
        VALUE,
    )
)
def test_any_values_can_stand_there(data: dict[str, object]) -> None:
    for name in ("metadata.json", SUMMARY, "rfdetr_inference"):
        assert isinstance(read_facts({name: json.dumps(data)}, "litert"), FileFacts)


def test_real_files(data: Path) -> None:
    facts = read_facts(read_tflite_metadata(data / "models/detect/yolov8n_int8_416.tflite"), "litert")
    assert (facts.origin, facts.head, facts.size) == ("Ultralytics", "yolo", (416, 416))
    assert facts.labels is not None
    assert (len(facts.labels), facts.labels[79]) == (80, "toothbrush")
    facts = read_facts(read_tflite_metadata(data / "models/classify/mobilenet_v2_1.0_224_quant.tflite"), "litert")
    assert facts.labels is not None
    assert (len(facts.labels), facts.labels[1], facts.input["mean"]) == (1001, "tench, Tinca tinca", [127.5])
