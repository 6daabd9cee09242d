"""One connection to the broker, from its opening to its end."""

import select
import socket
import ssl
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import LogLevel
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.publish import failure
from agent.publish.failure import Broker, Failure
from agent.publish.outgoing import Outgoing, Publication

CONNECT_TIMEOUT_S = 10.0  # of TCP, of the TLS handshake and of the broker's answer, each
SESSION_EXPIRY_S = 60
MAX_UNACKNOWLEDGED = 65535  # where the broker sets no limit: MQTT 5.0, section 3.2.2.3.3
MAX_PACKET_BYTES = 256 * 1024  # a broker of MQTT 5 keeps larger ones from us


class Events(NamedTuple):
    """Whom a connection tells: accepted by the broker, up for `settled_after_s`, something refused for lack of rights.

    refused: a message; unsubscribed: a topic that we may not read. received: topic, payload, and whether it was retained.
    stop_at: the monotonic instant by which the connection must have ended, None while it may go on.
    """

    accepted: Callable[[], None]
    settled: Callable[[], None]
    settled_after_s: float
    refused: Callable[[Publication, ReasonCode], None]
    unsubscribed: Callable[[str, ReasonCode], None]
    received: Callable[[str, bytes, bool], None]
    stop_at: Callable[[], float | None]


class Connection:
    """A connection with a paho client of its own, driven by one thread: paho writes, without a lock, in whatever thread publishes.

    A new client each time: an old one would send again what it had queued, after a retained message that is newer. paho is given a
    message only when it has written the one before, so that nothing queues in it but what is not acknowledged.
    wake: readable when there is something to send. topics: what to subscribe to, once the broker has accepted us.
    """

    def __init__(
        self, client: Client, broker: Broker, outgoing: Outgoing, wake: socket.socket, events: Events, topics: Collection[str] = ()
    ) -> None:
        self._client = client
        self._broker = broker
        self._outgoing = outgoing
        self._wake = wake
        self._events = events
        self._topics = tuple(topics)
        self._accepted_at: float | None = None
        self._failure: Failure | None = None
        self._socket_error = ""
        self._settled = False
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # no limit: Outgoing has one
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_log = self._on_log

    def run(self, keepalive_s: int) -> Failure | None:
        """Connect and carry messages until the connection ends; None where `stop_at` ended it. Called once."""
        try:
            return self._run(keepalive_s)
        finally:  # paho closes its other descriptors when nothing refers to it any more, and its callbacks refer to who holds it
            client = self._client
            client.on_connect = client.on_disconnect = client.on_publish = client.on_subscribe = client.on_message = None
            client.on_log = None

    def _run(self, keepalive_s: int) -> Failure | None:
        try:
            self._connect(keepalive_s)
        except (OSError, UnicodeError) as error:
            return failure.of_connecting(error, self._broker)
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a message may wait for the broker's delayed ACK
            try:
                return self._carry(sock)
            finally:
                sock.close()
        return self._failure

    def _connect(self, keepalive_s: int) -> None:
        if self._broker.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types there
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.MaximumPacketSize = MAX_PACKET_BYTES
            self._client.connect(self._broker.host, self._broker.port, keepalive_s, clean_start=False, properties=properties)
        else:
            self._client.connect(self._broker.host, self._broker.port, keepalive_s)

    def _carry(self, sock: socket.socket) -> Failure | None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        silent_at = time.monotonic() + CONNECT_TIMEOUT_S
        disconnecting = False
        while self._client.socket() is not None:
            now = time.monotonic()
            stop_at = self._events.stop_at()
            if stop_at is not None and (now >= stop_at or self._accepted_at is None):
                return None  # without a DISCONNECT: the broker publishes the last will
            if self._accepted_at is None:
                if now >= silent_at:
                    return failure.of_silence(self._broker)
            elif stop_at is not None and self._outgoing.empty and not self._client.want_write() and not disconnecting:
                disconnecting = True
                self._client.disconnect()
            else:
                self._settle(now)
                self._send()
            if self._client.socket() is not None:
                poll.register(sock, select.POLLIN | select.POLLOUT if self._client.want_write() else select.POLLIN)
                self._exchange(sock, dict(poll.poll(1000 * min(1.0, max(0.0, (stop_at or now + 1.0) - now)))))
        return None if disconnecting else self._failure

    def _exchange(self, sock: socket.socket, ready: dict[int, int]) -> None:
        """Read and write what can be, by the poll events of each descriptor."""
        events = ready.get(sock.fileno(), 0)
        if self._wake.fileno() in ready:
            self._wake.recv(4096)
        if events & ~select.POLLOUT:
            self._client.loop_read()
            while isinstance(sock, ssl.SSLSocket) and self._client.socket() is not None and sock.pending():
                self._client.loop_read()
        if events & select.POLLOUT:
            self._client.loop_write()
        self._client.loop_misc()

    def _send(self) -> None:
        while not self._client.want_write() and (message := self._outgoing.next()) is not None:
            info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
            self._outgoing.sent(info.mid)

    def _settle(self, now: float) -> None:
        if not self._settled and self._accepted_at is not None and now - self._accepted_at >= self._events.settled_after_s:
            self._settled = True
            self._events.settled()

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._failure = failure.of_refusal(reason, self._broker)
            return
        self._accepted_at = time.monotonic()
        self._subscribe()
        self._outgoing.open(getattr(properties, "ReceiveMaximum", MAX_UNACKNOWLEDGED))
        self._events.accepted()

    def _subscribe(self) -> None:
        """Each time, although a session may have survived: so what is retained comes again, and a broker that forgot knows us."""
        if not self._topics:
            return
        if self._broker.protocol == "5":  # which also tells of a message that comes live whether it is to be retained
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            self._client.subscribe([(topic, options) for topic in self._topics])
        else:
            self._client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self, _client: Client, _data: Any, _number: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):  # how many there are is the broker's word
            if reason.is_failure:
                self._events.unsubscribed(topic, reason)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._events.received(message.topic, bytes(message.payload), message.retain)

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._failure = self._failure or failure.of_ending(
            reason, self._broker, self._socket_error, connected=self._accepted_at is not None
        )

    def _on_publish(self, _client: Client, _data: Any, number: int, reason: ReasonCode, _properties: Properties) -> None:
        message = self._outgoing.acknowledged(number)
        if message is not None and reason.is_failure:
            self._events.refused(message, reason)

    def _on_log(self, _client: Client, _data: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._socket_error = text.removeprefix("failed to receive on socket: ")
