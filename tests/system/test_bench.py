"""`bench` and `bench_core.py` as people use them, on tiny models; no figure is judged, only that each is there and possible."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt import publish

from tests.agent_process import edge_agent
from tests.conftest import ROOT
from tests.media import numbered, plain, write_picture, write_video
from tests.models import Found, write_onnx, yolo
from tests.mosquitto import Mosquitto, Subscriber

BOX = (16.0, 8.0, 48.0, 40.0)
COMPLAINTS = re.compile(r"round 1 of 1: bare [\d.]+ fps, agent [\d.]+ fps|edge-agent: not to be trusted, .*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A detector, a video, a folder of pictures."""
    write_onnx(tmp_path / "detector.onnx", [yolo([Found(BOX)], normalized=False)])
    write_video(tmp_path / "clip.mp4", numbered(20), fps=20)
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos/a.png", plain((64, 64)))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "three.txt").write_text("one\ntwo\nthree\n")
    return tmp_path


def test_figures_of_a_video(folder: Path) -> None:
    run = edge_agent("bench", "detector.onnx", "clip.mp4", "--seconds", "4.5", "--rounds", "1", "--json", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert all(COMPLAINTS.fullmatch(line) for line in run.stderr.splitlines())
    found = json.loads(run.stdout)
    assert found["ratios"] == [found["ratio"]] == [pytest.approx(found["agent_fps"] / found["bare_fps"], abs=0.001)]
    assert 0 < found["agent_fps"] < found["bare_fps"]
    assert found["cpu_beyond_bare_ms"] == pytest.approx(found["agent_cpu_ms"] - found["bare_cpu_ms"], abs=0.02)
    assert found["latency_at"] == "the video's own pace"
    for percentiles in found["latency_ms"].values():
        assert 0 <= percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"]
    assert found["latency_ms"]["subscriber"]["p50"] >= found["latency_ms"]["total"]["p50"] - 1
    assert found["pss_mb"].keys() == {"agent", "camera worker", "model worker", "all"}
    assert found["first_result_s"] > 0


def test_a_page_for_people_about_pictures(folder: Path) -> None:
    run = edge_agent("bench", "detector.onnx", "photos", "--seconds", "3", "--rounds", "1", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^ +\d\.\d{3} of bare \(rounds \d\.\d{3} to \d\.\d{3}\)", run.stdout, re.MULTILINE)
    assert "latency at full speed" in run.stdout


def test_the_belt_where_no_source_is_named(folder: Path) -> None:
    run = edge_agent("bench", "detector.onnx", "--seconds", "3", "--rounds", "1", cwd=folder)
    assert run.returncode == 0, run.stderr
    assert "the synthetic belt" in run.stdout
    assert "latency at the video's own pace" in run.stdout


def test_nothing_is_left_on_a_broker_that_is_named(folder: Path) -> None:
    with Mosquitto(folder) as broker:
        address = f"{broker.host}:{broker.port}"
        run = edge_agent("bench", "detector.onnx", "photos", "--seconds", "3", "--rounds", "1", "--mqtt", address, cwd=folder)
        assert run.returncode == 0, run.stderr
        assert f"broker: {address}" in run.stdout
        with Subscriber(broker) as subscriber:
            publish.single("last", "what was retained has come before this", qos=1, hostname=broker.host, port=broker.port)
            subscriber.wait_topic("last")
            assert len(subscriber.messages) == 1


ROWS = {
    "no such model": ("nothing.onnx clip.mp4", 2, r"nothing\.onnx: there is no such model file"),
    "no such source": ("detector.onnx nothing.mp4", 2, r"nothing\.mp4: there is no such file or folder"),
    "a camera": ("detector.onnx 0", 2, "0: bench needs a video or pictures"),
    "no video": ("detector.onnx broken.mp4", 1, r"broken\.mp4 is text, not a video"),
    "other labels": ("detector.onnx clip.mp4 --labels three.txt", 1, r"three\.txt has 3 lines"),
    "no broker": ("detector.onnx clip.mp4 --seconds 3 --mqtt 127.0.0.1:1", 1, "MQTT broker 127.0.0.1:1: Connection refused"),
    "no host": ("detector.onnx clip.mp4 --mqtt :1", 2, '--mqtt: expected HOST or HOST:PORT, got ":1"'),
    "too short": ("detector.onnx clip.mp4 --seconds 0", 2, "expected seconds, from 1 to 86400, got 0"),
    "no delegate": ("detector.onnx clip.mp4 --delegate tpu9", 1, r"detector\.onnx: none of the delegates tpu9"),
}


@pytest.mark.parametrize(("command", "status", "line"), ROWS.values(), ids=ROWS)
def test_what_people_get_wrong(command: str, status: int, line: str, folder: Path) -> None:
    run = edge_agent("bench", *command.split(), cwd=folder)
    assert (run.returncode, run.stdout) == (status, "")
    (told,) = run.stderr.splitlines()
    assert re.search(line, told), told


def test_the_core_beside_other_ways() -> None:
    command = [sys.executable, "scripts/bench_core.py", "--rounds", "1", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    cases = json.loads(run.stdout)["cases"]
    assert {f"NMS {n} in 80 classes" for n in (100, 1000, 8400, 30_000)} <= cases.keys()
    for ways in cases.values():
        assert len(ways) > 1
        assert all(timing["us"] > 0 for timing in ways.values())
