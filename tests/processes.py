"""What the kernel says of processes."""

import os
import re
import select
from pathlib import Path
from typing import NamedTuple

from tests.waiting import DEADLINE_S

MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) *(.*)")  # proc(5): address perms offset dev inode path

LOOKS = 5


def open_descriptors() -> int:
    """Of this process: the fewest of several looks, since threads open files in /proc for a moment."""
    return min(len(os.listdir("/proc/self/fd")) for _ in range(LOOKS))  # noqa: PTH208  names are enough


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


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


class Usage(NamedTuple):
    """What a process and those that it started use. dirty_kb: Private_Dirty of all, and memory files once."""

    descriptors: int
    threads: int
    processes: int
    dirty_kb: int


def usage(pid: int) -> Usage:
    """Of a process and those that it started."""
    pids = [pid, *children(pid)]
    descriptors, threads = (sum(len(list(Path(f"/proc/{p}/{folder}").iterdir())) for p in pids) for folder in ("fd", "task"))
    return Usage(descriptors, threads, len(pids), dirty_kb(pids))


def dirty_kb(pids: list[int]) -> int:
    """Private_Dirty of processes in kB; a memory file, which is private to who alone has touched it, is counted whole, and once."""
    private, memfds = 0, dict[str, int]()
    for pid in pids:
        memfd = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if mapping := MAPPING.match(line):
                memfd = mapping[1] if mapping[2].startswith("/memfd:") else ""
            elif memfd and line.startswith("Rss:"):
                memfds[memfd] = max(memfds.get(memfd, 0), int(line.split()[1]))
            elif not memfd and line.startswith("Private_Dirty:"):
                private += int(line.split()[1])
    return private + sum(memfds.values())
