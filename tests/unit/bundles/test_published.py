"""A manifest that comes over the network."""

import json
from pathlib import Path

import pytest

from agent.bundles.digest import digest
from agent.bundles.paths import clash, wrong_path
from agent.bundles.published import MAX_FILE_BYTES, MAX_FILES, Blob, read_published
from agent.errors import BundleError
from tests.bundle_folders import Publication, publish, write_bundle

SHA256 = "a" * 64
FILE = {"length": 1, "sha256": SHA256}


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    return publish(write_bundle(tmp_path / "people"))


def refused(data: bytes, sha256: str | None = None) -> str:
    """What is said of a manifest."""
    with pytest.raises(BundleError) as caught:
        read_published(data, sha256 or digest(data))
    return str(caught.value)


def with_files(publication: Publication, **files: object) -> str:
    """What is said where more files are listed."""
    listed = json.loads(publication.manifest)["files"]
    return refused(*publication.changed(files=listed | files))


def test_a_manifest(publication: Publication) -> None:
    published = read_published(publication.manifest, publication.digest)
    assert published.title == "people@1.0.0"
    assert sorted(published.files) == ["labels.txt", "m.onnx"]
    assert {blob.sha256: blob.length for blob in published.blobs} == {k: len(v) for k, v in publication.blobs.items()}


def test_another_hash(publication: Publication) -> None:
    assert "it is not the manifest that was expected: its sha256 is" in refused(publication.manifest, SHA256)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ", ", 1),
        lambda text: text + "\n",
        lambda text: text.replace('"name":"people"', '"name":"x","name":"people"'),
        lambda text: text.replace('"name":"people","version":"1.0.0"', '"version":"1.0.0","name":"people"'),
        lambda text: text.replace("people", "\\u0070eople"),
        lambda text: text.replace('"people"', "NaN"),
        lambda text: text.replace('"people"', "1e999"),
        lambda text: text.replace("people", "\\ud800"),
        lambda _: "[]",
        lambda _: "[" * 100_000,
        lambda _: "",
        lambda _: "\ufeff{}",
        lambda _: "9" * 5000,
    ],
)
def test_another_form(publication: Publication, change: object) -> None:
    text = change(publication.manifest.decode())  # type: ignore[operator]
    assert "not the canonical form of a manifest" in refused(text.encode())


def test_bytes_that_are_no_text() -> None:
    assert "not the canonical form of a manifest" in refused(b"\xff\xfe{}")
    assert "more than the 2097152 of any manifest" in refused(b" " * (2 << 20) + b" ")


def test_the_checks_of_bundle_yaml_hold(publication: Publication) -> None:
    said = refused(
        *publication.changed(name="People", nsm={"score": 0.5}, head={"type": "yolo", "boxes": 1}, requires={"agent": ">=1"})
    )
    assert "name: expected a name of a-z" in said
    assert "nsm: unknown key; did you mean nms?" in said
    assert all(line.startswith("manifest ") for line in said.splitlines())
    assert "head.boxes: unknown key" in refused(*publication.changed(head={"type": "yolo", "boxes": 1}))
    assert "people@1.0.0: requires.agent: it needs an edge-agent >=99" in refused(*publication.changed(requires={"agent": ">=99"}))
    assert "say either model: FILE or variants" in refused(*publication.changed(model=None))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x", "it does not lie in the bundle's directory"),
        ("/etc/passwd", "it does not lie in the bundle's directory"),
        ("a/../b", "it does not lie in the bundle's directory"),
        ("./x", "write it as x"),
        ("a//x", "write it as a/x"),
        ("a/", "write it as a"),
        ("e\u0301", "write it as \u00e9"),
        ("", "a file's name is text"),
        ("a\nb", "a file's name is text without control characters"),
        ("a\0", "expected text"),
        ("a\\b", "a file's name is text"),
        ("C:\\x", "a file's name is text"),
        ("\u202ex", "a file's name is text"),
        ("x" * 256, "it is longer than 255 bytes a name"),
        ("x/" * 600 + "x", "it is longer than 255 bytes a name or 1024 bytes in all"),
        ("m.onnx/x", "m.onnx is a file, and the folder of m.onnx/x"),
        ("M.ONNX", "differ in upper and lower case alone"),
    ],
)
def test_tricks_with_names(publication: Publication, name: str, why: str) -> None:
    said = with_files(publication, **{name: FILE})
    assert why in said
    assert "\n" not in said


def test_names_that_are_fine() -> None:
    names = ["m.onnx", "a/b/c.bin", "Été 1.jpg", ".hidden", "a..b", "m.onnx.data"]
    assert [wrong_path(name) for name in names] == [None] * len(names)
    assert clash(names) is None


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"length": -1, "sha256": SHA256}, "length: expected an integer from 0 to"),
        ({"length": MAX_FILE_BYTES + 1, "sha256": SHA256}, "length: expected an integer from 0 to"),
        ({"length": True, "sha256": SHA256}, "length: expected an integer"),
        ({"length": 1.0, "sha256": SHA256}, "length: expected an integer"),
        ({"length": 1, "sha256": "A" * 64}, "sha256: expected 64 digits"),
        ({"length": 1, "sha256": "a" * 63}, "sha256: expected 64 digits"),
        ({"length": 1}, "sha256: missing"),
        ({**FILE, "url": "http://x"}, "url: unknown key"),
        ("x", "expected a map"),
    ],
)
def test_what_is_said_of_a_file(publication: Publication, entry: object, why: str) -> None:
    assert why in with_files(publication, x=entry)


def test_the_files_are_those_that_the_bundle_names(publication: Publication) -> None:
    listed = json.loads(publication.manifest)["files"]
    less = {name: entry for name, entry in listed.items() if name != "labels.txt"}
    assert refused(*publication.changed(files=less)).endswith("files: labels.txt is not among them, though the bundle names it")
    assert "files: missing" in refused(*publication.changed(files=None)) or "files: expected" in refused(
        *publication.changed(files=None)
    )
    moved = {f"a/{name}": entry for name, entry in listed.items()} | {"b/x": FILE}
    said = refused(*publication.changed(files=moved, model="a/m.onnx", labels="a/labels.txt"))
    assert said == "people@1.0.0: files: b/x is among them, though nothing names it"
    assert "expected a map of 1 to 4096 files" in refused(*publication.changed(files={f"x{i}": FILE for i in range(MAX_FILES + 1)}))
    twice = listed | {"x": {**listed["m.onnx"], "length": 1}}
    assert "has another length than its equal" in refused(*publication.changed(files=twice))


def test_equal_files_are_one_blob(publication: Publication) -> None:
    files = {"m.onnx": FILE, "labels.txt": FILE}
    assert read_published(*publication.changed(files=files)).blobs == (Blob(sha256=SHA256, length=1),)
