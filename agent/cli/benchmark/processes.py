"""What the kernel says of the agent's processes. Source: proc(5)."""

import os
from collections import Counter
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ROLES = {b"agent.worker.model_child": "model worker", b"agent.worker.camera_child": "camera worker"}


def family(pid: int) -> list[int]:
    """A process and its children."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [pid, *(int(child) for task in tasks for child in (task / "children").read_text().split())]


def cpu_s(pids: list[int]) -> float:
    """User and system time of processes so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) * TICK_S


def pss_mb(pids: list[int]) -> dict[str, float]:
    """Memory by what a process does; what several share is divided among them."""
    found: Counter[str] = Counter()
    for pid in pids:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        role = next((ROLES[word] for word in words if word in ROLES), "agent")
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found[role] += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return {role: kb / 1024 for role, kb in found.items()}
