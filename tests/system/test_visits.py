"""A video of six visits through `run`, over a real broker: each is seen, and no seventh."""

import json
from pathlib import Path

import pytest
import yaml

from tests.agent_process import start_agent
from tests.mosquitto import Mosquitto, Subscriber
from tests.real_models import write_bundle

VIDEO, FRAMES = "video/one-by-one-person-detection.mp4", 1394
VISITS = [(63, 192), (228, 447), (507, 699), (747, 867), (927, 1199), (1236, 1359)]  # first and last frame
BRIDGED, TOLERANCE = 5, 8  # frames
SCORE = 0.4  # one and the same for all models


def visits(frames: list[int]) -> list[tuple[int, int]]:
    """Runs of frame numbers, gaps of up to `BRIDGED` frames closed."""
    runs: list[tuple[int, int]] = []
    for frame in frames:
        if runs and frame - runs[-1][1] <= BRIDGED + 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs


@pytest.mark.parametrize("name", ["ssd_mobilenet_v1_coco_quant.tflite", "yolox_nano.onnx", "yolov8n_int8_416.tflite"])
def test_six_visits(name: str, data: Path, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Subscriber(broker, "edge/v1/door/#") as subscriber:
        config = {
            "device": {"id": "door"},
            "sources": {"door": {"type": "file", "path": str(data / VIDEO)}},
            "models": {"people": {"bundle": str(write_bundle(tmp_path / "bundle", data, name))}},
            "pipelines": {"door": {"source": "door", "model": "people", "score": SCORE, "labels": ["person"]}},
            "mqtt": {"host": broker.host, "port": broker.port},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with start_agent("run", "config.yaml", cwd=tmp_path) as agent:
            subscriber.wait_for(lambda m: m.topic.endswith("availability") and m.payload == b"offline", "the agent's end", 120)
            _, complaints = agent.communicate(timeout=20)
            assert agent.returncode == 0, complaints
    results = [json.loads(m.payload) for m in subscriber.messages if m.topic == "edge/v1/door/results/door"]
    health = [json.loads(m.payload) for m in subscriber.messages if m.topic == "edge/v1/door/health"][-1]
    assert health["pipelines"]["door"]["frames_in"] == FRAMES
    assert health["pipelines"]["door"]["frames_dropped"] == 0
    assert [result["seq"] for result in results] == list(range(1, len(results) + 1))
    found = visits([result["frame_seq"] for result in results if result["counts"].get("person")])
    assert len(found) == len(VISITS), found
    for (first, last), (true_first, true_last) in zip(found, VISITS, strict=True):
        assert abs(first - true_first) <= TOLERANCE, found
        assert abs(last - true_last) <= TOLERANCE, found
