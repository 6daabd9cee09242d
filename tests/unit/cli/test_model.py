"""edge-agent model, with real workers."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.bundles.load import open_bundle
from agent.bundles.resolve import resolve
from agent.cli.bundle_writer import decide, write
from agent.cli.main import main
from agent.core.heads import HEADS
from agent.errors import UsageError
from agent.loading import load_class
from agent.runtimes import RUNTIMES, ModelReport, RuntimeOptions
from tests.bundle_folders import with_numbers
from tests.models import Found, Input, Output, constant, ssd, write_onnx, write_tflite, yolo, yolox

FOUND = [Found((8, 8, 24, 24), class_id=1)]
ULTRALYTICS = {"task": "detect", "names": "{0: 'person', 1: \"it's\"}", "license": "AGPL-3.0 (https://x)", "imgsz": "[64, 64]"}
SCALES = "mean: 0, std: 255 for pixels as 0 to 1; mean: 127.5, std: 127.5 for -1 to 1; mean: 0, std: 1 for 0 to 255"
USUAL = f"Usual are {SCALES}; say --mean N --std N"
QUANTIZED = Input((1, 64, 64, 3), dtype="int8", scale=1 / 255, zero_point=-128)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def report(path: Path, runtime: str) -> ModelReport:
    loaded: ModelReport = load_class(RUNTIMES[runtime])(str(path), RuntimeOptions()).report
    return loaded


def errors(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command line that is wrong."""
    assert main(["model", *words]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    return line.removeprefix("edge-agent: ")


def test_show(capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(Path("m.onnx"), [yolo(FOUND, normalized=False)], metadata=ULTRALYTICS)
    assert main(["model", "show", "m.onnx"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "m 0.0.0  m.onnx"
    assert lines[2:] == [
        "runtime     onnxruntime on cpu",
        "input       images float32 [1, 3, 64, 64]",
        "output      output0 float32 [1, 6, 84]",
        "metadata    Ultralytics: licence: AGPL-3.0 (https://x)",
        "task        detect",
        "picture     64x64 rgb, letterbox center, pad 114, linear, (pixel - 0) / 255",
        "head        yolo: box: xywh_pixels",
        "keeps       score >= 0.25, at most 100; NMS IoU 0.45",
        "labels      2: person, it's",
    ]


def test_show_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    write_tflite(Path("m.tflite"), ssd(FOUND), QUANTIZED)
    assert main(["model", "show", "m.tflite", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["spec"]["head"]["type"] == "ssd"
    assert shown["inputs"][0]["dtype"] == "int8"
    assert shown["problem"] is None


def test_show_what_cannot_be_used(capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(Path("m.onnx"), [yolox(FOUND)])
    assert main(["model", "show", "m.onnx"]) == 1
    out, err = capfd.readouterr()
    assert "output      output float32 [1, 84, 7]" in out
    assert err.startswith("edge-agent: m.onnx: head.type: output [1, 84, 7] fits yolox (2 classes) and yolo (3): say ")
    assert main(["model", "show", "none.onnx"]) == 2
    assert capfd.readouterr().err == "edge-agent: none.onnx: there is no such model file or bundle; did you mean m.onnx?\n"


def models() -> Iterator[tuple[str, Path, list[str]]]:
    """Models, and what has to be said of each."""
    yield "yolo", write_onnx(Path("yolo.onnx"), [yolo(FOUND, normalized=False)], metadata=ULTRALYTICS), []
    yield "quantized", write_tflite(Path("quantized.tflite"), [yolo(FOUND, normalized=True)], QUANTIZED), []
    yield "yolox", write_onnx(Path("yolox.onnx"), [yolox(FOUND)]), ["--head", "yolox"]
    yield "ssd", write_tflite(Path("ssd.tflite"), ssd(FOUND), QUANTIZED), []
    scores: list[Output] = [constant("scores", [[0.1, 0.9]])]
    yield "classify", write_onnx(Path("classify.onnx"), scores), ["--mean", "123.675,116.28,103.53", "--std", "58"]
    anchors: list[Output] = [constant("scores", np.zeros((1, 96, 3))), constant("boxes", np.zeros((1, 96, 4)))]
    yield "anchors", write_onnx(Path("anchors.onnx"), anchors), ["--head", "ssd_raw"]
    distributions: list[Output] = [constant("output", np.zeros((1, 85, 34)))]
    yield "distributions", write_onnx(Path("distributions.onnx"), distributions), []
    dynamic = Input((1, 3, 64, 64), open=(0, 2, 3))
    yield "dynamic", write_onnx(Path("dynamic.onnx"), [yolo(FOUND, normalized=False)], dynamic), ["--size", "64x64"]


def test_what_init_writes_means_what_was_decided(capfd: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("0 person\n1 car\n")
    for name, path, options in models():
        labels = [] if name == "yolo" else ["--labels", "list.txt"]
        assert main(["model", "init", str(path), *labels, *options]) == 0
        assert capfd.readouterr().out.splitlines() == [
            f"wrote {name}: {', '.join(sorted(['bundle.yaml', 'labels.txt', path.name]))}",
            f"try it: edge-agent predict {name} PICTURE",
        ]
        bundle = open_bundle(name)
        spec = resolve(bundle, report(bundle.model, bundle.runtime))
        assert (spec.name, spec.version) == (name, "1.0.0")
        assert spec.labels == (("person", "it's") if name == "yolo" else ("person", "car"))
        if name not in ("dynamic", "classify", "anchors"):
            bare = open_bundle(path, None if name == "yolo" else "list.txt")
            wanted = resolve(bare, report(path, bare.runtime))
            assert (spec.input, spec.tensor, spec.thresholds) == (wanted.input, wanted.tensor, wanted.thresholds)
            assert spec.head == wanted.head
    assert (Path("yolo") / "yolo.onnx").samefile("yolo.onnx")
    text = (Path("yolo") / "bundle.yaml").read_text()
    assert 'license: "AGPL-3.0 (https://x)"' in text
    assert main(["model", "init", "yolo.onnx", "--name", "people", "--version", "2.0.0", "--output", "a/b"]) == 0
    assert (open_bundle("a/b").name, open_bundle("a/b").version) == ("people", "2.0.0")


def test_init_takes_the_numbers_that_lie_beside_a_model(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a").mkdir()
    path = with_numbers(Path("a/m.onnx"))
    assert main(["model", "init", str(path), "--name", "people"]) == 0
    assert capfd.readouterr().out.startswith("wrote people: bundle.yaml, m.onnx, m.onnx.data\n")
    path.with_name("m.onnx.data").unlink()
    assert main(["model", "show", "people"]) == 0
    assert main(["model", "show", str(path)]) == 1
    assert "m.onnx: the file with its weights is missing; copy it beside the model: m.onnx.data" in capfd.readouterr().err


def test_without_labels_it_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    write_tflite(Path("m.tflite"), ssd(FOUND), QUANTIZED)
    assert main(["model", "init", "m.tflite"]) == 0
    assert "no labels are known, so classes are reported by number" in capfd.readouterr().out
    assert open_bundle("m").labels is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["m.onnx"],
            "m.onnx: head.type: output [1, 84, 7] fits yolox (2 classes) and yolo (3); say --head yolox or --head yolo",
        ),
        (["m.onnx", "--head", "yolov8"], f"--head: expected one of {', '.join(HEADS)}, got yolov8"),
        (["m.onnx", "--head", "yolo", "--size", "64"], "--size: expected WxH, such as 640x640, got 64"),
        (["m.onnx", "--mean", "x"], "--mean: expected a number, or one a channel such as 123.7,116.3,103.5, got x"),
        (["m.onnx", "--mean", "1", "--std", "0"], "--std: expected a number above 0, got 0.0"),
        (["m.onnx", "--std", "1,0,1"], "--std: expected a number above 0, got 0.0"),
        (["m.onnx", "--version", "1"], '--version: expected a semantic version in quotes, such as "1.0.0", got "1"'),
        (
            ["m.onnx", "--name", "A"],
            '--name: expected a name of a-z, 0-9, _ and -, beginning with a letter or digit, 63 at most, got "A"',
        ),
        (["m.onnx", "--output", "."], ".: it is there already; say --output DIR for another folder"),
        (["m.onnx", "--output", "m.onnx/x", "--head", "yolo"], "m.onnx/x: Not a directory"),
        (
            ["scores.onnx"],
            f"scores.onnx: input.mean: which numbers does input images [1, 3, 64, 64] of float32 take? {USUAL}",
        ),
        (
            ["dynamic.onnx"],
            "dynamic.onnx: input.size: the model takes pictures of any size, its input being images [1, 3, ?, ?]; say --size WxH",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(capfd: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    write_onnx(Path("m.onnx"), [yolox(FOUND)])
    write_onnx(Path("scores.onnx"), [constant("scores", [[0.1, 0.9]])])
    write_onnx(Path("dynamic.onnx"), [yolo(FOUND, normalized=False)], Input((1, 3, 64, 64), open=(2, 3)))
    before = set(Path.cwd().iterdir())
    assert errors(capfd, "init", *words) == expected
    assert set(Path.cwd().iterdir()) == before


def test_a_bundle_needs_no_bundle(capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(Path("m.onnx"), [yolox(FOUND)])
    assert main(["model", "init", "m.onnx", "--head", "yolox"]) == 0
    capfd.readouterr()
    assert errors(capfd, "init", "m") == "m: it has a bundle.yaml already; give the model file itself"
    assert errors(capfd, "init", "m.onnx", "--head", "yolox") == "m: it is there already; say --output DIR for another folder"


@pytest.mark.parametrize(
    ("outputs", "input_", "answers", "head"),
    [
        ([yolox(FOUND)], None, ["yolox"], "yolox"),
        ([constant("scores", [[0.1, 0.9]])], None, ["127.5", "127.5"], "classify"),
        ([yolo(FOUND, normalized=False)], Input((1, 3, 64, 64), open=(0, 2, 3)), ["64x64"], "yolo"),
    ],
)
def test_what_is_missing_is_asked_for(outputs: list[Output], input_: Input | None, answers: list[str], head: str) -> None:
    bundle = open_bundle(write_onnx(Path("m.onnx"), outputs, input_))
    left = list(answers)
    spec = decide(bundle, report(bundle.model, bundle.runtime), {}, lambda _question: left.pop(0))
    assert left == []
    assert spec.head.type == head
    write(Path("written"), bundle, spec, "")
    again = open_bundle("written")
    assert resolve(again, report(again.model, again.runtime)).input == spec.input


def test_an_answer_that_makes_no_sense() -> None:
    bundle = open_bundle(write_onnx(Path("m.onnx"), [yolox(FOUND)]))
    with pytest.raises(UsageError, match="expected one of yolox, yolo, got yolov8"):
        decide(bundle, report(bundle.model, bundle.runtime), {}, lambda _question: "yolov8")
