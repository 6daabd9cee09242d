"""The subscriber of docs/mqtt.md, as a reader would run it."""

import re
import subprocess
import sys
from pathlib import Path

from agent.publish.config import MqttConfig
from agent.publish.messages import Detection, DetectResult, FrameSize, Latency, ResultModel, encode_result
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
from tests.mosquitto import Mosquitto
from tests.waiting import DEADLINE_S, wait_until

GUIDE = Path(__file__).parents[2] / "docs/mqtt.md"
RESULT = DetectResult(
    id="gate-03.gate.1-21e3.1",
    device="gate-03",
    pipeline="gate",
    source="gate",
    session="1-21e3",
    seq=1,
    frame_seq=1,
    captured_at="2026-11-21T10:00:00.123Z",
    clock_synced=True,
    frame=FrameSize(width=1280, height=720),
    model=ResultModel(slot="people", name="people", version="1.3.0", digest="a1b2c3d4e5f6"),
    latency_ms=Latency(wait=0.8, preprocess=0.4, inference=14.1, postprocess=0.2, total=15.6),
    counts={"person": 1},
    detections=(Detection(label="person", class_id=0, score=0.91, box=(0.1, 0.2, 0.35, 0.88)),),
)


def test_the_subscriber_prints_detections(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(import json.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    program = tmp_path / "subscriber.py"
    program.write_text(code)
    with Mosquitto(tmp_path) as broker:
        publisher = MqttPublisher(MqttConfig(host=broker.host, port=broker.port), Topics("edge", "gate-03"))
        publisher.start()
        with subprocess.Popen(
            [sys.executable, "-u", program, broker.host, str(broker.port)], stdout=subprocess.PIPE, text=True
        ) as subscriber:
            try:
                wait_until(lambda: any("Sending SUBACK" in line for line in broker.log), "it has subscribed")
                assert publisher.wait_ready(DEADLINE_S)
                assert publisher.publish("edge/v1/gate-03/results/gate", encode_result(RESULT))
                assert subscriber.stdout is not None
                line = subscriber.stdout.readline()
            finally:
                subscriber.terminate()
        assert publisher.stop(5.0)
    assert line == "2026-11-21T10:00:00.123Z gate-03 gate person 0.91 [0.1, 0.2, 0.35, 0.88]\n"
