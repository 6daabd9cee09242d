"""Where the control socket lies."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.device import state_dir as usual_state_dir

NAME = "control.sock"
SYSTEM = Path("/run/edge-agent")


def socket_path(state_dir: Path, env: Mapping[str, str] = os.environ) -> Path:
    """Where the agent with this state listens: in systemd's RuntimeDirectory of its unit, where that gives one.

    Else in a state folder of its own, if its config names one, so that two agents never want the same place. Else in
    /run/edge-agent for root, in $XDG_RUNTIME_DIR/edge-agent for others, and at last in the state folder.
    """
    given = env.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd.exec(5): several are separated by colons
    if given:
        return Path(given) / NAME
    if state_dir != usual_state_dir(env):
        return state_dir / NAME
    return next(iter(_usual(env)), state_dir) / NAME


def find_socket(env: Mapping[str, str] = os.environ) -> Path:
    """Where the agent of this computer is most likely to listen, seen from another process."""
    places = [*_usual(env), SYSTEM, usual_state_dir(env)]
    if given := env.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        places.insert(0, Path(given))
    return next((place / NAME for place in places if os.path.lexists(place / NAME)), places[0] / NAME)


def _usual(env: Mapping[str, str]) -> list[Path]:
    runtime = env.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0:
        return [SYSTEM]
    return [Path(runtime) / "edge-agent"] if runtime else []


@contextmanager
def folder_of(path: Path) -> Iterator[str]:
    """A short name of a socket, good while this lasts: a socket's address has room for 107 bytes, unix(7)."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
