"""What a process takes of memory, with real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.worker.memory import own_memory_bytes
from tests.processes import wait_for_end

MIB = 1 << 20
HOLDS = "import sys; held = {what}; print(flush=True); sys.stdin.read()"


def holding(what: str) -> int:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS.format(what=what)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        used = own_memory_bytes(process.pid)
        process.stdin.close()
    return used


def test_counts_what_a_process_has_filled_and_no_file_that_it_maps(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_bytes(bytes(range(256)) * (64 * MIB // 256))
    nothing = holding("None")
    filled = holding(f"b'x' * {64 * MIB}")
    mapped = holding(f"(m := __import__('mmap').mmap((f := open({str(file)!r})).fileno(), 0, prot=1), sum(m[::4096]))")
    assert 63 * MIB < filled - nothing < 66 * MIB
    assert abs(mapped - nothing) < 2 * MIB


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pid = process.pid
    wait_for_end(pid)
    with pytest.raises(OSError, match="No such file"):
        own_memory_bytes(pid)
