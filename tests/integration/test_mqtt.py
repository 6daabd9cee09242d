"""The publisher against a real broker that dies, hangs, forgets and comes back."""

import gc
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
from tests.mosquitto import Mosquitto, Subscriber
from tests.waiting import DEADLINE_S, wait_until

Version = Literal["5", "3.1.1"]
TOPICS = Topics("edge", "gate-03")
RESULTS = TOPICS.results("gate")

CLIENT = """
import signal, sys
from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
host, port, protocol = sys.argv[1:]
publisher = MqttPublisher(MqttConfig(host=host, port=int(port), protocol=protocol), Topics("edge", "gate-03"))
publisher.start()
signal.pause()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


class States:
    """What `on_state` was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[bool, str, str]] = []

    def __call__(self, connected: bool, code: str, detail: str) -> None:
        self.calls.append((connected, code, detail))

    @property
    def codes(self) -> list[str]:
        return [code for _, code, _ in self.calls]


@pytest.fixture
def connect(broker: Mosquitto) -> Iterator[Callable[..., MqttPublisher]]:
    """Makes a publisher that has been accepted by `broker`."""
    with ExitStack() as stack:

        def make(protocol: Version = "5", keepalive_s: int = 30, **options: Any) -> MqttPublisher:
            config = MqttConfig(host=broker.host, port=broker.port, protocol=protocol, keepalive_s=keepalive_s)
            publisher = MqttPublisher(config, TOPICS, **options)
            stack.callback(publisher.stop, 5.0)
            publisher.start()
            assert publisher.wait_ready(DEADLINE_S)
            return publisher

        yield make


def paho_clients() -> list[Client]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Client) and thing._client_id == b"gate-03"]


