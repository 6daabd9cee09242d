"""Ids of executed commands outlive the agent, and no more of them than needed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.commands.executed import KEPT, ExecutedIds
from tests.conftest import ROOT


def test_they_outlive_the_agent(tmp_path: Path) -> None:
    ids = ExecutedIds(tmp_path)
    assert "a" not in ids
    ids.add("a")
    ids.add("b")
    again = ExecutedIds(tmp_path)
    assert "a" in again
    assert "b" in again
    assert "c" not in again


def test_the_newest_are_kept(tmp_path: Path) -> None:
    ids = ExecutedIds(tmp_path)
    for number in range(KEPT + 10):
        ids.add(f"c{number}")
    for one in (ids, ExecutedIds(tmp_path)):
        assert [number for number in range(KEPT + 10) if f"c{number}" not in one] == list(range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["commands"]


KILLED = """
import os, signal, sys
from pathlib import Path
from agent.commands.dispatcher import Dispatcher
from agent.commands.executed import ExecutedIds
from agent.publish.orders import Command
from agent.publish.topics import Topics
from tests.controls import FakeControls
from tests.fakes import RecordingPublisher

class Deadly(FakeControls):
    def pause(self, pipeline):
        os.kill(os.getpid(), signal.SIGKILL)

executed = ExecutedIds(Path(sys.argv[1]))
settings = {"allowed": ["pause"], "executed": executed, "clock_synced": lambda: True}
dispatcher = Dispatcher(Deadly(), RecordingPublisher(), Topics("edge", "gate-03"), **settings)
print(dispatcher.execute(Command(id="deadly", op="pause", args={"pipeline": "gate"}), "anna").error)
"""


def test_a_command_that_kills_the_agent_kills_it_once(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
        )

    assert run().returncode == -signal.SIGKILL
    assert run().stdout.startswith("it was executed before the agent was last started")


@pytest.mark.parametrize(
    "content", [b"", b'{"v":1,"ids":["a"', b'{"v":2,"ids":["a"]}', b'{"v":1,"ids":[7]}', b"\xff\xfe", b"[" * 10000]
)
def test_a_torn_file_is_set_aside(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "commands").write_bytes(content)
    ids = ExecutedIds(tmp_path)
    assert "a" not in ids
    assert (tmp_path / "commands.bad").read_bytes() == content
    assert len(caplog.records) == 1
    ids.add("a")
    assert "a" in ExecutedIds(tmp_path)
    assert len(caplog.records) == 1
