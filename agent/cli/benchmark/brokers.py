"""A broker for the agent under test, and the results that it publishes there."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from agent.config import broker_from
from agent.errors import BrokerError, UsageError

START_S = 10.0
NO_BROKER = "none: messages end here, and what a broker would add to latency and load is not in the figures"
CONNACK, PUBACK, PINGRESP = 0x20, 0x40, 0xD0


class Arrival(NamedTuple):
    """A result. utc_ns: when it was here."""

    utc_ns: int
    mono_s: float
    payload: bytes


class Inbox:
    """The results of one agent, in the order of their arrival."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._changed = threading.Condition()

    def put(self, payload: bytes) -> None:
        """Called by whoever receives."""
        arrival = Arrival(time.time_ns(), time.monotonic(), payload)
        with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()

    def wait(self, count: int, timeout_s: float) -> bool:
        """Whether so many are there before the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.arrivals) >= count, timeout_s)


class Broker(NamedTuple):
    """name: of the program, or where it is."""

    name: str
    host: str
    port: int
    real: bool

    @contextmanager
    def listen(self, root: str) -> Iterator[Inbox]:
        """The results that arrive below a topic; what else is retained there is gone from the broker afterwards."""
        inbox = Inbox()
        if not self.real:
            with _sink(self.port, inbox):
                yield inbox
            return
        subscribed = threading.Event()
        others: set[str] = set()
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_connect = lambda *_: _subscribe(client, f"{root}/#")
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: _sort(message, inbox, others)
        try:
            client.connect(self.host, self.port)
        except OSError as error:
            raise BrokerError(f"MQTT broker {self.host}:{self.port}: {error.strerror or error}") from None
        client.loop_start()
        try:
            if not subscribed.wait(START_S):
                raise BrokerError(f"MQTT broker {self.host}:{self.port} does not take a subscriber without a password")
            yield inbox
            for topic in list(others):
                client.publish(topic, retain=True, qos=1).wait_for_publish(START_S)
        finally:
            client.disconnect()
            client.loop_stop()


def _sort(message: MQTTMessage, inbox: Inbox, others: set[str]) -> None:
    if "/results/" in message.topic:
        inbox.put(bytes(message.payload))
    elif message.payload:
        others.add(message.topic)


def _subscribe(client: Client, topic: str) -> None:
    client.subscribe(topic)


@contextmanager
def a_broker(mqtt: str | None) -> Iterator[Broker]:
    """The one that is named, HOST[:PORT]; else a mosquitto of our own, where it is installed; else a mere place for messages."""
    if mqtt is not None:
        try:
            named = broker_from(mqtt)
        except ValueError as error:
            raise UsageError(f"--mqtt: {error}") from None
        yield Broker(mqtt, named.host, named.port or 1883, real=True)
        return
    port = _free_port()
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        yield Broker(NO_BROKER, "127.0.0.1", port, real=False)
        return
    with subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            _wait_for(port, process)
            yield Broker(program, "127.0.0.1", port, real=True)
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise BrokerError("mosquitto does not start; name a broker with --mqtt HOST")


@contextmanager
def _sink(port: int, inbox: Inbox) -> Iterator[None]:
    """Takes what one client of MQTT 5 publishes."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            with suppress(OSError, EOFError):
                connection, _ = server.accept()
                with closing(connection), connection.makefile("rb") as stream:
                    _take(connection, stream, inbox)

        thread = threading.Thread(target=serve, name="sink")
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _take(connection: socket.socket, stream: BinaryIO, inbox: Inbox) -> None:
    """Answer packets until the client goes. Source: OASIS MQTT 5.0, sections 2 and 3."""
    while True:
        (first,) = _exactly(stream, 1)
        body = _exactly(stream, _number(stream))
        match first & 0xF0:
            case 0x10:  # CONNECT
                connection.sendall(bytes([CONNACK, 3, 0, 0, 0]))
            case 0x30:  # PUBLISH
                connection.sendall(_received(first, body, inbox))
            case 0xC0:  # PINGREQ
                connection.sendall(bytes([PINGRESP, 0]))


def _received(first: int, body: bytes, inbox: Inbox) -> bytes:
    """Keep a PUBLISH that is a result; returns what answers it."""
    end = 2 + int.from_bytes(body[:2], "big")
    topic, quality = body[2:end], first >> 1 & 3
    answer = bytes([PUBACK, 2]) + body[end : end + 2] if quality else b""
    end += 2 if quality else 0
    if b"/results/" in topic:
        inbox.put(body[end + 1 + body[end] :])  # behind the properties, less than 128 bytes of them
    return answer


def _number(stream: BinaryIO) -> int:
    value = shift = 0
    while True:
        (byte,) = _exactly(stream, 1)
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
