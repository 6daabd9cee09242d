"""What a worker takes of the computer's memory."""

from pathlib import Path


def own_memory_bytes(pid: int) -> int:
    """What would be free again if a process ended: its anonymous memory, in RAM or swapped out. Source: proc(5), VmSwap, RssAnon.

    Neither files, such as libraries and a model that is mapped, nor memory that is shared with the agent: what of them counts as a
    process's own depends on which other processes there are, and a file can be read again. OSError where it is gone.
    """
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap") if name in fields) * 1024
