"""The other side of the control socket: what a command on the same computer asks the running agent."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.control.place import folder_of
from agent.errors import ControlError

CONNECT_S = 5.0
MAX_REPLY_BYTES = 16 << 20


class ControlClient:
    """A connection to the agent, as a context manager. ControlError where there is no agent, or it does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        try:
            self._socket.settimeout(CONNECT_S)
            with folder_of(path) as near:
                self._socket.connect(near)
        except OSError as error:
            self._socket.close()
            raise ControlError(_why(path, error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, line: bytes, timeout_s: float) -> bytes:
        """Send a line and wait for the one that comes back. timeout_s: for each part of it."""
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(line + b"\n")
            while b"\n" not in self._buffer:
                data = self._socket.recv(65536)
                if not data or len(self._buffer) > MAX_REPLY_BYTES:
                    raise ControlError(f"the agent at {self._path} has ended, or has too many to answer")
                self._buffer += data
        except TimeoutError:
            raise ControlError(f"the agent at {self._path} does not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise ControlError(f"the agent at {self._path} is gone: {error.strerror}") from None
        reply, _, self._buffer = self._buffer.partition(b"\n")
        return reply


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
        return f"no agent runs here: nobody listens at {path}; where its config has a state_dir, say --socket STATE_DIR/{path.name}"
    if isinstance(error, PermissionError):
        return f"{path}: only root and the user that the agent runs as may command it; try sudo"
    return f"{path}: {error.strerror or 'it does not answer'}"
