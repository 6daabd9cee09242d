"""The access list of docs/acl on a real mosquitto, with passwords and with client certificates."""

import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.publish.config import MqttConfig, TlsConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics
from tests.certificates import Authority
from tests.mosquitto import PROGRAM, Mosquitto, Subscriber
from tests.waiting import DEADLINE_S, wait_until

Version = Literal["5", "3.1.1"]
ACL = Path(__file__).parents[2] / "docs/acl/mosquitto.acl"
USERS = ("gate-03", "gate-04", "viewer", "operator")
VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A mosquitto set up as docs/mqtt.md says; each user's password is its name."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    folder = tmp_path_factory.mktemp("broker")
    passwords = folder / "passwd"
    passwords.touch(0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, user], check=True)
    with Mosquitto(folder, ["allow_anonymous false", f"password_file {passwords}", f"acl_file {ACL}"]) as broker:
        yield broker


def as_user(user: str) -> Callable[[Client], None]:
    return lambda client: client.username_pw_set(user, user)


class Device:
    """A plain client with a device's rights, which tries what the agent never would."""

    def __init__(self, broker: Mosquitto, user: str, protocol: Version) -> None:
        self.reasons: dict[int, ReasonCode] = {}
        self._acknowledged = threading.Condition()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=VERSIONS[protocol])
        self.client.username_pw_set(user, user)
        self.client.on_publish = self._on_publish
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def publish(self, topic: str) -> bool:
        """Publish and wait for the acknowledgement; whether it says that the broker took it (MQTT 3.1.1 always does)."""
        number = self.client.publish(topic, b"x", qos=1).mid
        with self._acknowledged:
            assert self._acknowledged.wait_for(lambda: number in self.reasons, DEADLINE_S)
            return not self.reasons[number].is_failure

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_publish(self, _client: Client, _data: Any, number: int, reason: ReasonCode, _properties: Any) -> None:
        with self._acknowledged:
            self.reasons[number] = reason
            self._acknowledged.notify_all()


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> Version:
    return "5" if request.param == "5" else "3.1.1"


def test_a_device_writes_only_below_its_own_name(broker: Mosquitto, protocol: Version) -> None:
    own = ["edge/v1/gate-03/availability", "edge/v1/gate-03/results/gate", "edge/v1/gate-03/models/people/reported"]
    others = [
        "edge/v1/gate-04/availability",
        "edge/v1/gate-04/results/gate",
        "edge/v1/gate-033/results/gate",
        "edge/v1/results/gate",
        "edge-ctl/v1/gate-03/cmd",
        "edge-ctl/v1/gate-04/cmd",
        "anything",
    ]
    device = Device(broker, "gate-03", protocol)
    with (
        Subscriber(broker, "edge/v1/#", configure=as_user("viewer")) as viewer,
        Subscriber(broker, "edge-ctl/v1/gate-03/#", configure=as_user("gate-03")) as own_control,
        Subscriber(broker, "edge-ctl/v1/gate-04/#", configure=as_user("gate-04")) as other_control,
    ):
        taken = [topic for topic in (*others, *own) if device.publish(topic)]
        if protocol == "5":
            assert taken == own
        viewer.wait_topic(own[-1])
        assert [message.topic for message in viewer.messages] == own
        assert own_control.messages == other_control.messages == []
    device.close()


def test_a_device_reads_only_what_is_addressed_to_it(broker: Mosquitto, protocol: Version) -> None:
    operator = Device(broker, "operator", protocol)
    device = Device(broker, "gate-04", protocol)
    with Subscriber(broker, "#", configure=as_user("gate-03"), protocol=VERSIONS[protocol]) as subscriber:
        assert operator.publish("edge-ctl/v1/gate-04/cmd")
        assert device.publish("edge/v1/gate-04/results/gate")
        assert operator.publish("edge-ctl/v1/gate-03/cmd")
        subscriber.wait_topic("edge-ctl/v1/gate-03/cmd")
        assert len(subscriber.messages) == 1
    operator.close()
    device.close()


def test_a_viewer_writes_nothing_for_devices(broker: Mosquitto) -> None:
    viewer = Device(broker, "viewer", "5")
    assert not viewer.publish("edge/v1/gate-03/availability")
    assert not viewer.publish("edge-ctl/v1/gate-03/cmd")
    viewer.close()


