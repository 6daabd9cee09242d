"""bundle.yaml: what it takes, and what it says of what it does not."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from agent.bundles.manifest import Golden, Input, Nms, Requires, json_schema, read_manifest
from agent.core.heads import FAMILIES, HEADS
from agent.errors import BundleError

TYPES = ", ".join(HEADS)
DOCS = Path(__file__).parents[3] / "docs"
MINIMAL = 'name: people\nversion: "1.0.0"\nmodel: m.tflite\n'
FULL = """
format: 1
name: people
version: "1.3.0-rc.1"
license: AGPL-3.0-only
model: m.tflite
task: detect
labels: labels.txt
input:
  {size: [416, 320], color: rgb, resize: letterbox, anchor: center, pad: 114, interpolation: linear, mean: 0, std: [255, 255, 254]}
head: {type: yolo, box: xywh_normalized}
nms: {score: 0.25, iou: 0.45, class_agnostic: false, max_detections: 100}
requires: {agent: ">=0.1", memory_mb: 120}
golden: [{input: bus.jpg, expect: bus.json, iou: 0.8}]
provenance: {source: "https://example.org"}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "bundle.yaml"


def problems(place: Path, text: str) -> list[str]:
    place.write_text(text)
    with pytest.raises(BundleError) as caught:
        read_manifest(place)
    return str(caught.value).replace(f"{place.parent}/", "").split("\n")


def test_everything_it_can_say(place: Path) -> None:
    place.write_text(FULL)
    manifest, data = read_manifest(place)
    assert data == yaml.safe_load(FULL)
    assert (manifest.name, manifest.version, manifest.task, manifest.license) == ("people", "1.3.0-rc.1", "detect", "AGPL-3.0-only")
    assert manifest.input == Input(
        size=(416, 320),
        color="rgb",
        resize="letterbox",
        anchor="center",
        pad=114,
        interpolation="linear",
        mean=0.0,
        std=[255.0, 255.0, 254.0],
    )
    assert manifest.head == {"type": "yolo", "box": "xywh_normalized"}
    assert manifest.nms == Nms(score=0.25, iou=0.45, class_agnostic=False, max_detections=100)
    assert manifest.requires == Requires(agent=">=0.1", memory_mb=120)
    assert manifest.golden == [Golden(input="bus.jpg", expect="bus.json", iou=0.8, score=0.05)]
    assert manifest.provenance == {"source": "https://example.org"}
    assert manifest.files() == ["m.tflite", "labels.txt", "bus.jpg", "bus.json"]


def test_three_lines_are_enough(place: Path) -> None:
    place.write_text(MINIMAL)
    manifest, _ = read_manifest(place)
    assert manifest.head is None
    assert manifest.files() == ["m.tflite"]


