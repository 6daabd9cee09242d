"""Where a source leaves frames for a pipeline."""

import threading
from bisect import insort

from agent.core.types import Frame


class Mailbox:
    """Holds one frame. Live: the latest wins, and what it replaces is counted. Else the source waits until it is taken.

    Frames that are given back come before it, in their order.
    """

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.frames_in = 0
        self.frames_dropped = 0
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._given_back: list[Frame] = []
        self._next_seq = 0
        self._ended = False

    def put(self, frame: Frame) -> None:
        """Leave a frame; unless live, waits until the one before is taken, or until `end`."""
        with self._changed:
            if not self.live:
                self._changed.wait_for(lambda: self._frame is None or self._ended)
            missed = max(0, frame.seq - self._next_seq)  # dropped by the source: no slot was free
            self._next_seq = frame.seq + 1
            self.frames_in += 1 + missed
            self.frames_dropped += missed
            if self._frame is not None or self._ended:
                self.frames_dropped += 1
            if not self._ended:
                self._frame = frame
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is a frame to take; False after the timeout, or once `over`."""
        with self._changed:
            self._changed.wait_for(lambda: self._holds_one() or self._ended, timeout_s)
            return self._holds_one()

    def get(self, timeout_s: float) -> Frame | None:
        """Take the frame; None after the timeout, or once `over`."""
        with self._changed:
            self._changed.wait_for(lambda: self._holds_one() or self._ended, timeout_s)
            if self._given_back:
                return self._given_back.pop(0)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def give_back(self, frame: Frame) -> None:
        """Return a frame of which nothing has become through no fault of its own; it is taken again before newer ones."""
        with self._changed:
            insort(self._given_back, frame, key=lambda frame: frame.seq)
            self._changed.notify_all()

    def end(self) -> None:
        """No more frames will come; the last may still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether it has ended and the last frame is taken."""
        with self._changed:
            return self._ended and not self._holds_one()

    def _holds_one(self) -> bool:
        return self._frame is not None or bool(self._given_back)
