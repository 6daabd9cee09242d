"""What a model file tells of itself, beyond its tensors.

Ultralytics writes `metadata_props` into ONNX files, one Python literal each, behind TFLite files a zip with metadata.json, formerly
temp_meta.txt (one Python literal), and beside OpenVINO models a metadata.yaml: ultralytics/engine/exporter.py. Of what other tools
note in an OpenVINO model, its rt_info `model_info`, the labels are taken. TFLite Metadata: see `agent.runtimes.tflite_metadata`.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from agent.bundles.labels import MAX_LABELS, parse_labels
from agent.runtimes.tflite_metadata import SUMMARY

MAX_CHARS = 4 << 20
ULTRALYTICS_FILES = ("metadata.json", "temp_meta.txt", "metadata.yaml")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known without a manifest; None and empty where the file says nothing.

    origin: who wrote it, for messages. head_options, input: as a manifest would have them.
    """

    origin: str = ""
    task: str | None = None
    head: str | None = None
    head_options: Mapping[str, object] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    description: str = ""


def read_facts(metadata: Mapping[str, str], runtime: str) -> FileFacts:
    """The facts of a ModelReport's metadata. What makes no sense is taken as not said: a file may hold anything."""
    ultralytics = _ultralytics(metadata)
    if ultralytics is not None:
        return _of_ultralytics(ultralytics, runtime)
    summary = _literal(metadata.get(SUMMARY, ""))
    if isinstance(summary, dict):
        return _of_tflite(summary, metadata)
    noted = tuple(word.replace("_", " ") for word in metadata.get("model_info.labels", "").split())
    return FileFacts(labels=_only_label_file(metadata) or noted or None)


def _ultralytics(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    for name in ULTRALYTICS_FILES:
        text = metadata.get(name, "")
        data = _yaml(text) if name.endswith(".yaml") else _literal(text)
        if isinstance(data, dict) and "task" in data and "names" in data:
            return data
    if "task" in metadata and "names" in metadata:
        return {key: _literal(text, text) for key, text in metadata.items()}
    return None


def _of_ultralytics(data: dict[str, Any], runtime: str) -> FileFacts:
    """TFLite exports give boxes as fractions of the input, ONNX exports in its pixels."""
    task = str(data["task"])
    box = "xywh_normalized" if runtime == "litert" else "xywh_pixels"
    scaled = {"color": "rgb", "mean": 0.0, "std": 255.0}
    letterboxed = {"resize": "letterbox", "anchor": "center", "pad": 114, **scaled}
    inputs: dict[str, dict[str, Any]] = {
        "detect": letterboxed,
        "pose": letterboxed,
        "classify": {"resize": "crop", **scaled},
    }
    options: dict[str, dict[str, object]] = {
        "detect": {"box": box},
        # exports that end in their own NMS have not always been the same in this: the numbers tell
        "pose": {"box": None if data.get("end2end") else box, "kpt_shape": _kpt_shape(data.get("kpt_shape"))},
    }
    return FileFacts(
        origin="Ultralytics",
        task=task,
        head={"detect": "yolo", "pose": "yolo_pose", "classify": "classify"}.get(task),
        head_options=options.get(task, {}),
        labels=_names(data["names"]),
        size=_size(data.get("imgsz")),
        input=inputs.get(task, {}),
        license=_text(data.get("license")),
        description=_text(data.get("description")),
    )


def _of_tflite(summary: dict[str, Any], metadata: Mapping[str, str]) -> FileFacts:
    labels = metadata.get(_text(summary.get("labels")))
    return FileFacts(
        origin="TFLite Metadata",
        labels=_only_label_file(metadata) if labels is None else _parsed(labels),
        input={key: summary[key] for key in ("color", "mean", "std") if key in summary},
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
