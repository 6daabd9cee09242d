"""Where on its chain of delegates a model is to run: down after strikes, up again after clean minutes. Seconds of any clock."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """strikes: failures within `within_s` that move a model down. clean_s: without a failure, after which the way up is tried.

    longest_s: after which it is tried at the latest; each try in vain doubles the time to the next.
    """

    strikes: int = 3
    within_s: float = 600.0
    clean_s: float = 600.0
    longest_s: float = 7200.0


class DelegateChain:
    """Rungs are numbered from the best, 0, and all from `first` on are to be tried in turn."""

    def __init__(self, rungs: int, policy: ChainPolicy) -> None:
        self.first = 0
        self._rungs = rungs
        self._policy = policy
        self._serving: int | None = None
        self._strikes: deque[float] = deque(maxlen=policy.strikes)
        self._clean_since = 0.0
        self._up_after_s = policy.clean_s

    def serves(self, rung: int, now: float) -> None:
        """A worker has begun to serve on a rung."""
        self._serving = rung
        self._clean_since = now

    def struck(self, now: float) -> None:
        """The worker has failed: with enough strikes that moves the model down, but never from the last rung."""
        if self._clean(now, self._policy.clean_s):
            self._strikes.clear()
        culprit, self._serving = self.first if self._serving is None else self._serving, None
        self._strikes.append(now)
        enough = len(self._strikes) == self._policy.strikes and now - self._strikes[0] < self._policy.within_s
        if enough and culprit + 1 < self._rungs:
            self.first = culprit + 1
            self._strikes.clear()
            self._up_after_s = self._policy.clean_s

    def due_up(self, now: float) -> bool:
        """Whether it has been clean for so long on a rung that is not the best that those above are to be tried."""
        return self._serving != 0 and self._clean(now, self._up_after_s)

    def tried_up(self, now: float) -> None:
        """The way up was tried in vain: not again before it has been clean for twice as long."""
        self._strikes.clear()
        self._clean_since = now
        self._up_after_s = min(2 * self._up_after_s, self._policy.longest_s)

    def start_over(self) -> None:
        """Everything may be tried again: a better rung serves, or none from `first` on is to be had."""
        self.first = 0
        self._serving = None
        self._strikes.clear()
        self._up_after_s = self._policy.clean_s

    def _clean(self, now: float, for_s: float) -> bool:
        return self._serving is not None and now - self._clean_since >= for_s
