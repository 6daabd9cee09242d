"""A program that writes raw pictures to its stdout: rpicam-vid, gst-launch-1.0, ffmpeg with a hardware decoder."""

import signal
import threading
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.core.types import picture_shape
from agent.errors import SourceError
from agent.sources.config import CommandConfig
from agent.sources.program import Program
from agent.sources.urls import without_password


class CommandSource:
    """Pictures of one size, one after the other. Where the program ends with status 0 between two, that is the end."""

    Config: ClassVar[type[CommandConfig]] = CommandConfig

    def __init__(self, config: CommandConfig) -> None:
        self._config = config
        self._name = f"command {config.command[0]}"  # its arguments may hold a password
        self._picture = Picture(config.format, *config.size)
        self._shape = picture_shape(config.format, *config.size)
        self._grabbed = False  # and not yet retrieved
        self._program: Program | None = None
        self._closed = False
        self._starting = threading.Lock()  # a `close` comes before the program's start, or after it

    def open(self) -> None:
        """Start the program and wait for its first bytes; SourceError where it is not there, ends or writes nothing in time."""
        with self._starting:
            if self._closed:
                return
            try:
                self._program = Program(self._config.command)
            except (FileNotFoundError, NotADirectoryError):
                raise SourceError(f"{self._name}: there is no such program", "not_found") from None
            except OSError as error:
                raise SourceError(f"{self._name} cannot be started: {error.strerror}", "open_failed") from None
        if not self._wait(self._program, self._config.open_timeout_s) and not self._program.ended:
            raise SourceError(f"{self._name} ended without a picture", "process_exited")

    def grab(self) -> Picture | None:
        """Wait for the first byte of the next picture."""
        if self._grabbed:
            self.retrieve(np.empty(self._shape, np.uint8))  # nobody wanted it
        if self._program is None or not self._wait(self._program, self._config.read_timeout_s):
            return None
        self._grabbed = True
        return self._picture

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """Read the picture into `out`."""
        program = self._program
        if program is None:
            return
        try:
            size = program.read_into(out.data.cast("B"), self._config.read_timeout_s)
        except TimeoutError:
            raise SourceError(f"{self._name} stopped in the middle of a picture{_quoted(program)}", "read_timeout") from None
        self._grabbed = False
        if size == out.nbytes:
            return
        if program.ended:
            raise SourceError(f"{self._name} was closed", "ended")
        self._check(program)
        width, height = self._config.size
        expected = f"{out.nbytes} bytes of a picture; does it write {self._config.format}, {width}x{height}?"
        raise SourceError(f"{self._name} ended after {size} of {expected}", "process_exited")

    def close(self) -> None:
        """End the program."""
        with self._starting:
            self._closed = True
        if self._program is not None:
            self._program.end()

    def _wait(self, program: Program, timeout_s: float) -> bool:
        """Wait for the first byte of a picture; False at the end or once closed, SourceError where the program failed."""
        try:
            if program.wait(timeout_s):
                return True
        except TimeoutError:
            raise SourceError(f"{self._name} wrote nothing for {timeout_s:g} s{_quoted(program)}", "read_timeout") from None
        if not program.ended:
            self._check(program)
        return False

    def _check(self, program: Program) -> None:
        """SourceError where the program's output ended and its exit status is not 0."""
        status = program.status()
        if status == 0:
            return
        if status is None:
            how = "closed its output"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        else:
            how = f"exited with status {status}"
        raise SourceError(f"{self._name} {how}{_quoted(program)}", "process_exited")


def _quoted(program: Program) -> str:
    """What the program said last, as the end of a message."""
    words = without_password(program.last_words())
    return f": {words}" if words else ""
