"""The daemon with a bundle of variants, on an accelerator whose driver crashes: it moves on, and everybody is told."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.agent_process import edge_agent, start_agent
from tests.conftest import ROOT
from tests.delegates import delegate_library
from tests.models import Found, Input, write_onnx, write_tflite, yolo
from tests.mosquitto import Mosquitto, Subscriber

CAMERA = """
import sys, time
while True:
    sys.stdout.buffer.write(b"\\xff" * (64 * 48 * 3))
    sys.stdout.buffer.flush()
    time.sleep(0.02)
"""
BUNDLE = """
name: people
version: "1.0.0"
labels: labels.txt
input: {color: rgb, resize: stretch, mean: 0, std: 255}
head: {type: yolo, box: xywh_normalized}
variants:
  - {id: accelerated, model: m.tflite, requires: {delegate: vx}}
  - {id: plain, model: m.onnx, head: {type: yolo, box: xywh_pixels}}
"""
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs/schema").glob("*.json")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two variants with inputs of different size, layout and boxes."""
    bundle = tmp_path / "people"
    bundle.mkdir()
    write_tflite(bundle / "m.tflite", [yolo([Found((8, 8, 40, 40))], normalized=True)])
    wide = yolo([Found((8, 8, 40, 40))], size=(96, 64), normalized=False)
    write_onnx(bundle / "m.onnx", [wide], Input((1, 3, 64, 96)))
    (bundle / "labels.txt").write_text("person\ncar\n")
    (bundle / "bundle.yaml").write_text(BUNDLE)
    return tmp_path


def write_config(folder: Path, port: int, **options: Any) -> Path:
    config: dict[str, Any] = {
        "device": {"id": "porch"},
        "sources": {"cam": {"type": "command", "command": [sys.executable, "-c", CAMERA], "size": [64, 48]}},
        "models": {
            "people": {
                "bundle": "people",
                "delegates": [{"name": "vx", "library": delegate_library(), "options": options}, "cpu"],
                "threads": 1,
            }
        },
        "pipelines": {"cam": {"source": "cam", "model": "people", "publish": {"empty": True}}},
        "mqtt": {"host": "127.0.0.1", "port": port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_an_accelerator_that_crashes_is_left_for_another_variant(folder: Path) -> None:
    with Mosquitto(folder) as broker, Subscriber(broker, "edge/v1/porch/#") as subscriber:
        agent = start_agent("run", write_config(folder, broker.port, take="first", last=20).name, cwd=folder)
        try:
            subscriber.wait_for(
                lambda m: m.topic.endswith("/results/cam") and b'"person"' in m.payload, "what the plain variant sees"
            )
            subscriber.wait_for(
                lambda m: m.topic.endswith("/health") and b"delegate_fallback" in m.payload, "the fallback in health"
            )
            subscriber.wait_for(lambda m: m.topic.endswith("/info") and b'"variant":"plain"' in m.payload, "the variant in info")
        finally:
            agent.terminate()
            _, log = agent.communicate(timeout=20)
        assert agent.returncode == 0, log
        results, infos, healths, events = (
            [json.loads(payload) for payload in subscriber.payloads(f"edge/v1/porch/{topic}")]
            for topic in ("results/cam", "info", "health", "events/worker")
        )
    for name, messages in (("info", infos), ("health", healths), ("event", events), ("result", results)):
        for message in messages:
            jsonschema.validate(message, SCHEMAS[name])
    assert infos[1]["models"]["people"]["variant"] == "accelerated"
    assert infos[1]["models"]["people"]["delegates"] == ["vx", "cpu"]
    assert [event["code"] for event in events if event["code"] != "crashed"] == ["started"] * 3 + ["moved_down"]
    assert events[-1]["detail"] == "cpu, variant plain"
    last = healths[-1]
    assert "delegate_fallback" in [problem["code"] for problem in last["problems"]]
    assert (last["models"]["people"]["delegate_requested"], last["models"]["people"]["delegate"]) == ("vx", "cpu")
    x1, y1, x2, y2 = results[-1]["detections"][0]["box"]
    assert (x1, y1, x2, y2) == pytest.approx((8 / 96, 8 / 64, 40 / 96, 40 / 64), abs=1e-3)
    frames = [result["frame_seq"] for result in results]
    assert frames == sorted(frames)
    assert "model people has moved down to cpu, variant plain" in log


def test_one_that_crashes_while_it_loads_is_left_too(folder: Path) -> None:
    with Mosquitto(folder) as broker, Subscriber(broker, "edge/v1/porch/#") as subscriber:
        agent = start_agent("run", write_config(folder, broker.port, crash="prepare").name, cwd=folder)
        try:
            subscriber.wait_for(lambda m: m.topic.endswith("/results/cam") and b'"person"' in m.payload, "a result")
        finally:
            agent.kill()
            agent.communicate()


def test_check_and_show_say_which_variant_serves_and_why(folder: Path) -> None:
    config = write_config(folder, 1883, refuse="no device")
    checked = edge_agent("check", config.name, cwd=folder)
    assert checked.returncode == 0, checked.stderr
    assert "model     people: people 1.0.0, variant plain, detect by yolo, 96x64, 2 labels, on cpu" in checked.stdout
    refused = f"{folder}/people/m.tflite: LiteRT cannot load it: vx: {delegate_library()} refuses: no device"
    assert f"          delegate vx of variant accelerated cannot be had: {refused}\n" in checked.stdout
    shown = edge_agent("model", "show", "people", cwd=folder)
    assert "variant     plain\n" in shown.stdout
    assert json.loads(edge_agent("model", "show", "people", "--json", cwd=folder).stdout)["variant"] == "plain"
