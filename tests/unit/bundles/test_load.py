"""MODEL, as people say it."""

import os
from pathlib import Path

import pytest

from agent.bundles.load import Bundle, in_store, name_for, open_bundle, open_variants
from agent.errors import BundleError, UsageError
from tests.models import Found, write_onnx, write_tflite, yolo

OUTPUT = yolo([Found((8, 8, 24, 24))], normalized=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle."""
    folder = tmp_path / "people"
    folder.mkdir()
    write_tflite(folder / "m.tflite", [OUTPUT])
    (folder / "labels.txt").write_text("person\ncar\n")
    (folder / "bundle.yaml").write_text('name: people\nversion: "1.2.0"\nmodel: m.tflite\nlabels: labels.txt\n')
    return folder


def refused(folder: Path, line: str) -> str:
    """What is said of a bundle with another line."""
    key = line.partition(":")[0]
    text = (folder / "bundle.yaml").read_text().splitlines()
    (folder / "bundle.yaml").write_text("\n".join([known for known in text if not known.startswith(key)] + [line]))
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_directory(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert (bundle.name, bundle.version, bundle.runtime, bundle.bare) == ("people", "1.2.0", "litert", False)
    assert bundle.model == folder / "m.tflite"
    assert bundle.labels == ("person", "car")
    assert bundle.place == folder / "bundle.yaml"
    assert open_bundle(str(folder / "bundle.yaml")) == bundle


def test_a_model_file(folder: Path, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "YOLO v8.best.onnx", [OUTPUT])
    bundle = open_bundle(path)
    assert (bundle.name, bundle.version, bundle.runtime, bundle.bare) == ("yolo-v8-best", "0.0.0", "onnxruntime", True)
    assert bundle.labels is None
    labelled = open_bundle(path, folder / "labels.txt")
    assert labelled.labels == ("person", "car")
    assert labelled.digest != bundle.digest


def test_the_digest_follows_the_content_of_every_file_and_of_the_manifest(folder: Path) -> None:
    digests = {open_bundle(folder).digest}
    manifest = folder / "bundle.yaml"
    for change in (
        lambda: (folder / "labels.txt").write_text("person\nbus\n"),
        lambda: write_tflite(folder / "m.tflite", [yolo([Found((8, 8, 24, 25))], normalized=True)]),
        lambda: manifest.write_text(manifest.read_text() + "nms: {score: 0.3}\n"),
    ):
        change()
        digests.add(open_bundle(folder).digest)
    assert len(digests) == 4
    manifest.write_text(f"# a comment\n{manifest.read_text()}")
    (folder / "README").write_text("x")
    assert open_bundle(folder).digest in digests


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model: n.tflite", "bundle.yaml: there is no n.tflite beside it; did you mean m.tflite?"),
        ("model: ../m.tflite", "bundle.yaml: ../m.tflite is not in the bundle's directory; put a copy there"),
        ("model: /etc/passwd", "bundle.yaml: /etc/passwd is not in the bundle's directory; put a copy there"),
        ("labels: link", "bundle.yaml: link is not in the bundle's directory; put a copy there"),
        ("model: .", "bundle.yaml: there is no . beside it"),
        ("model: labels.txt", "labels.txt: no TFLite, ONNX or OpenVINO model, but begins with 70 65 72 73 6f 6e 0a 63"),
        ("labels: m.tflite", "m.tflite: "),
        ('requires: {agent: ">=99"}', "bundle.yaml: requires.agent: it needs an edge-agent >=99, this is "),
    ],
)
def test_what_is_wrong_with_a_bundle(folder: Path, line: str, expected: str) -> None:
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere").write_text("person")
    assert refused(folder, line).startswith(expected)


def test_a_model_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"poeple: there is no such model file or bundle; did you mean people\?"):
        open_bundle(tmp_path / "poeple")
    with pytest.raises(UsageError, match="there is no such model file or bundle"):
        open_bundle("x" * 5000)
    with pytest.raises(UsageError, match="there is no such label list"):
        open_bundle(folder / "m.tflite", tmp_path / "none.txt")
    with pytest.raises(UsageError, match="a label list goes with a bare model file"):
        open_bundle(folder, folder / "labels.txt")
    with pytest.raises(BundleError, match=r"there is no bundle\.yaml in it; edge-agent model init MODEL-FILE writes one"):
        open_bundle(tmp_path)


def test_a_name_and_a_version_mean_the_store(tmp_path: Path) -> None:
    assert in_store("people@1.3.0")
    assert not in_store("people")
    assert not in_store("models/people@1.3.0")
    with pytest.raises(BundleError, match=r"people@1\.3\.0: it is not in the store of this device; give a model file"):
        open_bundle("people@1.3.0")
    write_tflite(tmp_path / "people@1.3.0", [OUTPUT])
    assert isinstance(open_bundle(tmp_path / "people@1.3.0"), Bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_model_that_may_not_be_read(folder: Path) -> None:
    (folder / "m.tflite").chmod(0)
    with pytest.raises(BundleError, match="Permission denied"):
        open_bundle(folder)


@pytest.mark.parametrize(("path", "name"), [("A b.onnx", "a-b"), ("___.onnx", "model"), ("é.onnx", "model"), ("x" * 90, "x" * 63)])
def test_a_name_from_a_file(path: str, name: str) -> None:
    assert name_for(Path(path)) == name


def test_what_a_golden_sample_expects_is_json(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite", [OUTPUT])
    (tmp_path / "bus.jpg").touch()
    (tmp_path / "bus.json").write_text("{")
    (tmp_path / "bundle.yaml").write_text(
        'name: a\nversion: "1.0.0"\nmodel: m.tflite\ngolden: [{input: bus.jpg, expect: bus.json}]\n'
    )
    with pytest.raises(BundleError, match=r"bundle.yaml: golden: bus.json is not JSON: Expecting property name"):
        open_bundle(tmp_path)


def test_a_file_may_be_named_by_a_path(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite", [OUTPUT])
    (tmp_path / "bundle.yaml").write_text('name: a\nversion: "1.0.0"\nmodel: ./m.tflite\n')
    assert open_bundle(tmp_path).model == tmp_path / "m.tflite"


def test_a_bundle_of_variants_is_no_single_model(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite", [OUTPUT])
    (tmp_path / "bundle.yaml").write_text('name: a\nversion: "1.0.0"\nvariants: [{id: x, model: m.tflite}]\n')
    with pytest.raises(BundleError, match=r"bundle.yaml: it has variants; give the model file of one"):
        open_bundle(tmp_path)
    (variant,) = open_variants(tmp_path)
    assert (variant.variant, variant.runtime, variant.model) == ("x", "litert", tmp_path / "m.tflite")


def test_the_weights_of_an_openvino_model_belong_to_its_digest(tmp_path: Path) -> None:
    model = tmp_path / "m.xml"
    model.write_text('<?xml version="1.0"?>\n<net name="m" version="11">')
    model.with_suffix(".bin").write_bytes(b"1")
    before = open_bundle(model).digest
    model.with_suffix(".bin").write_bytes(b"2")
    after = open_bundle(model)
    assert after.digest != before
    assert after.runtime == "openvino"
    (tmp_path / "metadata.yaml").write_text("task: detect")
    assert open_bundle(model).digest != after.digest
