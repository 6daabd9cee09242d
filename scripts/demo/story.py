"""What happens to the slot's model, in words, from what the desk does and the device reports."""

import time
from typing import Literal, NamedTuple

from agent.fleet.rollout import DEFERRED, ERRORS
from agent.publish.orders import BundleRef, Reported, Swap

Who = Literal["desk", "device"]

WORDS: dict[str, str] = {
    "accepted": "looks {version} up in the repository, and proves who signed it",
    "downloading": "fetches what it does not have of {version}",
    "verified": "{version} is here, file by file; is there room for both models?",
    "vetting": "{version} is tried on its samples, in a process of its own; {serving} serves on",
    "staged": "{version} does what it says",
    "switching": "between two frames",
    "probation": "{version} serves and is watched; {serving} is kept warm, to go back at once",
    "committed": "{version} stays; {previous} has ended",
    "rejected": "{serving} serves on; {version} is refused {why}",
    "failed": "{serving} serves on; {version} is given up {why}",
    "rolled_back": "{serving} serves again; {version} has failed {why}",
}
UNKNOWN = "the model"  # before the device has found it


class Line(NamedTuple):
    """at_s: seconds after the start."""

    at_s: float
    who: Who
    text: str


class Story:
    """From the start on, which is when it is made. Any thread may ask; one hears the device, one tells of the desk.

    lines: all of it, which only ever grows. outcomes: what is worth saying at the end. reported: the device's newest word. swap:
    the last.
    """

    def __init__(self, frame_ms: float) -> None:
        """frame_ms: between two frames of the camera."""
        self.lines: list[Line] = []
        self.outcomes: list[str] = []
        self.reported: Reported | None = None
        self.swap: Swap | None = None
        self._frame_ms = frame_ms
        self._start = time.monotonic()
        self._version = UNKNOWN

    @property
    def running_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def tell(self, who: Who, text: str) -> None:
        """Add a line."""
        self.lines.append(Line(self.running_s, who, text))

    def hear(self, reported: Reported) -> None:
        """Put a report of the device into words, as far as it is news."""
        before, self.reported = self.reported, reported
        if before is None or before.deployment != reported.deployment:
            self._version = UNKNOWN
        if reported.target is not None:
            self._version = reported.target.version
        if before is None or _stage(before) != _stage(reported):
            self._tell_stage(reported)
        if reported.swap is not None and reported.swap != self.swap:
            self.swap = reported.swap
            self._tell_swap(reported.swap)

    def _tell_stage(self, reported: Reported) -> None:
        if reported.deferred is not None:
            self.tell("device", f"waits {DEFERRED[reported.deferred]}")
            return
        if reported.state not in WORDS:
            return
        error, serving = reported.error, _version(reported.current)
        why = f"({error.code}): {ERRORS[error.code]}" if error else ""
        text = WORDS[reported.state].format(version=self._version, serving=serving, previous=_version(reported.previous), why=why)
        self.tell("device", f"{reported.state}: {text}")
        if error:
            self.tell("device", error.detail)
            self.outcomes.append(f"{self._version} {reported.state} {why}; {serving} serves")
        elif reported.state == "committed":
            self.outcomes.append(f"{self._version} committed")

    def _tell_swap(self, swap: Swap) -> None:
        text = f"gap {swap.gap_ms:.1f} ms from answer to answer, {self._frame_ms:.1f} ms is usual; {swap.frames_lost} frames lost"
        self.tell("device", f"at the switch: {text}")
        self.outcomes.append(f"switch to {self._version}: {text}")


def _version(bundle: BundleRef | None) -> str:
    return bundle.version if bundle else "none"


def _stage(reported: Reported) -> tuple[str | None, str, str | None]:
    return reported.deployment, reported.state, reported.deferred
