"""How far a long job is, on stderr."""

import sys
import time

SILENT_S = 2.0
TERMINAL_S, LINES_S = 0.2, 10.0


class Progress:
    """Says nothing for two seconds; then a line that changes on a terminal, or a line from time to time."""

    def __init__(self, total: int, things: str) -> None:
        self._total = total
        self._things = things
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + SILENT_S
        self._shown = False

    def show(self, done: int) -> None:
        """Called after each step."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (TERMINAL_S if self._terminal else LINES_S)
        self._shown = True
        text = f"{done} of {self._total} {self._things}"
        print(f"\r{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave an empty line on a terminal."""
        if self._shown and self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
