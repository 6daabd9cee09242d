"""The control socket, with real sockets and, where a stranger is wanted, real users."""

import logging
import os
import queue
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.control.client import ControlClient
from agent.control.server import MAX_CLIENTS, MAX_LINE_BYTES, ControlServer
from agent.errors import ConfigError, ControlError
from tests.waiting import DEADLINE_S, wait_until


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Starts a server that answers with what it is told, upside down."""
    servers: list[ControlServer] = []

    def start(answer: Callable[[bytes, int], bytes] = lambda line, _user: line[::-1], name: str = "control.sock") -> Path:
        servers.append(ControlServer(tmp_path / name, answer))
        servers[-1].start()
        return tmp_path / name

    yield start
    for server in servers:
        server.stop()


def clients(name: str = "control/client") -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_lines_in_lines_out(serve: Callable[..., Path]) -> None:
    users: queue.Queue[int] = queue.Queue()

    def answer(line: bytes, user: int) -> bytes:
        users.put(user)
        return line[::-1]

    path = serve(answer)
    with ControlClient(path) as client:
        assert client.ask(b"abc", DEADLINE_S) == b"cba"
        assert client.ask(b"", DEADLINE_S) == b""
        assert client.ask(b"x" * MAX_LINE_BYTES, DEADLINE_S) == b"x" * MAX_LINE_BYTES
    assert users.get_nowait() == os.geteuid()


def test_long_replies(serve: Callable[..., Path]) -> None:
    path = serve(lambda _line, _user: bytes(3_000_000).replace(b"\0", b"y"))
    with ControlClient(path) as client:
        assert len(client.ask(b"abc", DEADLINE_S)) == 3_000_000
        assert len(client.ask(b"abc", DEADLINE_S)) == 3_000_000


def test_only_its_owner_may_open_it(serve: Callable[..., Path]) -> None:
    assert stat.S_IMODE(serve().stat().st_mode) == 0o600


STRANGER = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as stranger:
    stranger.settimeout(20)
    stranger.connect(sys.argv[1])
    try:
        stranger.send(b"abc\\n")
        print(stranger.recv(100))
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_strangers_are_refused(serve: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = serve()
    path.chmod(0o666)  # as if somebody had opened it to all
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", STRANGER, str(path)], capture_output=True, text=True, check=False, timeout=60)
        assert run.stdout in ("b''\n", "ConnectionResetError\n", "BrokenPipeError\n")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{path}: user 65534 is refused: only root and user 0 may command this agent"
    ]


def test_many_at_once_and_no_more_than_that(serve: Callable[..., Path]) -> None:
    path = serve()
    held = [ControlClient(path) for _ in range(MAX_CLIENTS)]
    for client in reversed(held):
        assert client.ask(b"abc", DEADLINE_S) == b"cba"
    with ControlClient(path) as late, pytest.raises(ControlError, match=r"has ended, or has too many to answer|is gone"):
        late.ask(b"abc", DEADLINE_S)
    for client in held:
        client.__exit__(None, None, None)
    wait_until(lambda: clients() == 0, "they are forgotten")
    with ControlClient(path) as client:
        assert client.ask(b"abc", DEADLINE_S) == b"cba"


def test_a_slow_answer_holds_up_nobody_else(serve: Callable[..., Path]) -> None:
    hold = threading.Event()
    path = serve(lambda line, _user: line if line != b"slow" else str(hold.wait(DEADLINE_S)).encode())
    with ControlClient(path) as slow, ControlClient(path) as fast:
        slow._socket.sendall(b"slow\n")
        assert fast.ask(b"fast", DEADLINE_S) == b"fast"
        hold.set()
        assert slow.ask(b"", DEADLINE_S) == b"True"


def test_too_long_a_line_ends_the_connection(serve: Callable[..., Path]) -> None:
    path = serve()
    with ControlClient(path) as client, pytest.raises(ControlError):
        client.ask(b"x" * (4 * MAX_LINE_BYTES), DEADLINE_S)
    wait_until(lambda: clients() == 0, "it is forgotten")


def test_a_client_that_leaves_in_the_middle(serve: Callable[..., Path]) -> None:
    path = serve(lambda _line, _user: b"y" * 3_000_000)
    for words in (b"", b"half a li", b"whole\n", b"two\nlines\n"):
        with ControlClient(path) as client:
            client._socket.sendall(words)
    wait_until(lambda: clients() == 0, "they are forgotten")


def test_nobody_there(tmp_path: Path) -> None:
    for path in (tmp_path / "control.sock", tmp_path / "none/control.sock"):
        with pytest.raises(ControlError, match=f"^no agent runs here: nobody listens at {path}; where its config has"):
            ControlClient(path)


def test_what_a_killed_agent_left_is_replaced(serve: Callable[..., Path], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(ControlError, match="nobody listens"):
        ControlClient(tmp_path / "control.sock")
    with ControlClient(serve()) as client:
        assert client.ask(b"abc", DEADLINE_S) == b"cba"


def test_what_listens_stays(serve: Callable[..., Path], tmp_path: Path) -> None:
    path = serve()
    with pytest.raises(ConfigError, match=f"^{path}: another agent listens there already; stop that one, or give this"):
        ControlServer(path, lambda line, _user: line)
    with ControlClient(path) as client:
        assert client.ask(b"abc", DEADLINE_S) == b"cba"
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="something else is there; remove it"):
        ControlServer(tmp_path / "file", lambda line, _user: line)
    assert (tmp_path / "file").exists()


def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/control\.sock: the control socket cannot be made: File exists"):
        ControlServer(tmp_path / "file/control.sock", lambda line, _user: line)


def test_a_long_path(serve: Callable[..., Path]) -> None:
    path = serve(name="/".join(["a-long-folder-name"] * 10) + "/control.sock")
    assert len(str(path)) > 108
    with ControlClient(path) as client:
        assert client.ask(b"abc", DEADLINE_S) == b"cba"


def test_it_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        server = ControlServer(tmp_path / "control.sock", lambda line, _user: line)
        server.start()
        client = ControlClient(tmp_path / "control.sock")
        assert client.ask(b"abc", DEADLINE_S) == b"abc"
        server.stop()
        with client, pytest.raises(ControlError):
            client.ask(b"abc", DEADLINE_S)
        assert list(tmp_path.iterdir()) == []
        assert clients("control") == 0
    ControlServer(tmp_path / "control.sock", lambda line, _user: line).stop()  # never started
