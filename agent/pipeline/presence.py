"""Debounced counts: what a pipeline sees, without the flicker of single frames."""

from collections.abc import Mapping

HOLD_S = 0.5


class Presence:
    """Counts by label that have held for `hold_s`."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_ns = int(hold_s * 1e9)
        self._settled: Mapping[str, int] | None = None
        self._candidate: Mapping[str, int] | None = None
        self._since_ns = 0

    def update(self, counts: Mapping[str, int], mono_ns: int) -> Mapping[str, int] | None:
        """The new counts when they have changed and held; None while nothing changes."""
        if counts != self._candidate:
            self._candidate, self._since_ns = counts, mono_ns
        if counts == self._settled or (self._settled is not None and mono_ns - self._since_ns < self._hold_ns):
            return None
        self._settled = counts
        return counts

    def forget(self) -> None:
        """Start over: the camera was lost."""
        self._settled = self._candidate = None
