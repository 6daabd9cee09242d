"""What the agent leaves for others to see, and what edge-agent health makes of it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from agent.health.heartbeat import NAME, Heartbeat, last_beat


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what the agent wrote."""
    data = json.loads((folder / NAME).read_text())
    (folder / NAME).write_text(json.dumps({**data, **changes}))


def said(folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Status, and the one line that was printed."""
    status = main(["health", "--state-dir", str(folder)])
    out, err = capfd.readouterr()
    assert not (out and err)
    (line,) = (out + err).splitlines()
    return status, line


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("degraded", 0), ("failing", 1)])
def test_what_the_agent_said_last(tmp_path: Path, capfd: pytest.CaptureFixture[str], status: str, code: int) -> None:
    Heartbeat(tmp_path).write("ok")
    Heartbeat(tmp_path).write(status)
    beat = last_beat(tmp_path)
    assert beat is not None
    assert beat.status == status
    assert 0 <= beat.age_s < 60
    assert said(tmp_path, capfd) == (code, f"{status}, reported 0 s ago")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_silent_agent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Heartbeat(tmp_path).write("ok")
    rewrite(tmp_path, mono_s=time.monotonic() - 200)
    assert said(tmp_path, capfd) == (1, "edge-agent: the agent has not reported for 200 s; it was ok then")


def test_no_agent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nobody = (1, f"edge-agent: no agent runs with its state in {tmp_path}; for another folder, say --state-dir DIR")
    assert said(tmp_path, capfd) == nobody
    heartbeat = Heartbeat(tmp_path)
    heartbeat.write("ok")
    rewrite(tmp_path, boot="an earlier start of the computer")
    assert said(tmp_path, capfd) == nobody
    heartbeat.write("ok")
    heartbeat.remove()
    heartbeat.remove()
    assert said(tmp_path, capfd) == nobody


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"status": "ok", "mono_s": "soon", "boot": ""}'])
def test_nonsense_is_no_agent(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    assert last_beat(tmp_path) is None


def test_a_disk_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heartbeat = Heartbeat(tmp_path / "none")
    heartbeat.write("ok")
    heartbeat.write("ok")
    (record,) = caplog.records
    assert "cannot be written: No such file or directory" in record.message
    heartbeat.remove()
