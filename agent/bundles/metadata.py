"""What a model file tells of itself, beyond its tensors.

Ultralytics writes `metadata_props` into ONNX files, one Python literal each, behind TFLite files a zip with metadata.json, formerly
temp_meta.txt (one Python literal), and beside OpenVINO models a metadata.yaml: ultralytics/engine/exporter.py. YOLOv5's own exports
do the same with stride and names alone: ultralytics/yolov5, export.py. RF-DETR writes JSON into ONNX files: roboflow/rf-detr,
src/rfdetr/export/_runtime/metadata.py. Of what other tools note in an OpenVINO model, its rt_info `model_info`, the labels are
taken. TFLite Metadata: see `agent.runtimes.tflite_metadata`.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from agent.bundles.labels import MAX_LABELS, parse_labels
from agent.core.heads.yolo import LETTERBOX
from agent.runtimes.tflite_metadata import SUMMARY

MAX_CHARS = 4 << 20
MAX_SCALING = 1e6  # of a mean or a deviation, and by far
ULTRALYTICS_FILES = ("metadata.json", "temp_meta.txt", "metadata.yaml")
RF_DETR = "rfdetr_inference"
SSD_OUTPUTS = {  # as TFLite Metadata calls a detector's: tensorflow/tflite-support, metadata_writers/object_detector.py
    "location": "boxes",
    "category": "classes",
    "score": "scores",
    "number of detections": "count",
}
SCALED = {key: LETTERBOX[key] for key in ("color", "mean", "std")}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known without a manifest; None and empty where the file says nothing.

    origin: who wrote it, for messages. heads: where the tensors must tell which of them is meant, the first being `head`.
    head_options, input: as a manifest would have them, for `head`.
    """

    origin: str = ""
    task: str | None = None
    head: str | None = None
    heads: tuple[str, ...] = ()
    head_options: Mapping[str, object] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    description: str = ""


def read_facts(metadata: Mapping[str, str], runtime: str) -> FileFacts:
    """The facts of a ModelReport's metadata. What makes no sense is taken as not said: a file may hold anything."""
    try:
        return _facts(metadata, runtime)
    except Exception:  # noqa: BLE001  parsers, PyYAML's above all, raise anything on what somebody else made up
        return FileFacts()


def _facts(metadata: Mapping[str, str], runtime: str) -> FileFacts:
    ultralytics = _ultralytics(metadata)
    if ultralytics is not None:
        return _of_ultralytics(ultralytics, runtime) if "task" in ultralytics else _of_yolov5(ultralytics, runtime)
    rf_detr = _literal(metadata.get(RF_DETR, ""))
    if isinstance(rf_detr, dict):
        return _of_rf_detr(rf_detr)
    summary = _literal(metadata.get(SUMMARY, ""))
    if isinstance(summary, dict):
        return _of_tflite(summary, metadata)
    noted = tuple(word.replace("_", " ") for word in metadata.get("model_info.labels", "").split())
    return FileFacts(labels=_only_label_file(metadata) or noted or None)


