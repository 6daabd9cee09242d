"""edge-agent as a person starts it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = [sys.executable, "-W", "error", "-m", "agent.cli.main"]


def edge_agent(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=120, env=environment(cwd)
    )


def start_agent(*arguments: str | Path, cwd: Path, stderr: int | None = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a verb; its state lies in `cwd`."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(cwd)
    )


def environment(cwd: Path | None) -> dict[str, str]:
    """Ours, with the agent's state in a folder of the test's own."""
    return {
        **os.environ,
        **({"STATE_DIRECTORY": str(cwd / "state-home"), "RUNTIME_DIRECTORY": str(cwd / "runtime")} if cwd else {}),
    }


def lines_of(run: subprocess.CompletedProcess[str]) -> Sequence[str]:
    """What it complained of."""
    return run.stderr.strip().splitlines()
