#!/usr/bin/env python3
"""The whole agent beside the bare runtime: same model, threads and pictures, by turns in one run.

usage: scripts/bench_pipeline.py MODEL VIDEO [--labels FILE] [--threads N] [--rounds N] [--json]

A round runs the model in a tight loop, then `edge-agent run` on the video as fast as it goes, its results published to a real
mosquitto and counted by a subscriber. Prints the medians over the rounds: frames a second of both and their ratio, CPU time a
frame, memory of all the agent's processes (PSS), and the time from the agent's start to its first published result.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from agent.bundles.load import open_bundle
from agent.loading import load_class
from agent.runtimes import RUNTIMES, Runtime, RuntimeOptions

BARE_S = 4.0
CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SKIPPED = 30  # results at the start, while caches warm up


class Bare(NamedTuple):
    fps: float
    cpu_ms: float


class Piped(NamedTuple):
    fps: float
    cpu_ms: float
    start_s: float
    pss_mb: float


def bare(runtime: Runtime) -> Bare:
    """The runtime alone, in a tight loop."""
    inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in runtime.report.inputs]
    for _ in range(5):
        runtime.run(inputs)
    count, start, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - start < BARE_S:
        runtime.run(inputs)
        count += 1
    return Bare(count / (time.monotonic() - start), (time.process_time() - cpu) / count * 1000)


def processes(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    every = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    found = [Path(f"/proc/{pid}/task/{task}/children").read_text().split() for task in every] if children.exists() else []
    return [pid, *(int(child) for group in found for child in group)]


def cpu_s(pids: list[int]) -> float:
    """User and system time of processes so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) * CLOCK_TICK_S


def pss_mb(pids: list[int]) -> float:
    """Memory of processes, what they share counted once."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) for line in lines) / 1024


class Listener:
    """Counts the results of the agent under test."""

    def __init__(self, port: int) -> None:
        self.arrivals: list[float] = []
        self.enough = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("edge/v1/bench/results/#")
        self._client.loop_start()

    def _heard(self, _client: Client, _userdata: Any, _message: MQTTMessage) -> None:
        self.arrivals.append(time.monotonic())
        if len(self.arrivals) == SKIPPED:
            self.enough.set()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def piped(config: Path, port: int) -> Piped:
    """One run of the agent over the whole video."""
    listener = Listener(port)
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "agent.cli.main", "run", str(config), "--log-level", "warning"]) as agent:
        if not listener.enough.wait(60):
            agent.kill()
            sys.exit("the agent gives no results")
        first, cpu, pids = len(listener.arrivals), cpu_s(processes(agent.pid)), processes(agent.pid)
        memory = cpu_last = 0.0
        last = first
        while agent.poll() is None:
            try:
                last, cpu_last = len(listener.arrivals), cpu_s(pids)
                memory = max(memory, pss_mb(pids))
            except OSError:
                break
            time.sleep(0.25)
    listener.close()
    arrivals = listener.arrivals[first:]
    fps = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    return Piped(fps, (cpu_last - cpu) / max(1, last - first) * 1000, listener.arrivals[0] - started, memory)


def write_config(folder: Path, args: argparse.Namespace, port: int) -> Path:
    """A config that publishes every result, empty ones too."""
    slot = {"bundle": str(args.model.absolute()), "threads": args.threads}
    if args.labels:
        slot["labels"] = str(args.labels.absolute())
    config = {
        "device": {"id": "bench"},
        "sources": {"main": {"type": "file", "path": str(args.video.absolute())}},
        "models": {"main": slot},
        "pipelines": {"main": {"source": "main", "model": "main", "publish": {"empty": True}}},
        "mqtt": {"host": "127.0.0.1", "port": port},
        "state_dir": str(folder / "state"),
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    broker = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if broker is None:
        sys.exit("mosquitto is not installed: apt-get install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bundle = open_bundle(args.model, args.labels)
    runtime = load_class(RUNTIMES[bundle.runtime])(str(bundle.model), RuntimeOptions(threads=args.threads))
    bares, runs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([broker, "-p", str(port)], stderr=subprocess.DEVNULL) as mosquitto,
    ):
        config = write_config(Path(folder), args, port)
        for number in range(args.rounds):
            bares.append(bare(runtime))
            runs.append(piped(config, port))
            print(f"round {number + 1}: bare {bares[-1].fps:.1f} fps, agent {runs[-1].fps:.1f} fps", file=sys.stderr)
        mosquitto.terminate()
    figures = {
        "model": args.model.name,
        "threads": args.threads,
        "bare_fps": round(statistics.median(b.fps for b in bares), 1),
        "agent_fps": round(statistics.median(r.fps for r in runs), 1),
        "ratio": round(statistics.median(r.fps / b.fps for r, b in zip(runs, bares, strict=True)), 3),
        "ratios": [round(r.fps / b.fps, 3) for r, b in zip(runs, bares, strict=True)],
        "bare_cpu_ms": round(statistics.median(b.cpu_ms for b in bares), 2),
        "agent_cpu_ms": round(statistics.median(r.cpu_ms for r in runs), 2),
        "pss_mb": round(statistics.median(r.pss_mb for r in runs), 1),
        "start_to_first_result_s": round(statistics.median(r.start_s for r in runs), 2),
    }
    print(json.dumps(figures) if args.json else "\n".join(f"{key:24} {value}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
