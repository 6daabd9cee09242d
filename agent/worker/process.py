"""One run of one worker process, seen from the agent: start, talk with deadlines, watch its memory, end."""

import os
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Generic

import msgspec
from msgspec import Struct

from agent.errors import WorkerError
from agent.worker import protocol
from agent.worker.protocol import Message
from agent.worker.spawner import Spawner

LOOK_S = 0.1  # how often its memory is looked at
EXIT_S = 1.0  # how long a worker whose channel has ended may take to be gone
CHANNEL_BYTES = 2 * protocol.MAX_PACKET
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class WorkerProcess(Generic[Message]):
    """A running worker. Any failure ends it, at once and for good, as a WorkerError: a new one is the caller's to make."""

    def __init__(
        self, spawner: Spawner, module: str, name: str, decoder: "msgspec.msgpack.Decoder[Message]", memory_limit_bytes: int
    ) -> None:
        self.name = name
        self._decoder = decoder
        self._memory_limit_bytes = memory_limit_bytes
        try:
            self._channel, self._process = _start(spawner, module)
        except OSError as error:
            raise WorkerError(f"{name}: a worker process cannot be started: {error.strerror}", "load") from None
        self.pid = self._process.pid
        # So that nobody sends on a descriptor that `end` has just closed; entered again where a frame is collected while sending.
        self._sending = threading.RLock()
        self._statm = Path(f"/proc/{self.pid}/statm")
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._next_look_ns = 0

    def send(self, message: Struct, descriptor: int | None = None) -> None:
        """Send a message, from any thread. WorkerError where the worker is gone or does not keep up."""
        try:
            with self._sending:
                protocol.send(self._channel, message, descriptor, flags=socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise WorkerError(f"{self.name}: the worker does not take its messages", "deadline") from None
        except OSError:
            raise WorkerError(f"{self.name}: {self._obituary()}", "crashed") from None

    def receive(self, deadline_ns: int) -> Message | None:
        """The next message; None where there is none when the monotonic clock has reached `deadline_ns`, looked at after that, lest
        a worker is blamed for an agent that had to wait for a processor. WorkerError where it died or leaks.
        """
        while True:
            now = time.monotonic_ns()
            self._watch_memory(now)
            wait_s = min(LOOK_S, (deadline_ns - now) / 1e9)
            if self._poll.poll(max(0.0, wait_s * 1000)):
                return self._read()
            if now >= deadline_ns:
                return None

    def kill(self) -> None:
        """Kill it, from any thread: whoever waits in `receive` is told that it died."""
        self._process.kill()

    def end(self) -> None:
        """Kill and reap it, and close the channel. Safe to call twice."""
        self.kill()
        self._process.wait()
        with self._sending:
            self._channel.close()

    def _read(self) -> Message:
        try:
            message, descriptor = protocol.receive(self._channel, self._decoder)
        except (EOFError, OSError):
            raise WorkerError(f"{self.name}: {self._obituary()}", "crashed") from None
        except ValueError as error:  # msgspec's and Unicode's errors
            raise WorkerError(f"{self.name}: the worker sent garbage ({error})", "protocol") from None
        if descriptor is not None:
            os.close(descriptor)
            raise WorkerError(f"{self.name}: the worker sent a descriptor", "protocol")
        return message

    def _watch_memory(self, now_ns: int) -> None:
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + int(LOOK_S * 1e9)
        try:
            resident = int(self._statm.read_bytes().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):  # it is gone, which the channel tells
            return
        if resident > self._memory_limit_bytes:
            used, limit = resident >> 20, self._memory_limit_bytes >> 20
            raise WorkerError(f"{self.name}: the worker uses {used} MB of memory, more than its limit of {limit} MB", "memory")

    def _obituary(self) -> str:
        """How the process ended, once its channel has."""
        try:
            status = self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            return "the worker closed its channel"
        if status < 0:
            return f"the worker was ended by {signal.Signals(-status).name}"
        return f"the worker exited with status {status}"


def _start(spawner: Spawner, module: str) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """A worker, and our end of the channel to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHANNEL_BYTES)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHANNEL_BYTES)
        return ours, spawner.spawn(module, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
