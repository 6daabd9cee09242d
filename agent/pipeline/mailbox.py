"""Where a source leaves frames for a pipeline."""

import threading

from agent.core.types import Frame


class Mailbox:
    """Holds one frame. Live: the latest wins, and what it replaces is counted. Else the source waits until it is taken."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.frames_in = 0
        self.frames_dropped = 0
        self._changed = threading.Condition()
        self._frame: Frame | None = None
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

    def get(self, timeout_s: float) -> Frame | None:
        """Take the frame; None after the timeout, or once `over`."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended, timeout_s)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def end(self) -> None:
        """No more frames will come; the last may still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether it has ended and the last frame is taken."""
        with self._changed:
            return self._ended and self._frame is None
