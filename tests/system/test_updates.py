"""Models over the air, by the daemon as people run it: published at a desk, wished for over a broker, killed on the way."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema
import pytest

from agent.fleet.repository import FleetRepository
from agent.publish.messages import now_text
from agent.publish.topics import Topics
from tests.agent_process import edge_agent, lines_of, start_agent
from tests.conftest import ROOT
from tests.mosquitto import Mosquitto, Subscriber
from tests.waiting import DEADLINE_S

TOPICS = Topics("edge", "belt")
SCHEMA = json.loads((ROOT / "docs/schema/reported.json").read_text())
LONG_S = 40.0
PHASES = ("accepted", "downloading", "verified", "vetting", "staged", "switching", "probation")
CONFIG = """
device: {{id: belt}}
sources:
  belt: {{type: synthetic, fps: 30}}
models:
  parts: {{bundle: {bundle}, threads: 1}}
pipelines:
  belt: {{source: belt, model: parts}}
mqtt: {{host: {host}, port: {port}, commands: [cancel, install]}}
updates: {{repository: "{url}", trust_root: root.json, min_probation_s: 1, min_probation_frames: 20, sideload: true}}
state_dir: state
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
        """Say nothing."""


class Desk(Subscriber):
    """An operator: publishes bundles, says which is wanted, and reads what the device reports."""

    def __init__(self, broker: Mosquitto, repository: Path) -> None:
        super().__init__(broker, "edge/v1/belt/#")
        self.repository = repository
        self.rev = 0

    def deploy(self, version: str, **policy: Any) -> None:
        """Wish for a version of parts."""
        release = FleetRepository(self.repository).find("parts", version)
        assert release is not None
        self.rev += 1
        names = {"bundle": "parts", "version": version, "digest": release.digest, "by": "erika"}
        self.wish(json.dumps({"v": 1, "rev": self.rev, "deployment": f"d{self.rev}", **names, "policy": policy}).encode())

    def wish(self, payload: bytes) -> None:
        """Publish any desired, retained."""
        self._client.publish(TOPICS.desired("parts"), payload, qos=1, retain=True).wait_for_publish(DEADLINE_S)

    def reports(self) -> list[dict[str, Any]]:
        """What was reported, each checked by the schema."""
        reports = [json.loads(payload) for payload in self.payloads(TOPICS.reported("parts"))]
        for report in reports:
            jsonschema.validate(report, SCHEMA)
        return reports

    def wait(self, state: str | Sequence[str], that: Callable[[dict[str, Any]], bool] = lambda _report: True) -> dict[str, Any]:
        """Wait for a report of that state, or one of them, of the newest wish."""
        states = [state] if isinstance(state, str) else state

        def fits(report: dict[str, Any]) -> bool:
            return report["state"] in states and report["rev_seen"] == self.rev and that(report)

        self.wait_for(
            lambda message: message.topic == TOPICS.reported("parts") and fits(json.loads(message.payload)), str(states), LONG_S
        )
        return next(report for report in self.reports() if fits(report))

    def results(self) -> list[tuple[int, str]]:
        """Frame number and version of each result."""
        results = [json.loads(payload) for payload in self.payloads(TOPICS.results("belt"))]
        return [(result["frame_seq"], result["model"]["version"]) for result in results]

    def wait_result(self, version: str) -> None:
        """Wait for a result of a version, from now on."""
        seen = len(self.results())
        self.wait_for(lambda _message: version in {of for _, of in self.results()[seen:]}, f"a result of {version}", LONG_S)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with parts 1.1.0, and a 1.2.0 whose golden samples are wrong."""
    folder = tmp_path_factory.mktemp("desk")
    broken = folder / "parts-1.2.0"
    shutil.copytree(ROOT / "models/parts-1.1.0", broken)
    manifest = broken / "bundle.yaml"
    manifest.write_text(manifest.read_text().replace('version: "1.1.0"', 'version: "1.2.0"'))
    labels = (broken / "labels.txt").read_text().splitlines()
    (broken / "labels.txt").write_text("\n".join(reversed(labels)) + "\n")
    fleet(folder, "init", "models")
    for bundle in (ROOT / "models/parts-1.1.0", broken):
        fleet(folder, "publish", bundle)
    return folder / "models"


def fleet(folder: Path, *words: str | Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "agent.fleet.main", *map(str, words)]
    repo = [] if words[0] == "init" else ["--repo", str(folder / "models")]
    subprocess.run([*command, *repo], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture
def site(published: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(published))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def desk(broker: Mosquitto, published: Path) -> Iterator[Desk]:
    with Desk(broker, published) as desk:
        yield desk


@pytest.fixture
def start(broker: Mosquitto, site: str, published: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the agent, whose first model is parts 1.0.0; what still runs at the end is ended, and must end well."""
    bundle = ROOT / "models/parts-1.0.0"
    (tmp_path / "config.yaml").write_text(CONFIG.format(bundle=bundle, host=broker.host, port=broker.port, url=site))
    shutil.copy(published / "metadata/1.root.json", tmp_path / "root.json")
    with ExitStack() as stack:

        def begin() -> subprocess.Popen[str]:
            agent = stack.enter_context(start_agent("run", "config.yaml", cwd=tmp_path, stderr=None))
            stack.callback(end, agent)
            return agent

        yield begin


def end(agent: subprocess.Popen[str]) -> None:
    """As systemd ends it."""
    if agent.poll() is None:
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(DEADLINE_S) == 0
        assert time.monotonic() - began < 5


