"""edge-agent health beside a real daemon."""

import signal
from pathlib import Path

import cv2
import yaml

from tests.agent_process import edge_agent, start_agent
from tests.media import plain
from tests.models import Found, write_tflite, yolo
from tests.waiting import wait_until

STATE = "state"


def healthy(folder: Path) -> bool:
    return edge_agent("health", "--state-dir", STATE, cwd=folder).returncode == 0


def test_health_follows_the_agent(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite", [yolo([Found((8, 8, 24, 24))], normalized=True)])
    cv2.imwrite(str(tmp_path / "white.png"), plain((64, 64), (255, 255, 255)))
    config = {
        "sources": {"still": {"type": "images", "path": "white.png", "loop": True}},
        "models": {"m": {"bundle": "m.tflite", "threads": 1}},
        "pipelines": {"main": {"source": "still", "model": "m"}},
        "mqtt": "localhost:1",
        "state_dir": STATE,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert not healthy(tmp_path)
    with start_agent("run", "config.yaml", cwd=tmp_path, stderr=None) as agent:
        wait_until(lambda: healthy(tmp_path), "a model that runs")
        agent.send_signal(signal.SIGTERM)
    assert agent.returncode == 0
    assert edge_agent("health", "--state-dir", STATE, cwd=tmp_path).stderr.startswith("edge-agent: no agent runs with its state in")
