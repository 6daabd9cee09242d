"""The desk's connection to the broker: one, for as long as a verb runs."""

import argparse
import os
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import BrokerError, UsageError
from agent.fleet.private import read_secret
from agent.publish.config import TlsConfig
from agent.publish.failure import Broker, Failure, of_connecting, of_ending, of_refusal, of_silence
from agent.publish.outgoing import Publication
from agent.publish.settings import Settings
from agent.publish.tls import client_context

ANSWER_TIMEOUT_S = 10.0  # of TCP and TLS, and of each answer of the broker
QUIET_S = 0.3  # without a message after this, all that is retained has come: MQTT has no mark for the last one
SLICE_S = 0.1
KEEPALIVE_S = 30
PREFIX = re.compile(r"[A-Za-z0-9_-]{1,63}")
SETTINGS = Settings(
    host="--mqtt",
    port="--mqtt",
    protocol="--protocol",
    user="--username, --password-file",
    client_id="--protocol",
    ca="--ca",
    cert="--cert",
    key_file="--key",
)

Take = Callable[[str, bytes], None]


class Access(NamedTuple):
    """Whom to connect to, and as whom. prefix: of the topics. password and context are kept out of what is printed."""

    broker: Broker
    prefix: str
    password: str | None
    context: ssl.SSLContext | None

    def __repr__(self) -> str:
        return f"Access({self.broker})"


def add_broker_options(parser: argparse.ArgumentParser) -> None:
    """mqtt, prefix, protocol, tls, ca, cert, key, username, password_file; each may come from the environment."""
    group = parser.add_argument_group("broker", "each may stand in the environment too, from EDGE_FLEET_MQTT to EDGE_FLEET_PREFIX")
    group.add_argument("--mqtt", metavar="HOST[:PORT]", help="1883, or 8883 with TLS, where no port is said")
    group.add_argument("--username", metavar="NAME", help="of an operator")
    group.add_argument("--password-file", metavar="FILE", help="that holds it alone; or EDGE_FLEET_PASSWORD has it")
    group.add_argument("--tls", action="store_true", help="with the system's authorities, where there is no --ca")
    group.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust; with TLS then")
    group.add_argument("--cert", metavar="FILE", help="PEM file of a client certificate; with TLS then")
    group.add_argument("--key", metavar="FILE", help="of the client certificate")
    group.add_argument("--protocol", choices=("5", "3.1.1"), help="MQTT's version; 5, if nothing is said")
    group.add_argument("--prefix", metavar="TEXT", help="mqtt.topic_prefix of the devices; edge, if nothing is said")


def access_of(args: argparse.Namespace) -> Access:
    """What the options and the environment say. UsageError, ConfigError."""

    def said(option: str) -> str | None:
        value: str | None = getattr(args, option) or os.environ.get(f"EDGE_FLEET_{option.upper()}") or None
        return value

    address = said("mqtt")
    if address is None:
        raise UsageError("no broker: say --mqtt HOST[:PORT], or set EDGE_FLEET_MQTT")
    tls = TlsConfig(ca=said("ca"), cert=said("cert"), key_file=said("key"))
    encrypted = args.tls or tls != TlsConfig()
    host, port = _address(address, 8883 if encrypted else 1883)
    prefix, protocol, username = said("prefix") or "edge", said("protocol") or "5", said("username")
    if not PREFIX.fullmatch(prefix):
        raise UsageError(f"--prefix {prefix}: expected letters, digits, _ and -, 63 at most")
    if protocol not in ("5", "3.1.1"):
        raise UsageError(f"EDGE_FLEET_PROTOCOL: expected 5 or 3.1.1, got {protocol}")
    file = said("password_file")
    password = read_secret(Path(file), "--password-file") if file else os.environ.get("EDGE_FLEET_PASSWORD") or None
    if password is not None and username is None:
        raise UsageError("there is a password, but no --username that it could belong to")
    client_id = f"edge-fleet-{secrets.token_hex(4)}"
    return Access(
        broker=Broker(host, port, client_id, username, protocol, encrypted, SETTINGS),
        prefix=prefix,
        password=password,
        context=client_context(tls, SETTINGS) if encrypted else None,
    )