def kill(agent: subprocess.Popen[str]) -> str:
    """Returns the instant at which it was surely dead."""
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    return now_text()


def test_a_model_is_swapped_under_a_running_stream_and_a_broken_one_is_refused(
    start: Callable[[], subprocess.Popen[str]], desk: Desk, tmp_path: Path
) -> None:
    start()
    desk.wait_result("1.0.0")
    desk.deploy("1.1.0")
    report = desk.wait("committed", lambda report: report["swap"] is not None)
    assert (report["current"]["version"], report["previous"]["version"], report["swap"]["frames_lost"]) == ("1.1.0", "1.0.0", 0)
    assert report["swap"]["gap_ms"] > 0
    desk.wait_result("1.1.0")
    desk.deploy("1.2.0")
    report = desk.wait("rejected")
    assert (report["error"]["code"], report["error"]["phase"]) == ("golden_mismatch", "vetting")
    desk.wait_result("1.1.0")
    states = [report["state"] for report in desk.reports() if report["rev_seen"] == 1]
    assert sorted(set(states), key=states.index) == [*PHASES, "committed"]
    sequence = [seq for seq, _ in desk.results()]
    assert sequence == sorted(set(sequence))
    versions = [version for _, version in desk.results()]
    assert versions == sorted(versions)
    assert "quarantined" in lines_of(edge_agent("model", "install", "parts@1.2.0", cwd=tmp_path))[-1]
    assert edge_agent("model", "rollback", cwd=tmp_path).returncode == 0
    desk.wait_result("1.0.0")


def test_nonsense_is_told_and_changes_nothing(start: Callable[[], subprocess.Popen[str]], desk: Desk) -> None:
    start()
    desk.wait_result("1.0.0")
    for payload in (b"{", b"[]", b'{"v":1}', b"\xff" * 20_000):  # the last is not even looked at
        desk.wish(payload)
    desk.wait_for(lambda _message: len(events(desk, "malformed")) == 3, "three complaints")
    desk.wish(b"")
    desk.deploy("1.1.0")
    desk.wait("committed")


def events(desk: Desk, code: str) -> list[dict[str, Any]]:
    found = [json.loads(payload) for payload in desk.payloads(TOPICS.events("update"))]
    return [event for event in found if event["code"] == code]


def test_an_agent_that_is_killed_in_each_state_before_the_switch_goes_on(
    start: Callable[[], subprocess.Popen[str]], desk: Desk
) -> None:
    """A state may be over when the kill comes; then that comes in a later one."""
    agent = start()
    desk.deploy("1.1.0")
    killed_at = ""
    for nth in range(PHASES.index("switching")):
        desk.wait(PHASES[nth:], lambda report, since=killed_at: report["at"] > since)  # type: ignore[misc]
        killed_at = kill(agent)
        agent = start()
    report = desk.wait("committed", lambda report: report["at"] > killed_at)
    assert (report["current"]["version"], report["rev_applied"]) == ("1.1.0", 1)


@pytest.mark.parametrize("phase", ["switching", "probation"])
def test_an_agent_that_is_killed_once_while_a_model_takes_over_goes_on(
    start: Callable[[], subprocess.Popen[str]], desk: Desk, phase: str
) -> None:
    agent = start()
    desk.deploy("1.1.0")
    desk.wait(phase)
    killed_at = kill(agent)
    start()
    report = desk.wait("committed", lambda report: report["at"] > killed_at)
    assert (report["current"]["version"], report["rev_applied"]) == ("1.1.0", 1)
    desk.wait_result("1.1.0")


def test_an_agent_that_is_killed_twice_in_probation_goes_back(start: Callable[[], subprocess.Popen[str]], desk: Desk) -> None:
    agent = start()
    desk.deploy("1.1.0", probation_frames=10_000_000)
    killed_at = ""
    for _ in range(2):
        desk.wait("probation", lambda report, since=killed_at: report["at"] > since)  # type: ignore[misc]
        killed_at = kill(agent)
        agent = start()
    report = desk.wait("rolled_back")
    assert (report["error"]["code"], report["current"]["version"]) == ("interrupted", "1.0.0")
    desk.wait_result("1.0.0")


@pytest.mark.parametrize("phase", ["downloading", "vetting", "probation"])
def test_without_a_broker_a_deployment_goes_on_and_is_reported_afterwards(
    start: Callable[[], subprocess.Popen[str]], desk: Desk, broker: Mosquitto, phase: str
) -> None:
    """The broker forgets everything, too: what is retained is told again."""
    start()
    desk.wait_result("1.0.0")
    desk.deploy("1.1.0")
    desk.wait(phase)
    broker.kill()
    desk.clear()
    broker.start()
    with Desk(broker, desk.repository) as again:
        again.rev = 1
        report = again.wait("committed", lambda report: report["swap"] is not None)
        assert (report["current"]["version"], report["swap"]["frames_lost"]) == ("1.1.0", 0)
        for topic in (TOPICS.info, TOPICS.health, TOPICS.state("belt"), TOPICS.source("belt"), TOPICS.availability):
            again.wait_topic(topic)


def test_a_bundle_that_is_put_into_the_sideload_folder_is_installed(
    start: Callable[[], subprocess.Popen[str]], desk: Desk, tmp_path: Path
) -> None:
    start()
    desk.wait_result("1.0.0")
    shutil.copytree(ROOT / "models/parts-1.1.0", tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / "state/sideload/parts")
    report = desk.wait("committed")
    assert (report["current"]["version"], report["by"]) == ("1.1.0", "sideload")