def test_the_agent_hears_operators_and_nobody_else(broker: Mosquitto, protocol: Version) -> None:
    topics = Topics("edge", "gate-03")
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def handler(topic: str) -> Callable[[bytes, bool], None]:
        return lambda payload, _retained: heard.put((topic, payload))

    publisher = MqttPublisher(
        MqttConfig(host=broker.host, port=broker.port, protocol=protocol),
        topics,
        password="gate-03",  # noqa: S106  of the test's own broker
        subscriptions={topic: handler(topic) for topic in (topics.commands, topics.desired("people"))},
    )
    broker.log.clear()
    publisher.start()
    assert publisher.wait_ready(DEADLINE_S)
    wait_until(lambda: any("Sending SUBACK to gate-03" in line for line in broker.log), "it has subscribed")
    stranger, operator = Device(broker, "viewer", protocol), Device(broker, "operator", protocol)
    for topic in (topics.commands, topics.desired("people")):
        stranger.publish(topic)
    for topic in (topics.commands, topics.desired("people")):
        assert operator.publish(topic)
    assert [heard.get(timeout=DEADLINE_S) for _ in range(2)] == [(topics.commands, b"x"), (topics.desired("people"), b"x")]
    assert publisher.stop(5.0)
    assert heard.empty()
    stranger.close()
    operator.close()


def publisher_for(
    broker: Mosquitto, protocol: Version, password: str, **config: Any
) -> tuple[MqttPublisher, list[tuple[str, str]]]:
    states: list[tuple[str, str]] = []
    publisher = MqttPublisher(
        MqttConfig(host=broker.host, port=broker.port, protocol=protocol, **config),
        Topics("edge", "gate-03"),
        password=password,
        on_state=lambda _connected, code, detail: states.append((code, detail)),
    )
    publisher.start()
    return publisher, states


def test_the_agent_has_the_rights_that_it_needs(broker: Mosquitto, protocol: Version) -> None:
    topics = Topics("edge", "gate-03")
    written = [
        topics.availability,
        topics.info,
        topics.health,
        topics.source("gate"),
        topics.state("gate"),
        topics.results("gate"),
        topics.events("source"),
        topics.reported("people"),
        topics.replies,
        topics.snapshot("gate"),
    ]
    with Subscriber(broker, "edge/v1/gate-03/#", configure=as_user("viewer")) as viewer:
        publisher, _ = publisher_for(broker, protocol, "gate-03")
        assert publisher.wait_ready(DEADLINE_S)
        for topic in written[1:]:
            assert publisher.publish(topic, b"{}", qos=1)
        assert publisher.stop(5.0)
        for topic in written:
            viewer.wait_topic(topic)


def test_a_wrong_password(broker: Mosquitto, protocol: Version, caplog: pytest.LogCaptureFixture) -> None:
    publisher, states = publisher_for(broker, protocol, "wr0ng-secret")
    wait_until(lambda: bool(states), "the refusal")
    code, detail = states[0]
    assert code == "authentication"
    assert detail.startswith(f"MQTT broker 127.0.0.1:{broker.port} refuses user 'gate-03' (not authorized): check")
    publisher.stop(1.0)
    assert "wr0ng-secret" not in caplog.text


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(" does not let ")[2] for record in caplog.records]


def test_a_user_name_that_is_not_the_device_id(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    publisher, _ = publisher_for(broker, "5", "gate-04", username="gate-04")  # with MQTT 3.1.1 nobody would be told
    wait_until(lambda: bool(caplog.records), "the refusal")
    assert refusals(caplog) == ["'gate-04' publish to edge/v1/gate-03/availability (not authorized): check its access list"]
    publisher.stop(5.0)


def test_a_topic_that_is_refused_is_logged_once(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    publisher, _ = publisher_for(broker, "5", "gate-03")
    assert publisher.wait_ready(DEADLINE_S)
    for _ in range(3):
        assert publisher.publish("edge/v1/gate-04/health", b"{}", qos=1)
    assert publisher.stop(5.0)
    assert refusals(caplog) == ["'gate-03' publish to edge/v1/gate-04/health (not authorized): check its access list"]


def test_a_client_certificate_instead_of_a_password(tmp_path: Path, protocol: Version) -> None:
    authority = Authority(tmp_path)
    server, device = authority.issue("server"), authority.issue("gate-03")
    tls = [f"cafile {authority.cert}", f"certfile {server.cert}", f"keyfile {server.key}", "require_certificate true"]
    with Mosquitto(tmp_path, [*tls, "use_identity_as_username true", "allow_anonymous false", f"acl_file {ACL}"]) as broker:
        config = TlsConfig(ca=str(authority.cert), cert=str(device.cert), key_file=str(device.key))
        for host in (broker.host, "localhost"):
            publisher = MqttPublisher(
                MqttConfig(host=host, port=broker.port, protocol=protocol, tls=config), Topics("edge", "gate-03")
            )
            publisher.start()
            assert publisher.wait_ready(DEADLINE_S)
            for _ in range(300):
                assert publisher.wait_ready(DEADLINE_S)
                assert publisher.publish("edge/v1/gate-03/results/gate", bytes(20_000), qos=1)
            assert publisher.stop(10.0)
