"""A real broker for tests, and a client that collects what it hears."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.waiting import DEADLINE_S, wait_until

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Mosquitto:
    """A mosquitto on a port of its own, as a context manager; the test is skipped where the program is not installed.

    folder: for its config. config: lines of mosquitto.conf for its listener; anonymous clients are allowed where they do not say.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, config: Sequence[str] = ()) -> None:
        if PROGRAM is None:
            pytest.skip("mosquitto is not installed")
        self.port = free_port()
        self.log: list[str] = []
        self._config = folder / f"mosquitto-{self.port}.conf"
        lines = ["user root"] if os.geteuid() == 0 else []  # else it becomes a user who may not read the test's folder
        lines += ["log_dest stderr", "log_type all", f"listener {self.port} {self.host}", *config]
        if not any(line.startswith("allow_anonymous") for line in config):
            lines.append("allow_anonymous true")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again on the same port; returns when it listens."""
        assert PROGRAM is not None
        running = threading.Event()
        process = subprocess.Popen([PROGRAM, "-c", str(self._config)], stderr=subprocess.PIPE, text=True)
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(process, running), daemon=True)
        self._reader.start()
        assert running.wait(DEADLINE_S), f"mosquitto does not start: {self.log[-3:]}"
        assert process.poll() is None, f"mosquitto ends at once: {self.log[-3:]}"

    def kill(self) -> None:
        """SIGKILL; it forgets everything, retained messages too."""
        if self._process is not None and self._reader is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process = None

    def suspend(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "mosquitto is stopped")

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _read(self, process: subprocess.Popen[str], running: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line.rstrip())
                if line.rstrip().endswith(" running"):
                    running.set()
        running.set()


class Subscriber:
    """An MQTT client that keeps every message of `topic` in the order of arrival, as a context manager.

    configure: called with its paho client before it connects, for a password, say, or TLS.
    """

    def __init__(
        self,
        broker: Mosquitto,
        topic: str = "#",
        *,
        qos: int = 1,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        configure: Callable[[Client], None] = lambda _client: None,
    ) -> None:
        self.messages: list[MQTTMessage] = []
        self._broker = broker
        self._topic = topic
        self._qos = qos
        self._arrived = threading.Condition()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        configure(self._client)

    def __enter__(self) -> Self:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S), "the subscriber is not accepted"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # else paho's sockets wait for the garbage collector
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None

    def wait_for(
        self, predicate: Callable[[MQTTMessage], bool], what: str = "a message", deadline_s: float = DEADLINE_S
    ) -> MQTTMessage:
        """The first message for which `predicate` holds, waiting for it."""
        with self._arrived:
            self._arrived.wait_for(lambda: any(map(predicate, self.messages)), deadline_s)
            for message in self.messages:
                if predicate(message):
                    return message
        heard = [(message.topic, message.payload[:80]) for message in self.messages[-10:]]
        raise AssertionError(f"not within {deadline_s} s: {what}; heard last: {heard}")

    def wait_topic(self, topic: str, payload: bytes | None = None, deadline_s: float = DEADLINE_S) -> MQTTMessage:
        """The first message on `topic`, with `payload` if that is given."""

        def fits(message: MQTTMessage) -> bool:
            return message.topic == topic and payload in (None, message.payload)

        return self.wait_for(fits, f"{topic} {payload!r}", deadline_s)

    def payloads(self, topic: str) -> list[bytes]:
        """Every payload heard on `topic` so far."""
        with self._arrived:
            return [bytes(message.payload) for message in self.messages if message.topic == topic]

    def clear(self) -> None:
        """Forget what was heard."""
        with self._arrived:
            self.messages.clear()

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, self._qos)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
