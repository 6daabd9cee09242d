"""edge-agent model vet, with real workers."""

from pathlib import Path

import pytest

from agent.cli.main import main
from tests.conftest import ROOT
from tests.models import constant, write_onnx

MANIFEST = 'name: a\nversion: "1.0.0"\nmodel: m.onnx\nhead: {type: classify, scores: probabilities}\ninput: {mean: 0, std: 255}\n'


def test_a_good_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "vet", str(ROOT / "models/parts-1.1.0"), "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["load", "golden", "output", "latency", "memory", "fit"]
    assert lines[1:3] == [
        "golden    2 samples, each as expected",
        "output    finite, and not the same for 10 different pictures",
    ]
    assert (lines[-1], err) == ("fit to serve: parts 1.1.0", "")


def test_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_onnx(tmp_path / "m.onnx", [constant("scores", [[0.2, 0.8]])])
    (tmp_path / "bundle.yaml").write_text(MANIFEST)
    assert main(["model", "vet", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["load      classify by classify, on cpu", "golden    the bundle has no golden samples"]
    line = "a 1.0.0: gives the same answer for 8 pictures that have nothing in common"
    assert err == f"edge-agent: not fit to serve (constant_output): {line}\n"


def test_one_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "vet", str(tmp_path / "no.onnx")]) == 2
    assert "there is no such model file or bundle" in capsys.readouterr().err


def test_a_device_that_lacks_what_it_requires(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_onnx(tmp_path / "m.onnx", [constant("scores", [[0.2, 0.8]])])
    (tmp_path / "bundle.yaml").write_text(MANIFEST + "requires: {delegate: edgetpu}\n")
    assert main(["model", "vet", str(tmp_path)]) == 1
    line = f"edge-agent: not fit to serve (device_unfit): {tmp_path}/bundle.yaml: it requires delegate edgetpu, which is not among"
    assert capsys.readouterr().err.startswith(line)
