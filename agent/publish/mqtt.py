"""The publisher of a device: keeps a connection to the broker for as long as the agent lives."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.backoff import Backoff
from agent.publish.config import MqttConfig
from agent.publish.connection import Connection, Events
from agent.publish.failure import Broker, Failure, of_instability
from agent.publish.orders import MAX_ORDER_BYTES
from agent.publish.outgoing import Outgoing, Publication
from agent.publish.tls import client_context
from agent.publish.topics import Topics

WILL_DELAY_S = 10
FIRST_RETRY_S = 0.5
RETRY_CAP_S = 30.0
# A connection counts as stable then. More than the cap, else two devices with one id would drive each other out at full speed.
SETTLED_AFTER_S = 60.0

OnState = Callable[[bool, str, str], None]
Handler = Callable[[bytes, bool], None]

_log = logging.getLogger("agent.publish")


class MqttPublisher:
    """Publishes over MQTT 5 or 3.1.1 and reconnects for ever; implements `agent.publish.Publisher`.

    `offline` is its last will, `online` the first message of each connection, followed by the newest of every retained topic.

    password: of config.username, or of the device id where that is left out.
    on_state(connected, code, detail): told, from the network thread, when the connection or the reason why there is none changes;
    code is `connected` or a FailureCode, detail one line. window: how many messages may be on their way.
    subscriptions: topic to handler(payload, retained), subscribed to on each connection with QoS 1, so that what is retained comes
    again each time. Handlers are called on the network thread, must return at once, and get at most `MAX_ORDER_BYTES`; with MQTT 5
    retained is true also of a message that is live and stays retained.
    Raises ConfigError for certificates that cannot be used.
    """

    def __init__(
        self,
        config: MqttConfig,
        topics: Topics,
        *,
        password: str | None = None,
        on_state: OnState | None = None,
        subscriptions: Mapping[str, Handler] | None = None,
        window: int = 100,
        settled_after_s: float = SETTLED_AFTER_S,
    ) -> None:
        self._broker = Broker(
            host=config.host,
            port=config.port or (1883 if config.tls is None else 8883),
            client_id=topics.device,
            username=config.username or (topics.device if password is not None else None),
            protocol=config.protocol,
            tls=config.tls is not None,
        )
        self._availability = topics.availability
        self._password = password
        self._keepalive_s = config.keepalive_s
        self._tls = None if config.tls is None else client_context(config.tls)
        self._on_state = on_state
        self._subscriptions = dict(subscriptions or {})
        self._settled_after_s = settled_after_s
        self._outgoing = Outgoing(window)
        self._outgoing.add(self._availability_message(b"online"))
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._backoff = Backoff(FIRST_RETRY_S, RETRY_CAP_S)
        self._state = ""
        self._told: set[str] = set()  # what failed since the last recovery, so that the log has it once
        self._short_lived = 0  # connections in a row that did not last until they counted as stable
        self._refused_topics: set[str] = set()
        self._oversized: set[str] = set()  # topics whose last message was too long
        self._stop_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us."""
        return self._state == "connected"

    @property
    def dropped(self) -> int:
        """Messages dropped since the start."""
        return self._outgoing.dropped

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """See `Publisher`. What was taken with QoS 1 arrives at least once; with QoS 0 it may be lost with the connection."""
        taken = self._outgoing.add(Publication(topic, payload, qos, retain))
        if taken:
            self._wake()
        return taken

    def wait_ready(self, timeout_s: float) -> bool:
        """See `Publisher`."""
        return self._outgoing.wait_room(timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Send what waits, then `offline`, and disconnect; False where not all of it was acknowledged within `timeout_s`.

        The broker publishes the last will then. No message is taken any more.
        """
        self._stop_at = time.monotonic() + timeout_s
        self._outgoing.finish(self._availability_message(b"offline"))
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout_s + 0.5)  # it may hang in the system's name resolver
        if not self._thread.is_alive():
            self._wake_read.close()
            self._wake_write.close()
        return self._outgoing.empty

    def _run(self) -> None:
        while not self._stopping.is_set():
            connection = Connection(
                self._client(), self._broker, self._outgoing, self._wake_read, self._events(), self._subscriptions
            )
            failure = connection.run(self._keepalive_s)
            self._outgoing.shut()
            if failure is None:
                break
            if failure.code == "lost":
                self._short_lived += 1
                if self._short_lived > 1:
                    failure = of_instability(self._broker)
            self._report(failure)
            self._stopping.wait(self._backoff.next_s())

    def _client(self) -> Client:
        if self._broker.protocol == "5":
            client = Client(
                CallbackAPIVersion.VERSION2,
                client_id=self._broker.client_id,
                protocol=MQTTProtocolVersion.MQTTv5,
                reconnect_on_failure=False,
            )
            will_properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]  # paho has no types there
            will_properties.WillDelayInterval = WILL_DELAY_S
        else:
            client = Client(
                CallbackAPIVersion.VERSION2,
                client_id=self._broker.client_id,
                clean_session=True,
                protocol=MQTTProtocolVersion.MQTTv311,
                reconnect_on_failure=False,
            )
            will_properties = None
        client.will_set(self._availability, b"offline", qos=1, retain=True, properties=will_properties)
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return client

    def _events(self) -> Events:
        return Events(
            accepted=self._accepted,
            settled=self._settled,
            settled_after_s=self._settled_after_s,
            refused=self._refused,
            unsubscribed=self._unsubscribed,
            received=self._received,
            stop_at=lambda: self._stop_at,
        )

    def _availability_message(self, payload: bytes) -> Publication:
        return Publication(self._availability, payload, qos=1, retain=True)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyhow; closed: it has ended
            self._wake_write.send(b"\0")

    def _accepted(self) -> None:
        # where two clients share an id, to be connected means only that it is the other's turn: wait for _settled
        if not self._told & {"taken_over", "unstable"}:
            self._recovered()
        self._change("connected", str(self._broker))

    def _settled(self) -> None:
        self._short_lived = 0
        self._backoff.reset()
        self._recovered()

    def _recovered(self) -> None:
        if self._told or not self._state:
            level = logging.WARNING if self._told else logging.INFO  # a recovery is seen wherever its failure was
            _log.log(level, "%s: connected as %r", self._broker, self._broker.client_id)
        self._told.clear()

    def _report(self, failure: Failure) -> None:
        if failure.code not in self._told:
            self._told.add(failure.code)
            _log.warning("%s (retrying)", failure.detail)
        self._change(failure.code, failure.detail)

    def _change(self, state: str, detail: str) -> None:
        if state != self._state:
            self._state = state
            if self._on_state is not None:
                self._on_state(state == "connected", state, detail)

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:
        handler = self._subscriptions.get(topic)
        if handler is None:  # a broker's mistake, or a subscription of an earlier session
            return
        if len(payload) <= MAX_ORDER_BYTES:
            self._oversized.discard(topic)
            handler(payload, retained)
        elif topic not in self._oversized:
            self._oversized.add(topic)
            _log.warning("%s: %d bytes, more than %d, are not looked at", topic, len(payload), MAX_ORDER_BYTES)

    def _refused(self, message: Publication, reason: ReasonCode) -> None:
        self._forbidden("publish to", message.topic, reason)

    def _unsubscribed(self, topic: str, reason: ReasonCode) -> None:
        self._forbidden("subscribe to", topic, reason)

    def _forbidden(self, what: str, topic: str, reason: ReasonCode) -> None:
        if topic not in self._refused_topics:
            self._refused_topics.add(topic)
            _log.warning(
                "%s does not let %r %s %s (%s): check its access list",
                self._broker,
                self._broker.username or self._broker.client_id,
                what,
                topic,
                str(reason).lower(),
            )
