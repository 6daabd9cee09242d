"""edge-agent check, with real workers."""

from pathlib import Path

import pytest

from agent.cli.main import main
from tests.models import Found, constant, write_onnx, write_tflite, yolo

CONFIG = """
device: {id: here}
sources: {clip: {type: images, path: .}, spare: {type: usb, device: 0}}
models: {people: {bundle: m.tflite, labels: labels.txt}}
pipelines: {hall: {source: clip, model: people, labels: [persn]}}
mqtt: {host: localhost, tls: {}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_tflite(tmp_path / "m.tflite", [yolo([Found((8, 8, 24, 24))], normalized=True)])
    (tmp_path / "labels.txt").write_text("person\ncar\n")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_a_config_that_would_run(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(config)]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "device    here",
        "mqtt      localhost:8883, TLS",
        "model     people: m 0.0.0, detect by yolo, 64x64, 2 labels, on xnnpack",
        "source    clip: images",
        "source    spare: usb (no pipeline takes it)",
        "pipeline  hall: clip -> people -> results/hall",
        '          m has no label "persn"; did you mean person?',
    ]


def test_a_wrong_config(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG.replace("labels.txt", "label.txt").replace("clip, model", "clap, model"))
    assert main(["check", str(config)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f'edge-agent: {config}:5: pipelines.hall.source: there is no "clap" in sources; did you mean clip?',
        f"edge-agent: {config}:4: models.people.labels: there is no {config.parent}/label.txt; did you mean labels.txt?",
    ]
    assert main(["check", str(config.parent / "none.yaml")]) == 2
    assert capfd.readouterr().err == f"edge-agent: {config.parent}/none.yaml: there is no such config; did you mean config.yaml?\n"


def test_a_wrong_model(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(config.parent / "bad.onnx", [constant("out", [[[1, 2], [3, 4]]])])
    (config.parent / "cut.tflite").write_bytes((config.parent / "m.tflite").read_bytes()[:400])
    config.write_text(CONFIG.replace("models: {", "models: {bad: {bundle: bad.onnx}, cut: {bundle: cut.tflite}, "))
    assert main(["check", str(config)]) == 1
    bad, cut = capfd.readouterr().err.splitlines()
    assert bad.startswith(f"edge-agent: models.bad: {config.parent}/bad.onnx: head: no head takes the outputs out [1, 2, 2]")
    assert cut.startswith(f"edge-agent: models.cut: {config.parent}/cut.tflite: ")
