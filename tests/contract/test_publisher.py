"""What every Publisher does: the MQTT one with a real broker, in both versions of the protocol, and the fake."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from agent.publish import Publisher
from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
from tests.fakes import RecordingPublisher
from tests.mosquitto import Mosquitto, Subscriber
from tests.waiting import DEADLINE_S, wait_until

TOPIC = "edge/v1/dev/results/gate"
RETAINED = "edge/v1/dev/health"


class Rig(Protocol):
    """A publisher, and the broker that it talks to."""

    @property
    def publisher(self) -> Publisher: ...

    def disconnect(self) -> None: ...
    def connect(self) -> None: ...
    def arrived(self, topic: str) -> list[bytes]: ...


class FakeRig:
    def __init__(self) -> None:
        self.publisher = RecordingPublisher()

    def disconnect(self) -> None:
        self.publisher.disconnect()

    def connect(self) -> None:
        self.publisher.connect()

    def arrived(self, topic: str) -> list[bytes]:
        return self.publisher.payloads(topic)


class MqttRig:
    def __init__(self, protocol: str, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._broker = stack.enter_context(Mosquitto(folder))
        self._subscriber = stack.enter_context(Subscriber(self._broker))
        config = MqttConfig(host=self._broker.host, port=self._broker.port, protocol="5" if protocol == "5" else "3.1.1")
        self.publisher = MqttPublisher(config, Topics("edge", "dev"))
        stack.callback(self.publisher.stop, 5.0)
        self.publisher.start()

    def disconnect(self) -> None:
        self._broker.kill()
        wait_until(lambda: not self.publisher.wait_ready(0), "the publisher notices")

    def connect(self) -> None:
        self._broker.start()
        self._subscriber = self._stack.enter_context(Subscriber(self._broker))

    def arrived(self, topic: str) -> list[bytes]:
        return self._subscriber.payloads(topic)


@pytest.fixture(params=["fake", "mqtt 5", "mqtt 3.1.1"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        rig: Rig = FakeRig() if request.param == "fake" else MqttRig(request.param.removeprefix("mqtt "), tmp_path, stack)
        assert rig.publisher.wait_ready(DEADLINE_S)
        yield rig


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_arrive_in_order(rig: Rig, qos: int) -> None:
    sent = [b"%d" % number for number in range(50)]
    assert all(rig.publisher.publish(TOPIC, payload, qos=qos) for payload in sent)
    wait_until(lambda: rig.arrived(TOPIC) == sent, "all of them")


def test_offline_a_message_is_dropped(rig: Rig) -> None:
    rig.disconnect()
    assert not rig.publisher.publish(TOPIC, b"old")
    assert not rig.publisher.wait_ready(0.05)
    rig.connect()
    assert rig.publisher.wait_ready(DEADLINE_S)
    assert rig.publisher.publish(TOPIC, b"new")
    wait_until(lambda: bool(rig.arrived(TOPIC)), "the new one")
    assert rig.arrived(TOPIC) == [b"new"]


def test_the_newest_retained_message_arrives_after_an_outage(rig: Rig) -> None:
    assert rig.publisher.publish(RETAINED, b"before", qos=1, retain=True)
    wait_until(lambda: rig.arrived(RETAINED)[-1:] == [b"before"], "the first one")
    rig.disconnect()
    assert rig.publisher.publish(RETAINED, b"older", qos=1, retain=True)
    assert rig.publisher.publish(RETAINED, b"newest", qos=1, retain=True)
    rig.connect()
    wait_until(lambda: rig.arrived(RETAINED)[-1:] == [b"newest"], "the newest one")
    assert b"older" not in rig.arrived(RETAINED)


def test_a_retained_message_is_sent_again_to_a_broker_that_forgot_it(rig: Rig) -> None:
    assert rig.publisher.publish(RETAINED, b"value", qos=1, retain=True)
    wait_until(lambda: rig.arrived(RETAINED)[-1:] == [b"value"], "it is there")
    rig.disconnect()
    rig.connect()
    wait_until(lambda: rig.arrived(RETAINED)[-1:] == [b"value"], "it is there again")


def test_any_thread_may_publish(rig: Rig) -> None:
    def publish(name: int) -> None:
        for number in range(10):
            assert rig.publisher.publish(f"{TOPIC}/{name}", b"%d" % number, qos=1)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(8):
        wait_until(lambda name=name: len(rig.arrived(f"{TOPIC}/{name}")) == 10, f"all of thread {name}")  # type: ignore[misc]
        assert rig.arrived(f"{TOPIC}/{name}") == [b"%d" % number for number in range(10)]
