"""Debounced counts: what a pipeline sees, without the flicker of single frames."""

from collections import deque
from collections.abc import Mapping

HOLD_S = 0.5


class Presence:
    """Counts by label that have held for `hold_s`: a count rises to the least, and falls to the most, that was seen meanwhile."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_ns = int(hold_s * 1e9)
        self._settled: dict[str, int] | None = None
        self._seen: deque[tuple[int, Mapping[str, int]]] = deque()  # back to the last frame before the time to hold

    def update(self, counts: Mapping[str, int], mono_ns: int) -> dict[str, int] | None:
        """The new counts when they have changed; None while nothing changes. The first are believed at once."""
        self._seen.append((mono_ns, counts))
        while len(self._seen) > 1 and self._seen[1][0] <= mono_ns - self._hold_ns:
            self._seen.popleft()
        before = self._settled
        self._settled = dict(counts) if before is None else self._settle(before)
        return None if self._settled == before else self._settled

    def forget(self) -> None:
        """Start over: the camera was lost."""
        self._settled = None
        self._seen.clear()

    def _settle(self, before: Mapping[str, int]) -> dict[str, int]:
        settled = {}
        for label in {*before, *(label for _, counts in self._seen for label in counts)}:
            seen = [counts.get(label, 0) for _, counts in self._seen]
            settled[label] = max(min(seen), min(max(seen), before.get(label, 0)))
        return {label: count for label, count in settled.items() if count}
