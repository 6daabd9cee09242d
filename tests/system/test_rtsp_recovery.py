"""A network camera that dies or hangs, time and again: results come back in time, and each time leaves nothing behind.

EDGE_RTSP_CYCLES says how often; the figures of docs/figures.md are from 20.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from agent.pipeline.source import BACKOFF_CAP_S
from tests.agent_process import start_agent
from tests.cameras import RtspCamera
from tests.conftest import DATA
from tests.models import Found, write_onnx, yolo
from tests.mosquitto import Mosquitto, Subscriber
from tests.processes import Usage, usage
from tests.real_models import model_file
from tests.waiting import DEADLINE_S

CYCLES = int(os.environ.get("EDGE_RTSP_CYCLES", "2"))
WARM_CYCLES = 2  # in which caches and allocators fill
READINGS = 15  # whose median counts: some descriptors are open for moments
LEAST_POINTS = 10  # for a slope
MOST_ERRORS = 2.0  # standard errors by which a slope may differ from none
PAGE_KB = 4  # what Private_Dirty counts in: a slope of less is pages touched for the first time

FPS = 10
GOP_S = 1.0  # tests/rtsp_server.py puts a key picture into each `--fps` of them
TIMEOUT_S = 2.0  # of opening and of reading
MARGIN_S = 1.0  # for a picture's way through model and broker, on a machine that is busy with other tests
VIDEO = "video/one-by-one-person-detection.mp4"

COUNTS = ("descriptors", "threads", "processes")
Outage = tuple[Callable[[RtspCamera], None], Callable[[RtspCamera], None]]
OUTAGES: dict[str, Outage] = {
    "killed": (RtspCamera.kill, RtspCamera.start),
    "stopped": (RtspCamera.suspend, RtspCamera.resume),
}


class Slope(NamedTuple):
    """Growth a cycle, with its standard error."""

    value: float
    error: float


def slope_of(levels: Sequence[int]) -> Slope:
    """The mean step from one level to the next. Memory moves in steps that stay, so that steps, not levels, are independent."""
    steps = np.diff(levels)
    return Slope(float(steps.mean()), float(steps.std(ddof=1) / np.sqrt(len(steps))))


class Door:
    """The daemon's messages on its one camera."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def wait_result(self, deadline_s: float = DEADLINE_S) -> None:
        """Return at the next result."""
        self._subscriber.clear()
        self._subscriber.wait_topic("edge/v1/door/results/main", deadline_s=deadline_s)

    def wait_source(self, **fields: object) -> Any:
        """What is first said of the source with these values."""
        found = self._subscriber.wait_for(
            lambda m: m.topic == "edge/v1/door/sources/main" and fields.items() <= json.loads(m.payload).items(), str(fields)
        )
        return json.loads(found.payload)

    def open_time(self) -> float:
        """Seconds from the agent's first look for the camera to its first picture."""
        began, ended = (self.wait_source(state=state)["since_at"] for state in ("connecting", "running"))
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()

    def lose(self, camera: RtspCamera, lose: Callable[[RtspCamera], None]) -> None:
        """Return when the agent has lost the camera, and has tried again in vain."""
        self._subscriber.clear()
        lose(camera)
        self.wait_source(state="lost", reason="open_failed")


def write_config(folder: Path, broker: Mosquitto, camera: RtspCamera) -> Path:
    """One pipeline, with the real model where there is one."""
    if DATA.is_dir():
        bundle = model_file(DATA, "yolov8n_int8_416.tflite")
    else:
        bundle = write_onnx(folder / "tiny.onnx", [yolo([Found((8, 8, 40, 40))], normalized=False)])
    config = {
        "device": {"id": "door"},
        "sources": {"main": {"type": "url", "url": camera.url, "open_timeout_s": TIMEOUT_S, "read_timeout_s": TIMEOUT_S}},
        "models": {"main": {"bundle": str(bundle)}},
        "pipelines": {"main": {"source": "main", "model": "main", "publish": {"empty": True}}},
        "mqtt": {"host": broker.host, "port": broker.port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def settled_usage(door: Door, pid: int) -> Usage:
    """What the agent and its workers use while results come."""
    readings = []
    for _ in range(READINGS):
        door.wait_result()
        readings.append(usage(pid))
    return Usage(*(statistics.median_low(column) for column in zip(*readings, strict=True)))


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_camera_that_is_lost_again_and_again(outage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lose, give_back = OUTAGES[outage]
    picture = ("--video", str(DATA / VIDEO)) if DATA.is_dir() else ()
    used: list[Usage] = []
    resumed_s: list[float] = []
    with (
        RtspCamera("--fps", str(FPS), *picture) as camera,
        Mosquitto(tmp_path) as broker,
        Subscriber(broker, "edge/v1/door/#") as subscriber,
        start_agent("run", write_config(tmp_path, broker, camera).name, cwd=tmp_path) as agent,
    ):
        try:
            door = Door(subscriber)
            open_s = door.open_time()
            limit_s = BACKOFF_CAP_S + open_s + GOP_S + MARGIN_S
            for _ in range(CYCLES):
                door.wait_result()
                door.lose(camera, lose)
                give_back(camera)
                returned = time.monotonic()
                door.wait_result(limit_s)
                resumed_s.append(time.monotonic() - returned)
                used.append(settled_usage(door, agent.pid))
        finally:
            agent.kill()
            agent.communicate()
    settled = used[WARM_CYCLES:] or used
    slope = slope_of([use.dirty_kb for use in settled]) if len(settled) >= LEAST_POINTS else None
    with capsys.disabled():
        print(table(outage, open_s, limit_s, resumed_s, settled, slope))  # noqa: T201  the figures
    for name in COUNTS:
        counts = [getattr(use, name) for use in settled]
        assert max(counts) <= counts[0], f"{name}: {counts}"
    assert slope is None or slope.value <= max(MOST_ERRORS * slope.error, PAGE_KB), [use.dirty_kb for use in settled]


def table(outage: str, open_s: float, limit_s: float, resumed_s: list[float], settled: list[Usage], slope: Slope | None) -> str:
    """What docs/figures.md quotes."""
    resumed = (
        f"p50 {statistics.median(resumed_s):.2f} s  max {max(resumed_s):.2f} s  (opened in {open_s:.2f} s, limit {limit_s:.2f} s)"
    )
    rows = {f"results resume, n {len(resumed_s)}": resumed}
    rows |= {name: f"{getattr(settled[0], name)} to {getattr(settled[-1], name)}" for name in COUNTS}
    rows["Private_Dirty"] = f"{settled[0].dirty_kb} to {settled[-1].dirty_kb} kB"
    if slope is not None:
        rows["its slope"] = f"{slope.value:+.2f} kB a cycle, standard error {slope.error:.2f}"
    return "\n".join([f"\ncamera {outage}", *(f"  {name:22} {value}" for name, value in rows.items())])