def _ultralytics(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    for name in ULTRALYTICS_FILES:
        text = metadata.get(name, "")
        data = _yaml(text) if name.endswith(".yaml") else _literal(text)
        if isinstance(data, dict) and "names" in data and ("task" in data or "stride" in data):
            return data
    if "names" in metadata and ("task" in metadata or "stride" in metadata):
        return {key: _literal(text, text) for key, text in metadata.items()}
    return None


def _of_ultralytics(data: dict[str, Any], runtime: str) -> FileFacts:
    task = _text(data["task"])
    heads, options, picture = _meant(data, task, runtime)
    return FileFacts(
        origin="Ultralytics",
        task=task or None,
        head=heads[0] if heads else None,
        heads=heads if len(heads) > 1 else (),
        head_options=options,
        labels=_names(data["names"]),
        size=_size(data.get("imgsz")),
        input=picture,
        license=_text(data.get("license")),
        description=_text(data.get("description")),
    )


def _meant(data: dict[str, Any], task: str, runtime: str) -> tuple[tuple[str, ...], dict[str, object], dict[str, Any]]:
    """The heads that it may be, the first one's options, the input.

    TFLite exports give boxes as fractions of the input, ONNX exports in its pixels. Of those that suppress by themselves the older
    TFLite exports alone give fractions: ultralytics/nn/backends/litert.py.
    """
    args = data.get("args")
    suppresses = data.get("end2end") is True or (isinstance(args, dict) and args.get("nms") is True)
    if task == "classify":
        return ("classify",), {}, {"resize": "crop", **SCALED}
    if task == "pose":  # exports that end in their own NMS have not always been the same in their boxes: the numbers tell
        box = None if suppresses else _xywh(runtime)
        return ("yolo_pose",), {"box": box, "kpt_shape": _kpt_shape(data.get("kpt_shape"))}, LETTERBOX
    if task != "detect":
        return (), {}, {}
    if "rtdetr" in _text(data.get("description")).lower().replace("-", ""):
        return ("detr",), {}, {"resize": "stretch", **SCALED}
    if suppresses:
        return ("yolo_end2end",), {} if runtime == "litert" else {"box": "xyxy_pixels"}, LETTERBOX
    return ("yolo", "yolo_end2end", "yolov5", "detr"), {"box": _xywh(runtime)}, LETTERBOX


def _of_yolov5(data: dict[str, Any], runtime: str) -> FileFacts:
    return FileFacts(
        origin="Ultralytics YOLOv5",
        head="yolov5",
        heads=("yolov5", "yolo"),
        head_options={"box": _xywh(runtime)},
        labels=_names(data["names"]),
        input=LETTERBOX,
    )


def _xywh(runtime: str) -> str:
    return "xywh_normalized" if runtime == "litert" else "xywh_pixels"


def _of_rf_detr(data: dict[str, Any]) -> FileFacts:
    """Its labels are by class id, which may leave some out; means and deviations are for pixels of 0 to 1."""
    scaling = _scaling(data.get("means"), data.get("stds"))
    scaled = {"color": "rgb", **{key: [255 * number for number in numbers] for key, numbers in scaling.items()}}
    task = _text(data.get("task"))
    return FileFacts(
        origin="RF-DETR",
        task=task or None,
        head="detr" if task == "detect" else None,
        labels=_by_id(data.get("class_id_to_name")) or _names(data.get("class_names")),
        input={"resize": "stretch", **(scaled if scaling else {})},
    )


def _of_tflite(summary: dict[str, Any], metadata: Mapping[str, str]) -> FileFacts:
    labels = metadata.get(_text(summary.get("labels")))
    outputs = summary.get("outputs")
    roles = [SSD_OUTPUTS.get(_text(name)) for name in outputs] if isinstance(outputs, list) else []
    detector = len(roles) == len(SSD_OUTPUTS) and set(roles) == set(SSD_OUTPUTS.values())
    return FileFacts(
        origin="TFLite Metadata",
        head="ssd" if detector else None,
        head_options={"outputs": roles} if detector else {},
        labels=_only_label_file(metadata) if labels is None else _parsed(labels),
        input={**_color(summary.get("color")), **_scaling(summary.get("mean"), summary.get("std"))},
        license=_text(summary.get("license")),
        description=_text(summary.get("description")),
    )


def _only_label_file(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    files = [text for name, text in metadata.items() if "label" in name.lower() and name.endswith(".txt")]
    return _parsed(files[0]) if len(files) == 1 else None


def _parsed(text: str) -> tuple[str, ...] | None:
    try:
        return parse_labels(text)
    except ValueError:
        return None


def _names(names: object) -> tuple[str, ...] | None:
    """Labels from {0: person, …}, with numbers or, in JSON, text as keys, or from a list."""
    if isinstance(names, dict) and len(names) <= MAX_LABELS:
        names = {str(key): name for key, name in names.items()}
        names = [names.get(str(i)) for i in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isprintable() for name in names):
        return None
    return tuple(names) or None


def _by_id(names: object) -> tuple[str, ...] | None:
    """Labels from {id: name}, an id that is left out being its own label."""
    if not isinstance(names, dict) or not all(isinstance(key, str) and key.isdecimal() and len(key) < 6 for key in names):
        return None
    last = max((int(key) for key in names), default=-1)
    return _names({str(i): names.get(str(i), str(i)) for i in range(last + 1)})


def _color(color: object) -> dict[str, str]:
    return {"color": str(color)} if color in ("rgb", "gray") else {}


def _scaling(means: object, stds: object) -> dict[str, list[float]]:
    """Mean and deviation, each one number or three; nothing where one of them makes no sense."""
    mean, std = _floats(means), _floats(stds)
    return {"mean": mean, "std": std} if mean and std and min(std) > 0 else {}


def _floats(values: object) -> list[float]:
    """One finite number or three, or none."""
    if not isinstance(values, list) or not all(isinstance(v, int | float) and abs(v) <= MAX_SCALING for v in values):
        return []
    return [float(value) for value in values] if len(values) in (1, 3) else []


def _size(imgsz: object) -> tuple[int, int] | None:
    """(width, height) from Ultralytics' [height, width]."""
    match imgsz:
        case [int(height), int(width)] if 0 < height <= 16384 and 0 < width <= 16384:
            return (width, height)
    return None


def _kpt_shape(shape: object) -> list[int] | None:
    """How many key points, and numbers a point."""
    match shape:
        case [int(count), int(numbers)] if 0 < count <= 1000 and numbers in (2, 3):
            return [count, numbers]
    return None


def _text(value: object) -> str:
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def _yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _literal(text: str, default: object = None) -> Any:
    """JSON, or a Python literal."""
    if len(text) > MAX_CHARS:
        return default
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return default
