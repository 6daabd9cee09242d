"""What a person reads when the broker cannot be had: one clear line, once, and the publisher goes on trying."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from agent.publish.config import MqttConfig, TlsConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
from tests.certificates import Authority
from tests.mosquitto import Mosquitto, free_port
from tests.waiting import wait_until

Version = Literal["5", "3.1.1"]
PASSWORD = "not for a log"  # noqa: S105  of a test's own broker


class Attempt:
    """A publisher that tries to connect, and what it says."""

    def __init__(self, config: MqttConfig, password: str | None = None) -> None:
        self.failures: list[tuple[str, str]] = []
        self._failed = threading.Event()
        self.publisher = MqttPublisher(config, Topics("edge", "gate-03"), password=password, on_state=self._on_state)

    def failure(self) -> tuple[str, str]:
        """Code and detail of the first failure, waiting for it."""
        assert self._failed.wait(20.0), "it does not fail"
        return self.failures[0]

    def _on_state(self, connected: bool, code: str, detail: str) -> None:
        if not connected:
            self.failures.append((code, detail))
            self._failed.set()


@pytest.fixture
def attempt(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Attempt]]:
    """Starts publishers; at the end each failure must stand in the log, once, as one line without the password."""
    caplog.set_level(logging.DEBUG)
    attempts = []

    def start(config: MqttConfig, password: str | None = None) -> Attempt:
        attempts.append(Attempt(config, password))
        attempts[-1].publisher.start()
        return attempts[-1]

    yield start
    for one in attempts:
        one.publisher.stop(1.0)
    lines = [record.getMessage() for record in caplog.get_records("call")]
    for _, detail in (failure for one in attempts for failure in one.failures):
        assert lines.count(f"{detail} (retrying)") == 1
    assert not any(PASSWORD in line or "\n" in line for line in lines)


@contextmanager
def scripted_broker(*replies: bytes) -> Iterator[int]:
    """A server that reads what each client says first, answers with `replies`, and closes; yields its port."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                with client, suppress(OSError):
                    client.settimeout(20.0)
                    client.recv(4096)
                    for reply in replies:
                        client.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_nothing_listens(attempt: Callable[..., Attempt]) -> None:
    port = free_port()
    code, detail = attempt(MqttConfig(host="127.0.0.1", port=port)).failure()
    assert code == "unreachable"
    assert detail.startswith(f"MQTT broker 127.0.0.1:{port} refuses the connection: nothing listens there")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "two..dots"])
def test_a_host_that_nobody_knows(attempt: Callable[..., Attempt], host: str) -> None:
    code, detail = attempt(MqttConfig(host=host)).failure()
    assert code == "unreachable"
    assert detail == f"MQTT broker {host}:1883: host name {host!r} is not known: check mqtt.host and the DNS"


