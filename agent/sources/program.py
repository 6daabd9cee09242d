"""A program whose stdout is read with deadlines, and which leaves nothing running behind, whoever dies first.

The program is in one process group with a guard, a shell that does nothing but wait for the end of a pipe which this process alone
holds open. However this process dies, the kernel closes that pipe and the guard ends the whole group. PR_SET_PDEATHSIG would need a
wrapper around each program, would follow the thread that starts it, and would spare the program's own children.
"""

import contextlib
import fcntl
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from io import FileIO
from typing import cast

GUARD = ("/bin/sh", "-c", "trap '' TERM; read -r line; kill -KILL 0")
GRACE_S = 1.0  # between asking a program to end and ending it; between the end of its output and its own
PIPE_BYTES = 1 << 20  # the most that the kernel grants anyone: a picture then takes few system calls
STDERR_BYTES = 2048  # the end of what it says


class Program:
    """A running program. Read in one thread; `end` may be called from another, and ends a waiting read."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it, without a shell; OSError where that fails."""
        self._guard = subprocess.Popen(  # noqa: S603  our own constant
            GUARD, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        try:
            self._process = subprocess.Popen(  # noqa: S603  the device's owner says which
                command,
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=self._guard.pid,
            )
        except OSError:
            self._guard.kill()
            self._guard.communicate()
            raise
        self._stdout = cast("FileIO", self._process.stdout)  # a PIPE without a buffer
        self._stderr = cast("FileIO", self._process.stderr)
        with contextlib.suppress(OSError):  # a user's pipes together have a limit
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._said = b""
        self._reading = threading.Lock()
        self._ending = threading.Lock()
        self.ended = False  # by `end`

    def wait(self, timeout_s: float) -> bool:
        """Wait for bytes on its stdout; False at their end or once ended. TimeoutError where none come in time."""
        with self._reading:
            return self._wait(time.monotonic() + timeout_s)

    def read_into(self, buffer: memoryview, timeout_s: float) -> int:
        """Fill `buffer` from its stdout; how many bytes came, fewer only at their end. TimeoutError where they take longer."""
        deadline = time.monotonic() + timeout_s
        done = 0
        with self._reading:
            while done < len(buffer) and self._wait(deadline):
                done += self._stdout.readinto(buffer[done:])
        return done

    def status(self) -> int | None:
        """Its exit status after the end of its stdout, negative for a signal; None where it goes on without one."""
        try:
            return self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        """The last line of its stderr."""
        with self._reading, contextlib.suppress(TimeoutError):
            self._wait(time.monotonic())
        lines = self._said.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """End it and its children. Safe to call twice."""
        self.ended = True
        with self._ending:
            if self._guard.returncode is not None:
                return
            os.killpg(self._guard.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._process.wait()
            self._guard.communicate()
            with self._reading:  # a read ends when nobody is left to write
                self._stdout.close()
                self._stderr.close()

    def _wait(self, deadline: float) -> bool:
        """As `wait`; meanwhile what it says on stderr is kept, lest it waits for somebody to read it."""
        while not self.ended:
            left = deadline - time.monotonic()
            events = dict(self._poll.poll(max(0, math.ceil(left * 1000))))
            if self._stderr.fileno() in events:
                self._hear()
            if self._stdout.fileno() in events:
                return bool(events[self._stdout.fileno()] & select.POLLIN)
            if left <= 0:
                raise TimeoutError
        return False

    def _hear(self) -> None:
        if said := self._stderr.read(1 << 16):  # as much as the pipe holds
            self._said = (self._said + said)[-STDERR_BYTES:]
        else:
            self._poll.unregister(self._stderr)