def test_a_late_subscriber_finds_the_device(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect()
    assert publisher.publish(TOPICS.health, b"{}", qos=1, retain=True)
    assert publisher.publish(RESULTS, b"not for late ones", qos=1)
    with Subscriber(broker, "edge/v1/gate-03/#") as subscriber:
        subscriber.wait_topic(TOPICS.health, b"{}")
        online = subscriber.wait_topic(TOPICS.availability, b"online")
        assert online.retain
        assert online.qos == 1
        assert subscriber.payloads(RESULTS) == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_birth_comes_first_and_retained_topics_after_it(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version
) -> None:
    publisher = connect(protocol)
    topics = [TOPICS.source(f"camera{number}") for number in range(150)]  # more than the window
    for topic in topics:
        assert publisher.publish(topic, b"running", qos=1, retain=True)
    wait_until(lambda: publisher._outgoing.empty, "all are acknowledged")
    for _ in range(3):
        broker.kill()
        broker.log.clear()
        broker.start()
        wait_until(lambda: received(broker) == [TOPICS.availability, *topics], "all of them, once, in order")
    assert publisher.dropped == 0
    (client,) = paho_clients()
    wait_until(lambda: not client._out_messages and not client._out_packet, "paho holds nothing")


def received(broker: Mosquitto) -> list[str]:
    """The topics that the device has published, by the broker's log."""
    return [line.split("'")[1] for line in broker.log if "Received PUBLISH from gate-03" in line]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_clean_stop_is_acknowledged(broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version) -> None:
    with Subscriber(broker) as subscriber:
        publisher = connect(protocol)
        assert publisher.publish(RESULTS, b"last words", qos=1)
        assert publisher.stop(5.0)
        subscriber.wait_topic(TOPICS.availability, b"offline")
        assert [message.payload for message in subscriber.messages] == [b"online", b"last words", b"offline"]
    wait_until(lambda: any("Received DISCONNECT from gate-03" in line for line in broker.log), "a clean disconnect")
    assert not publisher.publish(RESULTS, b"too late")
    assert not publisher.publish(TOPICS.health, b"too late", retain=True)
    assert paho_clients() == []


def test_a_stop_without_a_broker_is_bounded(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect()
    broker.kill()
    wait_until(lambda: not publisher.connected, "the loss is noticed")
    assert not publisher.stop(5.0)
    assert not publisher._thread.is_alive()


def test_a_stop_that_nobody_acknowledges_is_bounded(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect()
    broker.suspend()
    assert not publisher.stop(0.3)
    assert not publisher._thread.is_alive()
    with ExitStack() as stack:
        stack.callback(broker.kill)
        broker.resume()
        with Subscriber(broker) as subscriber:
            subscriber.wait_topic(TOPICS.availability, b"offline")


def test_stop_before_start(broker: Mosquitto) -> None:
    assert not MqttPublisher(MqttConfig(host=broker.host, port=broker.port), TOPICS).stop(1.0)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_last_will_speaks_for_a_killed_agent(broker: Mosquitto, protocol: Version) -> None:
    with Subscriber(broker, TOPICS.availability) as subscriber:
        process = subprocess.Popen([sys.executable, "-c", CLIENT, broker.host, str(broker.port), protocol])
        try:
            subscriber.wait_topic(TOPICS.availability, b"online")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        subscriber.wait_topic(TOPICS.availability, b"offline")  # with MQTT 5 after its delay of 10 s
        assert subscriber.payloads(TOPICS.availability) == [b"online", b"offline"]
    with Subscriber(broker, TOPICS.availability) as late:
        assert late.wait_topic(TOPICS.availability, b"offline").retain


def test_with_mqtt_5_a_short_outage_is_no_offline(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect()
    with Subscriber(broker, TOPICS.availability) as subscriber:
        subscriber.wait_topic(TOPICS.availability, b"online")
        sever(publisher)
        wait_until(lambda: subscriber.payloads(TOPICS.availability) == [b"online", b"online"], "a second birth")


def sever(publisher: MqttPublisher) -> None:
    """Cut the connection under the publisher, as a lost network does."""
    (client,) = paho_clients()
    sock: Any = client.socket()
    sock.shutdown(2)
    wait_until(lambda: not publisher.connected, "the loss is noticed")


def test_a_full_window_drops_and_never_blocks(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect(window=20)
    payload = bytes(20_000)
    with Subscriber(broker, TOPICS.health) as subscriber:
        broker.suspend()
        for _ in range(2000):  # 40 MB: far more than the sockets hold
            publisher.publish(RESULTS, payload)
        wait_until(lambda: not publisher.publish(RESULTS, payload) and not publisher.wait_ready(0.2), "the window stays full")
        assert publisher.dropped > 1000
        (client,) = paho_clients()
        assert len(client._out_packet) <= 1
        assert len(publisher._outgoing._queue) <= 20
        assert publisher.publish(TOPICS.health, b"old", qos=1, retain=True)
        assert publisher.publish(TOPICS.health, b"new", qos=1, retain=True)
        broker.resume()
        subscriber.wait_topic(TOPICS.health, b"new")
        assert publisher.wait_ready(DEADLINE_S)
        assert publisher.publish(RESULTS, payload)


def test_qos_1_fills_the_window_until_it_is_acknowledged(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect(window=10)
    wait_until(lambda: publisher._outgoing.empty, "the birth is acknowledged")
    with Subscriber(broker, RESULTS) as subscriber:
        broker.suspend()
        assert [publisher.publish(RESULTS, b"%d" % number, qos=1) for number in range(11)] == [True] * 10 + [False]
        broker.resume()
        wait_until(lambda: len(subscriber.payloads(RESULTS)) == 10, "those that were taken")
    assert publisher.dropped == 1


def test_the_brokers_own_limit_is_kept(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, ["max_inflight_messages 3"]) as broker:
        publisher = MqttPublisher(MqttConfig(host=broker.host, port=broker.port), TOPICS)
        publisher.start()
        assert publisher.wait_ready(DEADLINE_S)
        with Subscriber(broker, RESULTS) as subscriber:
            assert publisher._outgoing._limit == 3
            broker.suspend()
            for number in range(50):
                assert publisher.publish(RESULTS, b"%d" % number, qos=1)
            wait_until(lambda: len(publisher._outgoing._unacknowledged) == 3, "three are sent")
            broker.resume()
            wait_until(lambda: len(subscriber.payloads(RESULTS)) == 50, "all of them")
        assert publisher.stop(5.0)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_was_taken_with_qos_1_survives_the_connection(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version
) -> None:
    publisher = connect(protocol)
    wait_until(lambda: publisher._outgoing.empty, "the birth is acknowledged")
    broker.suspend()
    assert publisher.publish(RESULTS, b"0")
    for number in range(1, 6):
        assert publisher.publish(RESULTS, b"%d" % number, qos=1)
    wait_until(lambda: len(publisher._outgoing._unacknowledged) == 5, "they are sent")
    broker.kill()
    wait_until(lambda: not publisher.connected, "the loss is noticed")
    broker.start()
    with Subscriber(broker, RESULTS) as subscriber:
        wait_until(lambda: publisher._outgoing.empty, "they are acknowledged")
        heard = subscriber.payloads(RESULTS)
    assert heard == sorted(heard)
    assert b"0" not in heard


def test_a_broker_that_stops_answering_is_noticed(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    states = States()
    publisher = connect(keepalive_s=5, on_state=states)
    broker.suspend()
    wait_until(lambda: "no_answer" in states.codes, "the keepalive runs out")
    broker.resume()
    assert publisher.wait_ready(DEADLINE_S)
    assert states.calls[1] == (False, "no_answer", f"MQTT broker 127.0.0.1:{broker.port} has stopped answering")


def test_failure_and_recovery_are_logged_once(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.publish")
    states = States()
    publisher = connect(on_state=states)
    broker.kill()
    wait_until(lambda: "unreachable" in states.codes, "a try fails")
    broker.start()
    wait_until(lambda: publisher.connected, "it is back")
    place = f"MQTT broker 127.0.0.1:{broker.port}"
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"{place}: connected as 'gate-03'"
    assert lines[1].startswith(f"{place} has closed the connection")
    assert lines[2:] == [
        f"{place} refuses the connection: nothing listens there; is it running, and is the port right? (retrying)",
        f"{place}: connected as 'gate-03'",
    ]
    assert states.codes == ["connected", "lost", "unreachable", "connected"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_devices_with_one_id(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], caplog: pytest.LogCaptureFixture, protocol: Version
) -> None:
    # mosquitto before 2.0.15 does not tell who took a client id, even with MQTT 5: tests/integration/test_mqtt_failures.py
    states = States()
    publisher = connect(protocol, on_state=states, settled_after_s=2.0)
    for _ in range(3):
        other = Client(CallbackAPIVersion.VERSION2, client_id="gate-03", protocol=MQTTProtocolVersion.MQTTv5)
        other.connect(broker.host, broker.port)
        other.loop_start()
        wait_until(lambda: not publisher.connected, "we are driven out")
        wait_until(lambda: publisher.connected, "we come back")
        other.loop_stop()
        del other
    assert states.codes[:4] == ["connected", "lost", "connected", "unstable"]
    wait_until(lambda: caplog.text.count("connected as") == 2, "the other one is gone for good")
    assert caplog.text.count("does another client use the client id 'gate-03'?") == 1


def test_twenty_outages_leave_nothing_behind(connect: Callable[..., MqttPublisher]) -> None:
    publisher = connect()
    publisher.publish(TOPICS.health, json.dumps({}).encode(), qos=1, retain=True)
    counts: list[tuple[int, int]] = []
    for _ in range(20):
        publisher._backoff.reset()  # else the last outages take half a minute each
        sever(publisher)
        assert publisher.wait_ready(DEADLINE_S)
        wait_until(lambda: publisher._outgoing.empty, "all is sent")
        counts.append((len(list(Path("/proc/self/fd").iterdir())), len(paho_clients())))
    assert len(set(counts[2:])) == 1, counts
    assert counts[-1][1] == 1
