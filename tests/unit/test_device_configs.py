"""Each file of device_configs would run: checked as a person would, with a tiny model in place of the one that it names."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.bundles.catalog import BUILT_IN, read_catalog
from agent.cli.main import main
from tests.models import Found, write_onnx, write_tflite, yolo

FOLDER = Path(__file__).parents[2] / "device_configs"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "demo")
THINGS = ("person", "dog", "cat", "bird", "car", "truck", "bus", "bicycle")

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    return data


def write_model(folder: Path, bundle: str) -> None:
    """A model file of that name, or a bundle's folder."""
    found = [Found((8, 8, 24, 24))]
    if bundle.endswith(".onnx"):
        names = str(dict(enumerate(THINGS)))
        metadata = {"task": "detect", "names": names, "imgsz": "[64, 64]"}
        write_onnx(folder / bundle, [yolo(found, classes=len(THINGS), normalized=False)], metadata=metadata)
        return
    (folder / bundle).mkdir()
    write_tflite(folder / bundle / "m.tflite", [yolo(found, classes=len(THINGS), normalized=True)])
    (folder / bundle / "labels.txt").write_text("\n".join(THINGS))
    (folder / bundle / "bundle.yaml").write_text(f'name: {bundle}\nversion: "1.0.0"\nmodel: m.tflite\nlabels: labels.txt\n')


def test_the_demo_would_run_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(FOLDER / "demo.yaml")]) == 0
    assert capfd.readouterr().err == ""


@each_file
def test_it_would_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    config = read(path)
    for slot in config["models"].values():
        write_model(tmp_path, slot["bundle"])
    (tmp_path / "secrets").mkdir(mode=0o700)
    for name in re.findall(r"secrets/\w+", path.read_text()):
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o600)
    for name in re.findall(r"\$\{(\w+)\}", path.read_text()):
        monkeypatch.setenv(name, "secret")
    shutil.copy(path, tmp_path / "config.yaml")
    assert main(["check", str(tmp_path / "config.yaml")]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "no pipeline takes it" not in out
    assert "has no label" not in out


@each_file
def test_its_head_says_what_is_needed(path: Path) -> None:
    head = path.read_text().partition("\n\n")[0]
    assert re.findall(r"^# (\w+): ", head, re.MULTILINE)[:2] == ["OS", "install"]
    assert {"model", "change"} <= set(re.findall(r"^# (\w+): ", head, re.MULTILINE))
    assert f"]({path.name})" in (FOLDER / "README.md").read_text()


@each_file
def test_a_model_to_fetch_is_in_the_catalog(path: Path) -> None:
    text, config = path.read_text(), read(path)
    catalog = read_catalog(BUILT_IN)
    for name in re.findall(r"edge-agent model fetch (\S+)", text):
        assert name in {slot["bundle"] for slot in config["models"].values()}
        for pipeline in config["pipelines"].values():
            assert set(pipeline.get("labels", [])) <= set(catalog[name].labels)


@each_file
def test_a_program_writes_the_size_that_is_said(path: Path) -> None:
    for source in read(path)["sources"].values():
        if source["type"] == "command":
            words = " ".join(source["command"])
            said = [int(re.findall(rf"{name}[ =](\d+)", words)[0]) for name in ("width", "height")]
            assert said == source["size"]
            assert source["size"][0] % 64 == 0


def test_there_are_some() -> None:
    assert {"pi-zero-2w", "pi-4", "pi-5", "pi-coral", "jetson-orin", "pc"} <= {path.stem for path in FILES}
