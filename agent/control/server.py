"""The agent's side of the control socket: lines in, lines out."""

import contextlib
import logging
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.control.place import folder_of
from agent.errors import ConfigError

MAX_LINE_BYTES = 16 * 1024
MAX_CLIENTS = 16
PAUSE_S = 0.1  # after a connection that could not be taken
QUIET_S = 60.0  # after which a client that says nothing, or does not read, is sent away
LOOK_S = 5.0  # for an agent that listens already to take a connection

Answer = Callable[[bytes, int], bytes]

log = logging.getLogger(__name__)


class ControlServer:
    """Listens on a UNIX socket that only its owner and root may use, a thread a client.

    answer: called with each line and the user id of who sent it, on that client's thread; returns the reply, without a line's end.
    What it raises is a defect.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        """Takes the place at once; what a dead agent left there goes. ConfigError where that fails, or another agent listens."""
        self._path = path
        self._answer = answer
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._strangers: set[int] = set()  # users who were refused, so that the log has each once
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more, and remove the socket."""
        self._stopping.set()
        with self._lock:
            clients = tuple(self._clients)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # `stop`, a client that has gone already, or no descriptor is left
                if self._stopping.wait(PAUSE_S):
                    return
                continue
            if not self._admit(client):
                client.close()

    def _admit(self, client: socket.socket) -> bool:
        user = _user(client)
        if user not in (0, os.geteuid()):
            if user not in self._strangers:
                self._strangers.add(user)
                log.warning("%s: user %d is refused: only root and user %d may command this agent", self._path, user, os.geteuid())
            return False
        with self._lock:
            if self._stopping.is_set() or len(self._clients) >= MAX_CLIENTS:
                return False
            self._clients.add(client)
        threading.Thread(target=self._serve, args=(client, user), name="control/client", daemon=True).start()
        return True

    def _serve(self, client: socket.socket, user: int) -> None:
        try:
            client.settimeout(QUIET_S)
            for line in _lines(client):
                reply = self._answer(line, user)
                with contextlib.suppress(OSError):  # it has gone: the next read tells
                    client.sendall(reply + b"\n")
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()


def _lines(client: socket.socket) -> Iterator[bytes]:
    """Whole lines, until the client has gone, is silent, or sends one that is too long."""
    buffer = b""
    while True:
        try:
            data = client.recv(4096)
        except OSError:
            return
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        if len(buffer) > MAX_LINE_BYTES:
            return
        yield from lines


def _user(client: socket.socket) -> int:
    _process, user, _group = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(user)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with folder_of(path) as near:
            _make_way(path, near)
            os.fchmod(listener.fileno(), 0o600)  # before bind: the file has this mode from its first moment
            listener.bind(near)
            listener.listen(MAX_CLIENTS)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{path}: the control socket cannot be made: {error.strerror}") from None
    except ConfigError:
        listener.close()
        raise
    return listener


def _make_way(path: Path, near: str) -> None:
    """Remove what an agent left that was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(near).st_mode):
            raise ConfigError(f"{path}: the control socket cannot be made: something else is there; remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(LOOK_S)
        try:
            probe.connect(near)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(near)  # noqa: PTH108  a path below /proc/self/fd
            return
        except TimeoutError:  # its queue is full: it lives
            pass
    raise ConfigError(f"{path}: another agent listens there already; stop that one, or give this one a state_dir of its own")
