import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.sources.program import STDERR_BYTES, Program
from tests.processes import open_descriptors, wait_for_end

LONG_S = 60.0  # a timeout that no test waits for


@contextmanager
def shell(script: str) -> Iterator[Program]:
    program = Program(["sh", "-c", script])
    try:
        yield program
    finally:
        program.end()


def read(program: Program, size: int) -> bytes:
    buffer = bytearray(size)
    done = program.read_into(memoryview(buffer), LONG_S)
    return bytes(buffer[:done])


def test_reads_so_many_bytes_and_fewer_at_the_end() -> None:
    with shell("printf abcdefgh") as program:
        assert program.wait(LONG_S)
        assert read(program, 5) == b"abcde"
        assert read(program, 5) == b"fgh"
        assert not program.wait(LONG_S)
        assert program.status() == 0
        assert program.last_words() == ""


def test_its_exit_status_and_last_words() -> None:
    with shell("echo first >&2; echo last words >&2; exit 3") as program:
        assert not program.wait(LONG_S)
        assert program.status() == 3
        assert program.last_words() == "last words"


def test_the_signal_that_ended_it() -> None:
    with shell("kill -SEGV $$") as program:
        assert not program.wait(LONG_S)
        assert program.status() == -signal.SIGSEGV


def test_one_that_closes_its_output_and_goes_on_has_no_status() -> None:
    with shell("exec >&-; exec sleep 1000") as program:
        assert not program.wait(LONG_S)
        assert program.status() is None


def test_much_on_stderr_neither_blocks_it_nor_is_kept() -> None:
    with shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; printf done") as program:
        assert read(program, 4) == b"done"
        assert len(program.last_words()) == STDERR_BYTES


def test_a_deadline_without_bytes() -> None:
    with shell("echo waiting >&2; printf ab; exec sleep 1000") as program:
        assert read(program, 2) == b"ab"
        with pytest.raises(TimeoutError):
            program.wait(0.01)
        with pytest.raises(TimeoutError):
            program.read_into(memoryview(bytearray(1)), 0.01)
        assert program.last_words() == "waiting"


def test_a_program_that_cannot_be_started_leaves_nothing() -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        Program(["no-such-program"])
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "script", ["sleep 1000 & printf %08d $!; wait", "trap '' TERM; sleep 1000 & printf %08d $!; while :; do wait; done"]
)
def test_its_end_takes_its_children_along(script: str) -> None:
    before = open_descriptors()
    with shell(script) as program:
        child = int(read(program, 8))
    wait_for_end(child)
    assert open_descriptors() == before
    program.end()


@pytest.mark.parametrize("script", ["echo $$; exec sleep 1000", "trap '' TERM; echo $$; sleep 1000 & wait; wait"])
def test_it_does_not_outlive_us(script: str) -> None:
    """Not even a program that never writes, and so would never notice a closed pipe."""
    ours = f"""
from agent.sources.program import Program
program = Program(["sh", "-c", {script!r}])
buffer = bytearray(1)
while program.read_into(memoryview(buffer), {LONG_S}) and buffer != b"\\n":
    print(buffer.decode(), end="")
print(flush=True)
program.wait({LONG_S})
"""
    with subprocess.Popen([sys.executable, "-c", ours], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        os.kill(program, 0)
        process.kill()
    wait_for_end(program)
