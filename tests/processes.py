"""What the kernel says of processes."""

import os
import select
from pathlib import Path

from tests.waiting import DEADLINE_S


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_for_end(pid: int, deadline_s: float = DEADLINE_S) -> None:
    """Return once a process has ended, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], deadline_s)[0], f"process {pid} still runs after {deadline_s} s"
    finally:
        os.close(descriptor)
