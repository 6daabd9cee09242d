"""Two agents never share a state folder; a dead one holds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.control.lock import StateLock
from agent.errors import ConfigError

HOLDER = """
import sys
from pathlib import Path
from agent.control.lock import StateLock
lock = StateLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    first = StateLock(tmp_path / "state")
    with pytest.raises(ConfigError) as caught:
        StateLock(tmp_path / "state")
    assert str(caught.value) == (
        f"state_dir: {tmp_path}/state: another agent runs with it, process {os.getpid()}; "
        "stop that one, or give this one a state_dir of its own"
    )
    first.release()
    StateLock(tmp_path / "state").release()


def test_a_killed_agent_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid};"):
            StateLock(tmp_path)
        holder.kill()
    StateLock(tmp_path).release()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/state: Not a directory: name a folder that can be written"):
        StateLock(tmp_path / "file/state")
