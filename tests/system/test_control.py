"""The daemon as it is told what to do: over a real broker, and by edge-agent model on the same computer."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.publish.topics import Topics
from tests.agent_process import edge_agent, lines_of, start_agent
from tests.conftest import ROOT
from tests.mosquitto import Mosquitto, Subscriber
from tests.waiting import DEADLINE_S, wait_until

TOPICS = Topics("edge", "belt")
CONFIG = """
device: {{id: belt}}
sources:
  belt: {{type: synthetic, fps: 15}}
models:
  parts: {{bundle: {bundle}, threads: 1}}
pipelines:
  belt: {{source: belt, model: parts}}
mqtt: {{host: {host}, port: {port}, commands: [pause, resume, snapshot]}}
state_dir: state
"""


class Desk(Subscriber):
    """Sends commands and reads what the device says."""

    def ask(self, id_: str, op: str, **args: Any) -> dict[str, Any]:
        """The reply to a command."""
        command = json.dumps({"id": id_, "op": op, "args": args}).encode()
        self._client.publish(TOPICS.commands, command, qos=1).wait_for_publish(DEADLINE_S)
        reply = self.wait_for(lambda message: message.topic == TOPICS.replies and json.loads(message.payload)["id"] == id_)
        data: dict[str, Any] = json.loads(reply.payload)
        self.clear()
        return data

    def wait_live(self, live: bool) -> None:
        self.wait_for(lambda message: message.topic == TOPICS.state("belt") and json.loads(message.payload)["live"] is live)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def desk(broker: Mosquitto) -> Iterator[Desk]:
    with Desk(broker, "edge/v1/belt/#") as desk:
        yield desk


@pytest.fixture
def agent(broker: Mosquitto, desk: Desk, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An agent with results."""
    bundle = ROOT / "models/parts-1.0.0"
    (tmp_path / "config.yaml").write_text(CONFIG.format(bundle=bundle, host=broker.host, port=broker.port))
    with start_agent("run", "config.yaml", cwd=tmp_path, stderr=None) as agent:
        try:
            desk.wait_live(True)
            yield agent
        finally:
            agent.terminate()


def test_commands_over_mqtt(agent: subprocess.Popen[str], desk: Desk) -> None:
    assert agent.poll() is None
    desk.clear()
    assert desk.ask("c-1", "pause", pipeline="belt")["ok"]
    refused = desk.ask("c-2", "snapshot", pipeline="belt")
    assert refused["error"] == "pipeline belt is paused: it takes no pictures before it is resumed"
    assert desk.ask("c-3", "resume", pipeline="belt")["ok"]
    reply = desk.ask("c-4", "snapshot", pipeline="belt")
    assert reply["data"]["topic"] == TOPICS.snapshot("belt")
    assert 1000 < reply["data"]["bytes"] <= 256 * 1024
    assert "mqtt.commands" in desk.ask("c-5", "install", slot="parts", bundle="parts", version="1.1.0")["error"]
    assert desk.ask("c-1", "pause", pipeline="belt")["ok"]  # the reply of before, and nothing else
    desk.wait_topic(TOPICS.results("belt"))


def test_a_pause_is_seen_in_the_state(agent: subprocess.Popen[str], desk: Desk) -> None:
    assert agent.poll() is None
    command = json.dumps({"id": "c-1", "op": "pause", "args": {"pipeline": "belt"}}).encode()
    desk._client.publish(TOPICS.commands, command, qos=1).wait_for_publish(DEADLINE_S)
    desk.wait_live(False)


def test_on_the_computer_itself(agent: subprocess.Popen[str], tmp_path: Path) -> None:
    socket = tmp_path / "runtime/control.sock"
    run = edge_agent("model", "list", "--socket", socket)
    assert run.stdout.splitlines()[0].split() == ["SLOT", "STATE", "CURRENT", "PREVIOUS", "TARGET", "AVAILABLE"]
    assert run.stdout.splitlines()[1].split()[:2] == ["parts", "idle"]
    run = edge_agent("model", "rollback", "--socket", socket)
    assert (run.returncode, lines_of(run)) == (1, ["edge-agent: slot parts has had no other model yet"])
    second = edge_agent("run", "config.yaml", cwd=tmp_path)
    assert second.returncode == 2
    (line,) = lines_of(second)
    assert line.startswith(f"edge-agent: state_dir: {tmp_path}/state: another agent runs with it, process {agent.pid};")


def test_a_killed_agent_leaves_nothing_in_the_way(agent: subprocess.Popen[str], desk: Desk, tmp_path: Path) -> None:
    socket = tmp_path / "runtime/control.sock"
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    assert socket.exists()
    assert lines_of(edge_agent("model", "list", "--socket", socket))[0].startswith("edge-agent: no agent runs here")
    desk.clear()
    with start_agent("run", "config.yaml", cwd=tmp_path, stderr=None) as again:
        try:
            desk.wait_live(True)
            assert edge_agent("model", "list", "--socket", socket).returncode == 0
        finally:
            again.terminate()
    assert again.returncode == 0
    wait_until(lambda: not socket.exists(), "the socket is removed")