def test_a_broker_that_says_nothing(attempt: Callable[..., Attempt], tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        broker.suspend()
        code, detail = attempt(MqttConfig(host=broker.host, port=broker.port)).failure()
        assert (code, detail) == ("no_answer", f"MQTT broker 127.0.0.1:{broker.port} takes the connection but does not answer")


CONNACK = {
    # MQTT 3.1.1, section 3.2.2.3
    "too new": ("5", b"\x20\x02\x00\x01", "protocol_version", 'does not speak MQTT 5: try mqtt.protocol "3.1.1"'),
    "too old": ("3.1.1", b"\x20\x02\x00\x01", "protocol_version", "does not answer as MQTT 3.1.1 does: check mqtt.port and"),
    "id 3.1.1": ("3.1.1", b"\x20\x02\x00\x02", "client_id", "does not accept the client id 'gate-03': check device.id"),
    "busy 3.1.1": ("3.1.1", b"\x20\x02\x00\x03", "refused", "refuses the connection: server unavailable"),
    "password 3.1.1": ("3.1.1", b"\x20\x02\x00\x04", "authentication", "refuses user 'gate-03' (bad user name or password): check"),
    # MQTT 5.0, section 3.2.2.2
    "version 5": ("5", b"\x20\x03\x00\x84\x00", "protocol_version", "does not speak MQTT 5"),
    "id 5": ("5", b"\x20\x03\x00\x85\x00", "client_id", "does not accept the client id 'gate-03'"),
    "banned": ("5", b"\x20\x03\x00\x8a\x00", "refused", "refuses the connection: banned"),
    "closed": ("5", b"", "refused", "closes the connection without an answer: is the port right, and does it want TLS?"),
    "not MQTT": ("5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "refused", "closes the connection without an answer"),
    "not even": ("3.1.1", b"\x00\xff\xff\xff\xff\xff", "protocol_version", "does not answer as MQTT 3.1.1 does"),
}


@pytest.mark.parametrize(("version", "reply", "code", "text"), CONNACK.values(), ids=CONNACK)
def test_the_broker_refuses(attempt: Callable[..., Attempt], version: Version, reply: bytes, code: str, text: str) -> None:
    with scripted_broker(reply) as port:
        failure = attempt(MqttConfig(host="127.0.0.1", port=port, protocol=version), PASSWORD).failure()
        assert failure[0] == code
        assert failure[1].startswith(f"MQTT broker 127.0.0.1:{port} {text}")


ACCEPTED = b"\x20\x03\x00\x00\x00"
DISCONNECT = {
    "taken over": (b"\xe0\x02\x8e\x00", "taken_over", ": another client uses the client id 'gate-03'"),
    "shutting down": (b"\xe0\x02\x8b\x00", "lost", " is shutting down"),
    "keep alive": (b"\xe0\x02\x8d\x00", "no_answer", " has stopped answering"),
    "nothing": (b"", "lost", " has closed the connection"),
}


@pytest.mark.parametrize(("packet", "code", "text"), DISCONNECT.values(), ids=DISCONNECT)
def test_the_broker_ends_the_connection(attempt: Callable[..., Attempt], packet: bytes, code: str, text: str) -> None:
    with scripted_broker(ACCEPTED, packet) as port:
        failure = attempt(MqttConfig(host="127.0.0.1", port=port)).failure()
        assert failure[0] == code
        assert failure[1].startswith(f"MQTT broker 127.0.0.1:{port}{text}")


def test_a_fight_over_a_client_id_is_logged_once(attempt: Callable[..., Attempt], caplog: pytest.LogCaptureFixture) -> None:
    with scripted_broker(ACCEPTED, b"\xe0\x02\x8e\x00") as port:
        one = attempt(MqttConfig(host="127.0.0.1", port=port))
        wait_until(lambda: len(one.failures) == 3, "the third time")
        assert caplog.text.count("give each its own") == 1
        assert caplog.text.count("connected as") == 1
        del one.failures[1:]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def tls_lines(authority: Authority, name: str, *more: str, hosts: str = "IP:127.0.0.1,DNS:localhost") -> list[str]:
    server = authority.issue(name, hosts)
    return [f"cafile {authority.cert}", f"certfile {server.cert}", f"keyfile {server.key}", *more]


@pytest.mark.parametrize("other", [True, False], ids=["another", "the system's"])
def test_an_authority_that_is_not_trusted(
    attempt: Callable[..., Attempt], authority: Authority, tmp_path: Path, other: bool
) -> None:
    with Mosquitto(tmp_path, tls_lines(authority, "server")) as broker:
        tls = TlsConfig(ca=str(Authority(tmp_path).cert) if other else None)
        code, detail = attempt(MqttConfig(host=broker.host, port=broker.port, tls=tls)).failure()
        assert code == "tls"
        assert "its TLS certificate is refused" in detail
        assert detail.endswith(": check mqtt.tls.ca")


def test_a_certificate_for_another_host(attempt: Callable[..., Attempt], authority: Authority, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls_lines(authority, "elsewhere", hosts="DNS:broker.example")) as broker:
        config = MqttConfig(host=broker.host, port=broker.port, tls=TlsConfig(ca=str(authority.cert)))
        code, detail = attempt(config).failure()
        assert code == "tls"
        assert detail.endswith("it is not for '127.0.0.1': use the name that the certificate has as mqtt.host")


def test_a_missing_client_certificate(attempt: Callable[..., Attempt], authority: Authority, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls_lines(authority, "strict", "require_certificate true")) as broker:
        config = MqttConfig(host=broker.host, port=broker.port, tls=TlsConfig(ca=str(authority.cert)))
        code, detail = attempt(config).failure()
        assert code == "tls"
        assert detail.endswith("closes the TLS connection without an answer: does it want another client certificate?")


def test_a_port_without_tls(attempt: Callable[..., Attempt], authority: Authority, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        config = MqttConfig(host=broker.host, port=broker.port, tls=TlsConfig(ca=str(authority.cert)))
        code, detail = attempt(config).failure()
        assert code == "tls"
        assert "does this port speak TLS" in detail


def test_a_port_with_tls(attempt: Callable[..., Attempt], authority: Authority, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, tls_lines(authority, "tls")) as broker:
        code, detail = attempt(MqttConfig(host=broker.host, port=broker.port)).failure()
        assert code == "refused"
        assert detail.endswith("closes the connection without an answer: is the port right, and does it want TLS?")


def test_retries_go_on_until_it_works(attempt: Callable[..., Attempt], tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    one = attempt(MqttConfig(host=broker.host, port=broker.port))
    assert one.failure()[0] == "unreachable"
    with broker:
        assert one.publisher.wait_ready(20.0)
        assert one.publisher.stop(5.0)
