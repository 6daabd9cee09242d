"""One run of the whole agent, as a process, while its results are counted."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent.cli.benchmark.brokers import Arrival, Broker
from agent.cli.benchmark.processes import cpu_s, family, pss_mb
from agent.errors import Retry

DEVICE = "edge-agent-bench"
FIRST_S = 60.0
LOOK_S = 0.2
WARM_UP_S = 1.0
END_S = 10.0


class Whole(NamedTuple):
    """cpu_ms: of one frame, all processes. pss_mb: by process. first_s: from the start to the first result."""

    fps: float
    cpu_ms: float
    pss_mb: dict[str, float]
    first_s: float
    arrivals: Sequence[Arrival]


def run_agent(config: dict[str, Any], broker: Broker, folder: Path, seconds: float) -> Whole:
    """Run the agent on a config until it has been measured for so long. Retry where it gives no results."""
    device = f"{DEVICE}-{time.monotonic_ns() % 1_000_000}"
    path, log = folder / "config.yaml", folder / "log"
    mqtt = {"host": broker.host, "port": broker.port}
    path.write_text(json.dumps({"device": {"id": device}, "mqtt": mqtt, "state_dir": str(folder / "state"), **config}))
    command = [sys.executable, "-P", "-m", "agent.cli.main", "run", str(path), "--log-level", "warning"]
    with broker.listen(f"edge/v1/{device}") as inbox, log.open("wb") as errors:
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as agent:  # noqa: S603  ourselves
            try:
                while not inbox.wait(1, LOOK_S):
                    if agent.poll() is not None or time.monotonic() - started > FIRST_S:
                        raise Retry(_without_results(log))
                time.sleep(WARM_UP_S)
                before, pids = len(inbox.arrivals), family(agent.pid)
                cpu, start = cpu_s(pids), time.monotonic()
                time.sleep(seconds)
                after, cpu, seconds = len(inbox.arrivals), cpu_s(pids) - cpu, time.monotonic() - start
                memory = pss_mb(pids)
            except OSError:  # of a process that is gone
                raise Retry(_without_results(log)) from None
            finally:
                _end(agent)
    if after == before:
        raise Retry(_without_results(log))
    first_s = inbox.arrivals[0].mono_s - started
    return Whole((after - before) / seconds, cpu / (after - before) * 1000, memory, first_s, inbox.arrivals[before:after])


def _without_results(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"the agent gives no results: {lines[-1] if lines else 'it says nothing'}"


def _end(agent: "subprocess.Popen[bytes]") -> None:
    agent.send_signal(signal.SIGTERM)
    try:
        agent.wait(END_S)
    except subprocess.TimeoutExpired:
        agent.kill()
