"""The agent's sign of life: a small file that other processes on the same computer may look at."""

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

NAME = "heartbeat"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Beat(NamedTuple):
    """The agent's status, and how long ago it said so."""

    status: str
    age_s: float


class Heartbeat:
    """Written at each report of health, removed at a clean end. It is whole at any moment, and need not survive a power cut."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / NAME
        self._failed = False

    def write(self, status: str) -> None:
        """Say how things are now. Where that cannot be written, the file grows old, which tells the same."""
        part = self._file.with_suffix(".part")
        try:
            part.write_text(json.dumps({"status": status, "mono_s": time.monotonic(), "boot": _boot()}), encoding="utf-8")
            part.rename(self._file)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("%s cannot be written: %s; edge-agent health will report a dead agent", self._file, error.strerror)
            self._failed = True

    def remove(self) -> None:
        """There is no agent any more."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def last_beat(state_dir: Path) -> Beat | None:
    """What the agent with this state said last since the computer was started; None for nothing."""
    try:
        data = json.loads((state_dir / NAME).read_bytes())
        beat = Beat(str(data["status"]), time.monotonic() - float(data["mono_s"]))
        boot = data["boot"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return beat if boot == _boot() else None


def _boot() -> str:
    """Which start of the computer this is: CLOCK_MONOTONIC, the same for all processes, begins afresh with each."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
