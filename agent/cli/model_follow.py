"""Follows a deployment of the running agent until it has succeeded or failed."""

import sys
import time

from agent.cli.daemon import Daemon
from agent.cli.model_list import named, stage
from agent.errors import ControlError
from agent.publish.orders import Reported

LOOK_S = 0.2
BEGIN_S = 10.0  # for the agent to take up what it has agreed to
ENDS = ("committed", "rejected", "failed", "rolled_back")


def follow(daemon: Daemon, slot: str, before: Reported) -> None:
    """Say what happens until it is over. before: what the slot reported before this was asked. ControlError where it fails."""
    line = _Line()
    try:
        end = _end(daemon, slot, before, line)
    finally:
        line.close()
    if end.state != "committed":
        error = end.error
        why = f"{error.code} in {error.phase}: {error.detail}" if error else "no reason is given"
        raise ControlError(f"{slot}: {end.state.replace('_', ' ')}: {why}; it has {named(end.current)}")
    swap = end.swap
    figures = f"; {swap.gap_ms:.0f} ms without an answer, {swap.frames_lost} frames lost" if swap else ""
    print(f"{slot}: {named(end.current)} serves{figures}")


def _end(daemon: Daemon, slot: str, before: Reported, line: "_Line") -> Reported:
    """The last that is reported of the deployment that comes after `before`."""
    ours: str | None = None
    deadline = time.monotonic() + BEGIN_S
    while True:
        now = daemon.reported(slot)
        if ours is None and now.deployment != before.deployment:
            ours = now.deployment
        if ours is None:
            if time.monotonic() > deadline:
                raise ControlError(f"{slot}: the agent has not begun within {BEGIN_S:g} s; its log may say why")
        elif now.deployment != ours:
            raise ControlError(f"{slot}: deployment {now.deployment}, by {now.by}, has taken its place")
        elif now.state in ENDS:
            return now
        else:
            what = f"{named(now.target)} " if now.target else ""
            line.show(f"{slot}: {what}{stage(now)}", now.state)
        time.sleep(LOOK_S)


class _Line:
    """On a terminal a line that changes; elsewhere a line each time that the state is another."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._state = ""

    def show(self, text: str, state: str) -> None:
        """What is so now."""
        if self._terminal and text != self._shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif not self._terminal and state != self._state:
            print(text, file=sys.stderr, flush=True)
        self._shown, self._state = text, state

    def close(self) -> None:
        """Leave an empty line on a terminal."""
        if self._shown and self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
