"""When the frames of a video are due if it is to pass for a camera."""


class Pace:
    """Frame i is due i / fps after the first. Instants and durations in seconds, of any clock that never goes back."""

    MOST_SKIPPED_S = 1.0  # at once: a device too slow to decode the video in real time still sees some of it

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start: float | None = None

    def skip(self, index: int, now: float) -> int:
        """How many frames, from frame `index`, are already over."""
        if self._start is None:
            self._start = now
        late = max(0, int((now - self._start) * self._fps) - index)
        most = int(self.MOST_SKIPPED_S * self._fps)
        if late > most:
            self._start += (late - most) / self._fps
        return min(late, most)

    def wait(self, index: int, now: float) -> float:
        """How long until frame `index` is due, 0 if it is."""
        if self._start is None:
            self._start = now
        return max(0.0, self._start + index / self._fps - now)