VARIANTS = """
name: people
version: "1.0.0"
labels: l.txt
input: {size: [320, 320], color: bgr}
head: {type: yolo}
nms: {score: 0.3}
requires: {memory_mb: 120}
max_latency_ms: 80
golden: [{input: bus.jpg, expect: bus.json}]
variants:
  - {id: a, model: a.tflite, requires: {delegate: edgetpu}}
  - id: b
    model: b.xml
    labels: b.txt
    input: {size: [640, 640]}
    head: {type: yolox}
    nms: {iou: 0.5}
    max_latency_ms: 200.5
    golden: [{input: c.jpg, expect: c.json}]
"""
EITHER = "say either model: FILE or variants, a list of {id: …, model: FILE, requires: …}"
VARIANT_HEAD = f'3: variants[0].head.type: expected one of {", ".join(HEADS)}, got "yolov8"; did you mean yolo?'
ARCH = '3: variants[0].requires.arch: expected one of aarch64, x86_64, got "arm64"; did you mean aarch64?'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("version: 1.10", 'version: expected a semantic version in quotes, such as "1.0.0", got 1.1'),
        ('version: "1.0"', 'version: expected a semantic version in quotes, such as "1.0.0", got "1.0"'),
        ('version: "01.0.0"', 'version: expected a semantic version in quotes, such as "1.0.0", got "01.0.0"'),
        ("name: People", 'name: expected a name of a-z, 0-9, _ and -, beginning with a letter or digit, 63 at most, got "People"'),
        ("task: anomaly", "task: anomaly is not built yet in this version; only detect, classify, segment, keypoints are"),
        ("task: detects", 'task: expected one of classify, detect, keypoints, segment, got "detects"; did you mean detect?'),
        ("max_latency_ms: 0", "max_latency_ms: expected a number above 0, got 0"),
        ("format: 2", "format: expected 1, got 2"),
        ("lables: l.txt", "lables: unknown key; did you mean labels?"),
        ("head: yolo", 'head: expected a map, got "yolo"'),
        ("head: {}", f"head.type: expected one of {TYPES}"),
        ("head: {type: yolov8}", f'head.type: expected one of {TYPES}, got "yolov8"; did you mean yolo?'),
        ("head: {type: RT-DETR}", f'head.type: expected one of {TYPES}, got "RT-DETR"; did you mean detr?'),
        ("head: {type: yollox}", f'head.type: expected one of {TYPES}, got "yollox"; did you mean yolox?'),
        ("head: {type: [yolo]}", f"head.type: expected one of {TYPES}, got a list of 1"),
        ("head: {type: yolo, box: xywh}", 'head.box: expected one of xywh_normalized, xywh_pixels, got "xywh"'),
        ("head: {type: yolo, strides: [8]}", "head.strides: unknown key; known here: box"),
        ("input: {size: 416}", "input.size: expected a list of 2, each an integer from 1 to 16384, got 416"),
        ("input: {std: 0}", "input.std: expected a number above 0, got 0"),
        ("input: {color: RGB}", 'input.color: expected one of bgr, gray, rgb, got "RGB"'),
        ("nms: {iou: 45}", "nms.iou: expected a number from 0 to 1, got 45"),
        ('requires: {agent: "1.0"}', 'requires.agent: expected a least version, such as ">=1.0", got "1.0"'),
        ("golden: [{input: a.jpg}]", "golden[0].expect: missing: expected text"),
        ("provenance: {commit: 123}", 'provenance.commit: expected text, got 123; put it in quotes: "123"'),
    ],
)
def test_what_is_wrong_is_told(place: Path, line: str, expected: str) -> None:
    key = line.partition(":")[0]
    kept = [known for known in MINIMAL.splitlines() if known.partition(":")[0] != key]
    (found,) = problems(place, "\n".join([*kept, line]))
    assert found == f"bundle.yaml:{len(kept) + 1}: {expected}"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("license: MIT", "1: " + EITHER),
        ("variants: [{id: a, model: m}]\nmodel: m", "3: variants: " + EITHER),
        ("variants: [{id: a, model: m}, {id: a, model: n}]", "3: variants[1].id: a is there twice"),
        ("variants: []", "3: variants: expected a list of at least 1, got a list of 0"),
        ("variants: [{id: a}]", "3: variants[0].model: missing: expected text"),
        ("variants: [{id: a, model: m, head: {type: yolov8}}]", VARIANT_HEAD),
        ("variants: [{id: a, model: m, requires: {arch: arm64}}]", ARCH),
    ],
)
def test_either_a_model_or_variants(place: Path, models: str, expected: str) -> None:
    assert problems(place, f'name: a\nversion: "1.0.0"\n{models}') == [f"bundle.yaml:{expected}"]


def test_a_variant_says_what_differs(place: Path) -> None:
    place.write_text(VARIANTS)
    manifest, _ = read_manifest(place)
    assert manifest.files() == ["l.txt", "bus.jpg", "bus.json", "a.tflite", "b.xml", "b.bin", "b.txt", "c.jpg", "c.json"]
    a, b = (manifest.alone(variant) for variant in manifest.variants)
    assert (a.model, a.labels, a.head, a.golden, a.variants) == ("a.tflite", "l.txt", {"type": "yolo"}, manifest.golden, [])
    assert (a.requires.delegate, a.requires.memory_mb, a.input, a.nms) == ("edgetpu", 120, manifest.input, manifest.nms)
    assert (b.labels, b.head, b.golden[0].input) == ("b.txt", {"type": "yolox"}, "c.jpg")
    assert (b.input.size, b.input.color) == ((640, 640), "bgr")
    assert (b.nms.score, b.nms.iou) == (0.3, 0.5)
    assert (a.max_latency_ms, b.max_latency_ms) == (80, 200.5)
    jsonschema.validate(yaml.safe_load(VARIANTS), json_schema())


def test_everything_that_is_missing_is_told(place: Path) -> None:
    expected = [f"bundle.yaml:1: {key}: missing" for key in ("name", "version")]
    assert [line.rpartition(": expected")[0] for line in problems(place, "format: 1\nmodel: m")] == expected
    assert problems(place, "- 1") == ["bundle.yaml:1: expected a map, got a list of 1"]
    assert problems(place, "a: [") == [
        "bundle.yaml:1:5: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'"
    ]


def test_the_schema_in_the_docs_is_current() -> None:
    """If not: python -m agent.bundles.manifest > docs/bundle.schema.json."""
    assert json.loads((DOCS / "bundle.schema.json").read_text()) == json.loads(json.dumps(json_schema()))


def test_the_schema_takes_what_the_agent_takes() -> None:
    jsonschema.validate(yaml.safe_load(FULL), json_schema())
    jsonschema.validate(yaml.safe_load(MINIMAL), json_schema())
    for line in ("head: {type: yolov8}", "head: {type: ssd, box: x}", "variants: []", "version: 1.0"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(MINIMAL) | yaml.safe_load(line), json_schema())


def test_families_are_of_heads_that_there_are() -> None:
    assert set(FAMILIES.values()) <= HEADS.keys()
    assert not FAMILIES.keys() & HEADS.keys()
