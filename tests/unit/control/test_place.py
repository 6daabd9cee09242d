"""Where the agent listens, and where a command looks for it."""

import os
from pathlib import Path

import pytest

from agent.control.place import find_socket, socket_path
from agent.device import STATE, state_dir

ROOT = os.geteuid() == 0


def test_systemd_gives_a_place(tmp_path: Path) -> None:
    env = {"RUNTIME_DIRECTORY": f"{tmp_path}/run:/run/other"}
    assert socket_path(tmp_path / "state", env) == tmp_path / "run/control.sock"
    assert socket_path(STATE, env) == tmp_path / "run/control.sock"


def test_a_state_folder_of_its_own(tmp_path: Path) -> None:
    assert socket_path(tmp_path, {"XDG_RUNTIME_DIR": "/run/user/7"}) == tmp_path / "control.sock"


def test_the_usual_place() -> None:
    env = {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/home/anna/.state"}
    usual = socket_path(state_dir(env), env)
    assert usual == (Path("/run/edge-agent") if ROOT else Path("/run/user/7/edge-agent")) / "control.sock"


@pytest.mark.skipif(ROOT, reason="root listens in /run")
def test_at_last_the_state_folder() -> None:
    env = {"XDG_STATE_HOME": "/home/anna/.state"}
    assert socket_path(state_dir(env), env) == state_dir(env) / "control.sock"


def test_a_command_looks_where_something_is(tmp_path: Path) -> None:
    env = {"RUNTIME_DIRECTORY": str(tmp_path)}
    (tmp_path / "control.sock").touch()
    assert find_socket(env) == tmp_path / "control.sock"
