"""An operator and a device, whole: edge-fleet, its repository behind a web server, a broker, and the daemon."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.publish.topics import Topics
from tests.agent_process import start_agent
from tests.conftest import ROOT
from tests.fleet_desk import Desk, served
from tests.mosquitto import Mosquitto, Subscriber

TOPICS = Topics("edge", "belt")
CONFIG = """
device: {{id: belt, labels: {{site: lyon}}}}
sources:
  belt: {{type: synthetic, fps: 15}}
models:
  parts: {{bundle: parts@1.0.0, threads: 1}}
pipelines:
  belt: {{source: belt, model: parts}}
mqtt: {{host: {host}, port: {port}}}
updates: {{repository: "{repository}", trust_root: {root}, min_probation_s: 0, min_probation_frames: 5, reserve_mb: 0}}
state_dir: state
"""


class Operator(Desk):
    """A desk that also has a broker."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        super().__init__(folder)
        self._at = ("--mqtt", f"{broker.host}:{broker.port}")

    def give(self, verb: str, what: str, *words: str) -> str:
        """Deploy or roll back, and wait until every device has committed; returns the deployment."""
        said = self.say(verb, what, *words, *self._at)
        deployment = re.search(r"^deployment (\S+): ", said, re.MULTILINE)
        assert deployment is not None, said
        ended = self.say("status", "--deployment", deployment[1], "--wait", "60s", *self._at)
        assert f"deployment {deployment[1]}: 1 committed" in ended
        return deployment[1]

    def has(self) -> str:
        """The version that the one device serves."""
        found = re.search(r"parts (\S+)", self.say("status", *self._at))
        return found[1] if found else ""


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """With two releases, and a device that has installed the first."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker, TOPICS.reported("parts")) as listener:
        operator = Operator(tmp_path, broker)
        operator.say("init", operator.repo)
        for version in ("1.0.0", "1.1.0"):
            operator.say("publish", ROOT / f"models/parts-{version}")
        with served(operator.repo) as repository:
            root = operator.repo / "metadata/1.root.json"
            (tmp_path / "config.yaml").write_text(
                CONFIG.format(host=broker.host, port=broker.port, repository=repository, root=root)
            )
            with start_agent("run", "config.yaml", cwd=tmp_path, stderr=None) as agent:
                try:
                    listener.wait_for(lambda message: json.loads(message.payload)["state"] == "committed", "the first install")
                    yield operator
                finally:
                    agent.terminate()
            assert agent.returncode == 0


def test_from_a_deployment_to_its_rollback(operator: Operator) -> None:
    (operator.keys / "timestamp-1.pem").unlink()
    operator.say("rotate", "timestamp")
    deployment = operator.give("deploy", "parts@1.1.0", "--slot", "parts", "--select", "site=lyon")
    assert operator.has() == "1.1.0"
    operator.give("rollback", deployment)
    assert operator.has() == "1.0.0"
    operator.say("withdraw", "parts@1.1.0", "--reason", "misses gears in dim light")
    assert "is withdrawn (misses gears in dim light)" in operator.refused(
        "deploy", "parts@1.1.0", "--slot", "parts", "--device", "belt", "--mqtt", "localhost"
    )
