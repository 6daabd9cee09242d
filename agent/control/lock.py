"""One agent a state folder."""

import fcntl
import os
from pathlib import Path

from agent import durable
from agent.errors import ConfigError

NAME = "lock"


class StateLock:
    """Held until `release`, or the end of the process, however that comes. Its file says whose it is: a process id."""

    def __init__(self, state_dir: Path) -> None:
        """Raises ConfigError where another agent holds it, or the folder cannot be written."""
        path = state_dir / NAME
        try:
            durable.make_folder(state_dir)
            self._file = path.open("a+b")
        except OSError as error:
            raise ConfigError(f"state_dir: {state_dir}: {error.strerror}: name a folder that can be written") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).decode("ascii", "replace").strip()
            self._file.close()
            if not isinstance(error, BlockingIOError):
                raise ConfigError(f"state_dir: {path} cannot be locked: {error.strerror}") from None
            raise ConfigError(
                f"state_dir: {state_dir}: another agent runs with it{f', process {holder}' if holder.isdecimal() else ''}; "
                "stop that one, or give this one a state_dir of its own"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n".encode())
        self._file.flush()

    def release(self) -> None:
        """Let another agent begin."""
        self._file.close()
