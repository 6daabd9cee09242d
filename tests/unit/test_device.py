"""The device's name and the place of its state."""

import os
from pathlib import Path

import pytest

from agent.device import STATE, device_id, state_dir


@pytest.fixture
def serial(tmp_path: Path) -> Path:
    path = tmp_path / "serial-number"
    path.write_bytes(b"10000000A1B2C3D4\0")
    return path


@pytest.fixture
def machine_id(tmp_path: Path) -> Path:
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return path


@pytest.mark.parametrize(
    ("host", "name"),
    [("gate-03", "gate-03"), ("Gate 03.example.org", "gate-03"), ("käse", "k-se"), ("_x_", "x"), ("x" * 80, "x" * 63)],
)
def test_a_host_with_a_name_gives_it(host: str, name: str, serial: Path) -> None:
    assert device_id(host, serial) == name


@pytest.mark.parametrize("host", ["raspberrypi", "localhost", "ubuntu-desktop", "RaspberryPi.local"])
def test_a_generic_name_gets_the_serial_number(host: str, serial: Path) -> None:
    assert device_id(host, serial) == f"{host.lower().partition('.')[0]}-10000000a1b2c3d4"


def test_without_a_serial_number_a_hash_of_the_machine_id(tmp_path: Path, machine_id: Path) -> None:
    name = device_id("localhost", tmp_path / "none", machine_id)
    assert name is not None
    assert name.startswith("localhost-")
    assert len(name) == len("localhost-") + 8
    assert machine_id.read_text()[:8] not in name


def test_without_either_there_is_none(tmp_path: Path) -> None:
    assert device_id("localhost", tmp_path / "none", tmp_path / "none") is None
    assert device_id("---", tmp_path / "none", tmp_path / "none") is None


def test_state_is_kept_where_it_can_be_written() -> None:
    writable = os.geteuid() == 0 or os.access(STATE, os.W_OK)
    assert state_dir({"XDG_STATE_HOME": "/x"}) == (STATE if writable else Path("/x/edge-agent"))


def test_a_unit_of_systemd_has_a_state_of_its_own() -> None:
    assert state_dir({"STATE_DIRECTORY": "/var/lib/edge-agent-2:/other", "XDG_STATE_HOME": "/x"}) == Path("/var/lib/edge-agent-2")