class Desk:
    """A connection to the broker, as a context manager. One thread, that of the caller, drives it, within its calls.

    BrokerError out of any of them: the broker cannot be reached, refuses us, does not answer in time or has gone.
    """

    def __init__(self, access: Access) -> None:
        self.prefix = access.prefix
        self._broker = access.broker
        self._failure: Failure | None = None
        self._accepted = False
        self._subscribed: dict[int, bool] = {}  # message number → whether every filter was granted
        self._published: dict[int, bool] = {}  # message number → whether it was taken
        self._take: Take = lambda _topic, _payload: None
        self._heard_at = 0.0
        self._client = self._make_client(access)

    def __enter__(self) -> Self:
        try:
            self._client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except (OSError, UnicodeError) as error:
            raise BrokerError(of_connecting(error, self._broker).detail) from None
        try:
            self._wait(lambda: self._accepted)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._close()

    @property
    def user(self) -> str:
        """As whom the broker knows us."""
        return "a client without a user name" if self._broker.username is None else f"user {self._broker.username!r}"

    @property
    def broker(self) -> Broker:
        """Whom we are connected to."""
        return self._broker

    def subscribe(self, filters: Iterable[str], take: Take, qos: Literal[0, 1] = 1) -> None:
        """Have `take` told the topic and payload of each message, from then on, within the calls of this object; once for all."""
        self._take = take
        wanted = list(filters)
        for start in range(0, len(wanted), 100):  # a packet of each hundred: some brokers limit the filters of one
            some = wanted[start : start + 100]
            _, number = self._client.subscribe([(topic_filter, int(qos)) for topic_filter in some])
            if number is None:
                raise BrokerError(f"{self._broker} has closed the connection")
            self._wait(lambda number=number: number in self._subscribed)  # type: ignore[misc]  # bound for the linter
            if not self._subscribed.pop(number):
                raise BrokerError(f"{self._broker} does not let {self.user} read {some[0]}: check its access list")

    def retained(self, filters: Iterable[str], take: Take) -> None:
        """Have `take` told everything that the broker has retained for the filters, and return when all of it has come.

        With QoS 0: of QoS 1, mosquitto drops what goes beyond its max_queued_messages, 1000.
        """
        wanted = list(filters)
        asked_at = time.monotonic()
        self.subscribe(wanted, take, qos=0)
        quiet_s = max(QUIET_S, 3 * (time.monotonic() - asked_at))
        self._heard_at = time.monotonic()
        while time.monotonic() - self._heard_at < quiet_s:
            self._turn(SLICE_S)

    def publish(self, messages: Sequence[Publication]) -> list[str]:
        """Publish and wait until the broker has acknowledged all; the topics that it does not let us write (told by MQTT 5 alone).

        paho keeps at most 20 on their way.
        """
        topics: dict[int, str] = {}
        for message in messages:
            topics[self._client.publish(message.topic, message.payload, message.qos, message.retain).mid] = message.topic
        known = -1
        while not topics.keys() <= self._published.keys():
            known = len(self._published)
            self._wait(lambda: len(self._published) > known)  # noqa: B023  used in this turn alone
        return [topic for number, topic in topics.items() if not self._published.pop(number)]

    def listen(self, done: Callable[[], bool], deadline: float) -> bool:
        """Take messages until `done`, asked after each; False where the monotonic instant `deadline` came first."""
        while not done():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._turn(min(SLICE_S, left_s))
        return True

    def _wait(self, done: Callable[[], bool]) -> None:
        if not self.listen(done, time.monotonic() + ANSWER_TIMEOUT_S):
            raise BrokerError(of_silence(self._broker).detail)

    def _turn(self, timeout_s: float) -> None:
        code = self._client.loop(timeout_s)
        if self._failure is None and code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._failure = Failure("lost", f"{self._broker} has closed the connection")
        if self._failure is not None:
            raise BrokerError(self._failure.detail)

    def _close(self) -> None:
        client = self._client
        with suppress(OSError):
            if (sock := client.socket()) is not None:
                sock.close()
        # else paho's sockets, which refer to us by these, wait for the garbage collector
        client.on_connect = client.on_disconnect = client.on_message = client.on_publish = client.on_subscribe = None

    def _make_client(self, access: Access) -> Client:
        version = MQTTProtocolVersion.MQTTv5 if access.broker.protocol == "5" else MQTTProtocolVersion.MQTTv311
        client = Client(CallbackAPIVersion.VERSION2, access.broker.client_id, protocol=version, reconnect_on_failure=False)
        client.connect_timeout = ANSWER_TIMEOUT_S
        if access.broker.username is not None:
            client.username_pw_set(access.broker.username, access.password)
        if access.context is not None:
            client.tls_set_context(access.context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _more: Properties | None) -> None:
        if reason.is_failure:
            self._failure = of_refusal(reason, self._broker)
        else:
            self._accepted = True

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _more: Properties | None
    ) -> None:
        self._failure = self._failure or of_ending(reason, self._broker, "", connected=self._accepted)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.retain:  # what devices say meanwhile does not count
            self._heard_at = time.monotonic()
        self._take(message.topic, bytes(message.payload))

    def _on_publish(self, _client: Client, _data: Any, number: int, reason: ReasonCode, _more: Properties) -> None:
        self._published[number] = not reason.is_failure

    def _on_subscribe(self, _client: Client, _data: Any, number: int, reasons: list[ReasonCode], _more: Properties | None) -> None:
        self._subscribed[number] = not any(reason.is_failure for reason in reasons)


def _address(text: str, default_port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s/@:\[\]]+))(?::(\d{1,5}))?", text)
    if found is None or (found[3] and not 1 <= int(found[3]) <= 65535):
        raise UsageError(f"--mqtt {text}: expected HOST or HOST:PORT, such as broker.example:8883")
    return found[1] or found[2], int(found[3] or default_port)
