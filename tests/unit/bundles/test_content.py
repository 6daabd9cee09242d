"""What a file is, told by its bytes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.bundles.content import runtime_of
from agent.errors import BundleError
from tests.models import Found, write_onnx, write_tflite, yolo

OUTPUT = yolo([Found((8, 8, 24, 24))], normalized=True)


def test_names_do_not_matter(tmp_path: Path) -> None:
    assert runtime_of(write_onnx(tmp_path / "a.tflite", [OUTPUT], metadata={"task": "detect"})) == "onnxruntime"
    assert runtime_of(write_tflite(tmp_path / "a.onnx", [OUTPUT])) == "litert"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04...", "neither a TFLite nor an ONNX model, but a zip archive or a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "but a Git LFS pointer; fetch the file itself with: git lfs pull"),
        (b"<!DOCTYPE html>", "but a web page or XML"),
        (b"\xff\xd8\xff\xe0", "but a JPEG picture"),
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
        runtime_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_an_onnx_file_that_is_cut_off(tmp_path: Path, fraction: float) -> None:
    path = write_onnx(tmp_path / "m.onnx", [OUTPUT])
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * fraction)])
    with pytest.raises(BundleError, match="an ONNX model that is cut off at"):
        runtime_of(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), start=st.sampled_from([b"", b"\x08", b"\x08\x07", b"\x08\x07\x3a"]))
def test_any_bytes_give_a_runtime_or_a_reason(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(start + content)
    with contextlib.suppress(BundleError):
        assert runtime_of(path) in ("litert", "onnxruntime")
