"""How long to wait before the next try."""

import random


class Backoff:
    """Doubling delays with jitter: each is between half and all of min(cap, first * 2^n) seconds."""

    def __init__(self, first_s: float, cap_s: float, *, at_once: bool = False) -> None:
        """at_once: the first try after a success comes without delay."""
        self._first_s = first_s
        self._cap_s = cap_s
        self._at_once = at_once
        self._tries = 0

    def next_s(self) -> float:
        """The delay before the next try."""
        doublings = self._tries - self._at_once
        self._tries += 1
        if doublings < 0:
            return 0.0
        full = min(self._cap_s, self._first_s * 2.0 ** min(doublings, 32))
        return full * random.uniform(0.5, 1.0)  # noqa: S311  spreads a fleet's retries, keeps no secret

    def reset(self) -> None:
        """Start over, after success."""
        self._tries = 0
