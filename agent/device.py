"""What the agent takes from the machine that it runs on: a name, and a place for what must outlive it."""

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from agent.checked import NAME

STATE = Path("/var/lib/edge-agent")
SERIAL = Path("/proc/device-tree/serial-number")
MACHINE_ID = Path("/etc/machine-id")

# What images and installers call a computer that nobody has named.
GENERIC = re.compile(r"(|localhost|debian|ubuntu|linux|raspberrypi|raspberry|jetson|nvidia|orangepi|rock|tegra-ubuntu)(-?desktop)?")


def device_id(host: str | None = None, serial: Path = SERIAL, machine_id: Path = MACHINE_ID) -> str | None:
    """A name for this device: that of its host, with the board's serial number, or a hash of the machine id, where that is generic.

    None where it is generic and neither is known. The machine id itself stays private, as machine-id(5) asks.
    """
    name = _fitted((host or socket.gethostname()).partition(".")[0])
    if not GENERIC.fullmatch(name):
        return name
    number = _fitted(_read(serial)) or (
        hashlib.sha256(b"edge-agent:" + _read(machine_id).encode()).hexdigest()[:8] if _read(machine_id) else ""
    )
    return _fitted(f"{name}-{number}") if number else None


def _fitted(text: str) -> str:
    """As much of a text as fits `agent.checked.Name`."""
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63]
    return name if NAME.fullmatch(name) else ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:256].decode("ascii", "replace").strip("\0\n ")
    except OSError:
        return ""


def state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """That of systemd's unit, else /var/lib/edge-agent where it can be written, else edge-agent in $XDG_STATE_HOME."""
    if given := env.get("STATE_DIRECTORY", "").partition(":")[0]:  # systemd.exec(5): several are separated by colons
        return Path(given)
    if os.geteuid() == 0 or os.access(STATE, os.W_OK):
        return STATE
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edge-agent"
