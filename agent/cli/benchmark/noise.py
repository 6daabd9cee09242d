"""Whether the computer was quiet enough for figures to be believed."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

MOST_SPREAD = 0.1  # of the rounds of one and the same work
MOST_STEAL = 0.02
MOST_OTHERS = 0.15  # of the computer's time


class Noise:
    """What the kernel says of others' work, from here to `problems`."""

    def __init__(self) -> None:
        self._before = _ticks()
        self._own_before = _own_s()

    def problems(self, rounds: Sequence[float] = ()) -> list[str]:
        """Why figures may be wrong, in words; nothing where the computer was quiet.

        rounds: figures of one and the same work. All that this process has started must have been waited for: the kernel
        counts their time then.
        """
        found = []
        if len(rounds) > 1 and (spread := (max(rounds) - min(rounds)) / statistics.median(rounds)) > MOST_SPREAD:
            found.append(f"equal rounds differ by {spread:.0%}")
        busy, steal, total = (after - before for after, before in zip(_ticks(), self._before, strict=True))
        if total and steal / total > MOST_STEAL:
            found.append(f"the host took {steal / total:.0%} of the time away from this virtual machine")
        own = (_own_s() - self._own_before) * os.sysconf("SC_CLK_TCK")
        share = (busy - own) / total if total else 0.0
        if share > MOST_OTHERS:
            found.append(f"other programs used {share:.0%} of the processors")
        return found


def _ticks() -> tuple[int, int, int]:
    """Busy, stolen and all ticks of all processors so far. Source: proc(5), /proc/stat."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + steal + idle + iowait


def _own_s() -> float:
    """Processor time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def processor() -> str:
    """The processor's name and number, for whoever reads the figures."""
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    board = Path("/proc/device-tree/model")
    name = names[0] if names else board.read_text().rstrip("\0") if board.exists() else os.uname().machine
    return f"{len(os.sched_getaffinity(0))} x {name}"
