"""Ctrl-C, noticed where nothing is under way."""

import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Interruption:
    """A context in which Ctrl-C waits until `check`.

    As an exception out of anything, it would be lost in the finalizer of a frame, and leave things half done.
    asked: whether there has been one. wake: called at Ctrl-C, to end a wait.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self.asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """KeyboardInterrupt where there has been a Ctrl-C."""
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        self.asked = True
        self.wake()
