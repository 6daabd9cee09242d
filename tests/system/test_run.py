"""The daemon as people run it: real processes, a real broker, and every message that it sends against its schema."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from paho.mqtt.client import MQTTMessage

from tests.agent_process import edge_agent, start_agent
from tests.conftest import ROOT
from tests.media import plain, write_video
from tests.models import Found, write_onnx, write_tflite, yolo
from tests.mosquitto import Mosquitto, Subscriber
from tests.processes import children, wait_for_end

FRAMES = 40
# A camera that shows white and, while the file "dark" is there, black; one frame every 20 ms.
CAMERA = """
import pathlib, sys, time
while True:
    sys.stdout.buffer.write((b"\\0" if pathlib.Path("dark").exists() else b"\\xff") * (64 * 48 * 3))
    sys.stdout.buffer.flush()
    time.sleep(0.02)
"""
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs/schema").glob("*.json")}
COMMANDS = {"cmd", "replies", "snapshots"}  # and what they bring: nobody sends any here
KINDS = {
    "sources": "source",
    "state": "state",
    "results": "result",
    "events": "event",
    "info": "info",
    "health": "health",
    "models": "reported",
}


def write_config(folder: Path, broker: Mosquitto) -> Path:
    """Two sources, two slots, four pipelines: two slots on one source, two sources on one slot."""
    things = [Found((8, 8, 40, 40)), Found((30, 10, 60, 50), class_id=1)]
    write_onnx(folder / "a.onnx", [yolo(things, normalized=False)])
    write_tflite(folder / "b.tflite", [yolo(things, normalized=True)])
    (folder / "labels.txt").write_text("person\ncar\n")
    write_video(folder / "clip.mp4", [plain((64, 48), (255, 255, 255))] * FRAMES)
    slot = {"labels": "labels.txt", "threads": 1}
    config: dict[str, Any] = {
        "device": {"id": "porch", "labels": {"site": "lyon"}},
        "sources": {
            "cam": {"type": "command", "command": [sys.executable, "-c", CAMERA], "size": [64, 48], "format": "bgr24"},
            "clip": {"type": "file", "path": "clip.mp4"},
        },
        "models": {"a": {"bundle": "a.onnx", **slot}, "b": {"bundle": "b.tflite", **slot}},
        "pipelines": {
            "cam-a": {"source": "cam", "model": "a"},
            "cam-b": {"source": "cam", "model": "b", "labels": ["car"], "publish": {"when": "change"}},
            "cam-rare": {"source": "cam", "model": "a", "publish": {"max_hz": 5}},
            "clip-b": {"source": "clip", "model": "b", "max_detections": 1},
        },
        "mqtt": {"host": broker.host, "port": broker.port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def running(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", Subscriber]]:
    """The daemon, and all that it says."""
    with Mosquitto(folder) as broker, Subscriber(broker, "edge/v1/porch/#") as subscriber:
        agent = start_agent("run", write_config(folder, broker).name, cwd=folder)
        try:
            yield agent, subscriber
        finally:
            agent.kill()
            agent.communicate()


def payloads(subscriber: Subscriber, topic: str) -> list[Any]:
    return [json.loads(payload) for payload in subscriber.payloads(f"edge/v1/porch/{topic}")]


def wait_payload(subscriber: Subscriber, topic: str, **fields: object) -> Any:
    """The first message on a topic whose fields have these values."""

    def fits(payload: bytes | bytearray) -> bool:
        return bool(fields.items() <= json.loads(payload).items())

    found = subscriber.wait_for(lambda m: m.topic == f"edge/v1/porch/{topic}" and fits(m.payload), f"{topic} {fields}")
    return json.loads(found.payload)


def test_pipelines_share_sources_and_slots_and_end_cleanly(tmp_path: Path) -> None:
    with running(tmp_path) as (agent, subscriber):
        wait_payload(subscriber, "sources/clip", state="stopped", reason="ended")
        wait_payload(subscriber, "results/cam-a", seq=100)
        (tmp_path / "dark").touch()
        wait_payload(subscriber, "state/cam-a", live=True, counts={})
        (tmp_path / "dark").unlink()
        subscriber.wait_for(lambda _: len(payloads(subscriber, "results/cam-b")) >= 2, "the car's return")
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        _, complaints = agent.communicate(timeout=20)
        assert agent.returncode == 0, complaints
        assert time.monotonic() - began < 5, "a promise to systemd: SIGTERM ends it within 5 s"
        subscriber.wait_topic("edge/v1/porch/availability", b"offline")
        check_messages(subscriber)
        check_delivery(subscriber)
        clip = payloads(subscriber, "results/clip-b")
        assert [result["frame_seq"] for result in clip] == list(range(FRAMES))
        assert all([d["label"] for d in result["detections"]] == ["person"] for result in clip)
        for pipeline in ("cam-a", "cam-b", "cam-rare", "clip-b"):
            results = payloads(subscriber, f"results/{pipeline}")
            assert [result["seq"] for result in results] == list(range(1, len(results) + 1))
            assert results == sorted(results, key=lambda result: result["frame_seq"])
        assert all(result["counts"] == {"car": 1} for result in payloads(subscriber, "results/cam-b"))
        assert len(payloads(subscriber, "results/cam-rare")) < len(payloads(subscriber, "results/cam-a")) / 3
        assert payloads(subscriber, "state/cam-a")[-1]["live"] is False


def check_messages(subscriber: Subscriber) -> None:
    """Every kind was seen, and each message fits its schema."""
    seen = set()
    for message in subscriber.messages:
        kind = kind_of(message)
        if kind != "availability":
            jsonschema.validate(json.loads(message.payload), SCHEMAS[KINDS[kind]])
        seen.add(kind)
    assert seen == {*KINDS, "availability"}


def check_delivery(subscriber: Subscriber) -> None:
    """Each kind comes with the QoS of docs/asyncapi.yaml, and a late subscriber finds those that it calls retained."""
    document = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
    channels = {name: channel["address"].split("/")[3] for name, channel in document["channels"].items()}
    sent = {
        channels[operation["channel"]["$ref"].rpartition("/")[2]]: operation["bindings"]["mqtt"]
        for operation in document["operations"].values()
    }
    assert {(kind_of(message), message.qos) for message in subscriber.messages} == {
        (kind, how["qos"]) for kind, how in sent.items() if kind not in COMMANDS
    }
    retained = {kind for kind, how in sent.items() if how["retain"]}
    with Subscriber(subscriber._broker, "edge/v1/porch/#") as late:
        for kind in retained:
            late.wait_for(lambda message, kind=kind: kind_of(message) == kind, kind)  # type: ignore[misc]
        assert {kind_of(message) for message in late.messages} == retained


def kind_of(message: MQTTMessage) -> str:
    return message.topic.split("/")[3]


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    with running(tmp_path) as (_, subscriber):
        info = wait_payload(subscriber, "info", pipelines=PIPELINES)
        subscriber.wait_for(lambda _: len(payloads(subscriber, "info")[-1]["models"]) == 2, "both models")
        health = wait_payload(subscriber, "health", status="ok")
        states = {name: model["state"] for name, model in health["models"].items()}
    assert info["labels"] == {"site": "lyon"}
    assert info["sources"] == {"cam": "command", "clip": "file"}
    assert states == {"a": "running", "b": "running"}


PIPELINES = {
    "cam-a": {"source": "cam", "model": "a"},
    "cam-b": {"source": "cam", "model": "b"},
    "cam-rare": {"source": "cam", "model": "a"},
    "clip-b": {"source": "clip", "model": "b"},
}


def test_no_orphan_when_it_is_killed(tmp_path: Path) -> None:
    """EDGE_KILL_TIMES says how often; the figure of docs/figures.md is from 20."""
    for number in range(int(os.environ.get("EDGE_KILL_TIMES", "2"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(folder) as (agent, subscriber):
            wait_payload(subscriber, "results/cam-b", seq=1)
            orphans = children(agent.pid)
            assert len(orphans) >= 3
            agent.kill()
            agent.wait()
            for orphan in orphans:
                wait_for_end(orphan, 1.0)
            if number == 0:  # once is enough: it comes after the last will's delay of 10 s
                subscriber.wait_topic("edge/v1/porch/availability", b"offline")


def test_a_camera_that_is_lost_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as (agent, subscriber):
        wait_payload(subscriber, "results/cam-a", seq=10)
        (camera,) = [pid for pid in children(agent.pid) if b"pathlib" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(camera, signal.SIGKILL)
        lost = wait_payload(subscriber, "sources/cam", state="lost")
        assert lost["reason"] == "process_exited"
        last = payloads(subscriber, "results/cam-a")[-1]["frame_seq"]
        subscriber.wait_for(lambda _: payloads(subscriber, "results/cam-a")[-1]["frame_seq"] > last + 10, "the camera's return")
        states = payloads(subscriber, "state/cam-a")
        assert [state["live"] for state in states] == [False, True, False, True]


def test_run_without_a_config(tmp_path: Path) -> None:
    write_onnx(tmp_path / "tiny.onnx", [yolo([Found((8, 8, 40, 40))], normalized=False)])
    write_video(tmp_path / "clip.mp4", [np.full((48, 64, 3), 255, np.uint8)] * 5)
    with Mosquitto(tmp_path) as broker, Subscriber(broker) as subscriber:
        arguments = ("--model", "tiny.onnx", "--source", "clip.mp4", "--mqtt", f"{broker.host}:{broker.port}")
        run = edge_agent("run", *arguments, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        subscriber.wait_for(lambda m: m.topic.endswith("/availability") and m.payload == b"offline", "the end")
        results = [json.loads(m.payload) for m in subscriber.messages if "/results/main" in m.topic]
    assert [result["frame_seq"] for result in results] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("verb", ["", "run", "check", "predict", "model", "model show", "model init"])
def test_help_imports_no_runtime_and_no_opencv(verb: str) -> None:
    program = (
        "import sys\nfrom agent.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'onnxruntime', 'ai_edge_litert', 'cv2', 'paho'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, *verb.split(), "--help"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "usage: edge-agent" in run.stdout
