"""The two clocks: the monotonic one for arithmetic, the wall clock for messages alone."""

import time


def now() -> tuple[int, int]:
    """(monotonic, UTC) in nanoseconds."""
    return time.monotonic_ns(), time.time_ns()
