"""What a file is, told by its bytes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.bundles.content import format_of, model_files
from agent.errors import BundleError
from tests.models import Found, write_onnx, write_tflite, yolo

OUTPUT = yolo([Found((8, 8, 24, 24))], normalized=True)


def test_names_do_not_matter(tmp_path: Path) -> None:
    assert format_of(write_onnx(tmp_path / "a.tflite", [OUTPUT], metadata={"task": "detect"})) == "onnx"
    assert format_of(write_tflite(tmp_path / "a.onnx", [OUTPUT])) == "tflite"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04...", "no TFLite, ONNX or OpenVINO model, but a zip archive or a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "but a Git LFS pointer; fetch the file itself with: git lfs pull"),
        (b"<!DOCTYPE html>", "but a web page or XML"),
        (b"\xff\xd8\xff\xe0", "but a JPEG picture"),
        (b"\x00\x00\x00\x20ftypisom", "but an MP4 video"),
        (b"Not Found", 'but begins with "Not Found"'),
        (b"\x00\x01\x02", "but begins with 00 01 02"),
        (b"\x08", "but begins with 08"),
        (b"\x08\x07", "but begins with 08 07"),
        (b"\x08\x07\x12\x02ab", "but begins with 08 07 12 02 61 62"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        format_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_an_onnx_file_that_is_cut_off(tmp_path: Path, fraction: float) -> None:
    path = write_onnx(tmp_path / "m.onnx", [OUTPUT])
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * fraction)])
    with pytest.raises(BundleError, match="an ONNX model that is cut off at"):
        format_of(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), start=st.sampled_from([b"", b"\x08", b"\x08\x07", b"\x08\x07\x3a"]))
def test_any_bytes_give_a_runtime_or_a_reason(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(start + content)
    with contextlib.suppress(BundleError):
        assert format_of(path) in ("tflite", "onnx")


IR = b'<?xml version="1.0"?>\n<net name="Model0" version="11">\n\t<layers>'


def test_an_openvino_model_is_known_by_its_content_and_has_its_weights_beside_it(tmp_path: Path) -> None:
    model = tmp_path / "a.xml"
    model.write_bytes(IR)
    with pytest.raises(BundleError, match=r"a.xml: an OpenVINO model whose weights are missing; put a.bin beside it"):
        format_of(model)
    (tmp_path / "a.bin").write_bytes(b"")
    assert format_of(model) == "openvino"
    assert model_files(model) == (model, tmp_path / "a.bin")


def test_an_openvino_model_by_another_name_is_told_what_it_must_be_called(tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    model.write_bytes(IR)
    with pytest.raises(BundleError, match=r"a.onnx: an OpenVINO model, which has to be called NAME.xml"):
        format_of(model)
