"""What a device is told: subscriptions on a real broker that forgets, floods and refuses."""

import json
import logging
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.orders import MAX_ORDER_BYTES
from agent.publish.topics import Topics
from tests.mosquitto import Mosquitto
from tests.waiting import DEADLINE_S, wait_until

Version = Literal["5", "3.1.1"]
TOPICS = Topics("edge", "gate-03")
DESIRED = TOPICS.desired("people")
DYNAMIC_SECURITY = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> Version:
    return "5" if request.param == "5" else "3.1.1"


class Heard:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[bytes, bool]] = queue.Queue()

    def __call__(self, payload: bytes, retained: bool) -> None:
        self._queue.put((payload, retained))

    def next(self) -> tuple[bytes, bool]:
        return self._queue.get(timeout=DEADLINE_S)


@pytest.fixture
def connect(broker: Mosquitto) -> Iterator[Callable[..., MqttPublisher]]:
    """Makes a publisher that has subscribed."""
    with ExitStack() as stack:

        def make(subscriptions: Mapping[str, Callable[[bytes, bool], None]], protocol: Version, **config: Any) -> MqttPublisher:
            broker.log.clear()
            settings = MqttConfig(host=broker.host, port=broker.port, protocol=protocol, **config)
            publisher = MqttPublisher(settings, TOPICS, subscriptions=subscriptions)
            stack.callback(publisher.stop, 5.0)
            publisher.start()
            wait_until(lambda: subscribed(broker), "it has subscribed")
            return publisher

        yield make


def subscribed(broker: Mosquitto) -> bool:
    return any("Sending SUBACK to gate-03" in line for line in broker.log)


def send(broker: Mosquitto, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Publish as an operator, and wait until the broker has it."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)
    client.disconnect()
    client.loop_stop()


def test_each_topic_has_its_handler(broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version) -> None:
    desired, commands = Heard(), Heard()
    connect({DESIRED: desired, TOPICS.commands: commands}, protocol)
    send(broker, DESIRED, b"a wish")
    send(broker, TOPICS.commands, b"a command")
    assert desired.next() == (b"a wish", False)
    assert commands.next() == (b"a command", False)


def test_what_is_retained_is_told_as_such(broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version) -> None:
    send(broker, DESIRED, b"before", retain=True)
    desired = Heard()
    connect({DESIRED: desired}, protocol)
    assert desired.next() == (b"before", True)
    send(broker, DESIRED, b"live", retain=True)
    assert desired.next() == (b"live", protocol == "5")  # MQTT 3.1.1 cannot tell


def test_a_broker_that_comes_back_and_has_forgotten_everything(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version
) -> None:
    desired = Heard()
    publisher = connect({DESIRED: desired}, protocol)
    assert publisher.publish(TOPICS.reported("people"), b"reported", qos=1, retain=True)
    for payload in (b"one", b"two"):
        broker.kill()
        broker.log.clear()
        broker.start()
        wait_until(lambda: subscribed(broker), "it has subscribed again")
        send(broker, DESIRED, payload)
        assert desired.next() == (payload, False)
        wait_until(lambda: any(TOPICS.reported("people") in line for line in broker.log), "what is reported is there again")


def test_what_is_retained_comes_again_on_each_connection(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version
) -> None:
    send(broker, DESIRED, b"a wish", retain=True)
    for _ in range(2):
        desired = Heard()
        publisher = connect({DESIRED: desired}, protocol)
        assert desired.next() == (b"a wish", True)
        publisher.stop(5.0)


def test_what_was_said_during_a_short_outage_arrives(broker: Mosquitto, connect: Callable[..., MqttPublisher]) -> None:
    """MQTT 5: the session outlives the connection for a minute."""
    connect({TOPICS.commands: Heard()}, "5").stop(5.0)
    send(broker, TOPICS.commands, b"while it was away")
    commands = Heard()
    connect({TOPICS.commands: commands}, "5")
    assert commands.next() == (b"while it was away", False)


def test_too_long_a_message_is_not_looked_at(
    broker: Mosquitto, connect: Callable[..., MqttPublisher], protocol: Version, caplog: pytest.LogCaptureFixture
) -> None:
    commands = Heard()
    connect({TOPICS.commands: commands}, protocol)
    for size in (MAX_ORDER_BYTES + 1, MAX_ORDER_BYTES + 2, 1_000_000):
        send(broker, TOPICS.commands, bytes(size))
    longest = b"x" * MAX_ORDER_BYTES
    send(broker, TOPICS.commands, longest)
    assert commands.next() == (longest, False)
    said = [record.getMessage() for record in caplog.records if "not looked at" in record.getMessage()]
    assert said == [f"edge-ctl/v1/gate-03/cmd: {MAX_ORDER_BYTES + 1} bytes, more than {MAX_ORDER_BYTES}, are not looked at"]


def test_a_handler_that_is_broken_ends_the_agent(broker: Mosquitto, tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text(BROKEN)
    send(broker, TOPICS.commands, b"x", retain=True)
    run = subprocess.run(
        [sys.executable, str(program), broker.host, str(broker.port)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stdout.strip() == "mqtt: ZeroDivisionError"


BROKEN = """
import sys, threading
from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.topics import Topics

ended = threading.Event()

def broke(args):
    print(f"{args.thread.name}: {args.exc_type.__name__}", flush=True)
    ended.set()

threading.excepthook = broke
topics = Topics("edge", "gate-03")
config = MqttConfig(host=sys.argv[1], port=int(sys.argv[2]))
publisher = MqttPublisher(config, topics, subscriptions={topics.commands: lambda payload, retained: 1 // 0})
publisher.start()
ended.wait(20.0)
"""


def test_a_subscription_that_the_broker_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture, protocol: Version) -> None:
    """Mosquitto's own access list lets everyone subscribe and then sends nothing; its dynamic security refuses."""
    if not DYNAMIC_SECURITY.exists():
        pytest.skip("mosquitto's dynamic security is not installed")
    caplog.set_level(logging.INFO)
    settings = tmp_path / "security.json"
    settings.write_text(json.dumps(SECURITY))
    settings.chmod(0o600)
    plugin = [f"plugin {DYNAMIC_SECURITY}", f"plugin_opt_config_file {settings}"]
    with Mosquitto(tmp_path, plugin) as broker:
        config = MqttConfig(host=broker.host, port=broker.port, protocol=protocol)
        publisher = MqttPublisher(config, TOPICS, subscriptions={DESIRED: Heard(), TOPICS.commands: Heard()})
        publisher.start()
        wait_until(lambda: len(refusals(caplog)) >= 1, "the refusal is told")
        assert publisher.stop(5.0)
    why = "not authorized" if protocol == "5" else "unspecified error"
    (line,) = refusals(caplog)
    assert line.endswith(f" does not let 'gate-03' subscribe to {TOPICS.commands} ({why}): check its access list")


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "does not let" in record.getMessage()]


SECURITY = {
    "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True},
    "anonymousGroup": "devices",
    "groups": [{"groupname": "devices", "roles": [{"rolename": "device"}]}],
    "roles": [
        {"rolename": "device", "acls": [{"acltype": "subscribePattern", "topic": "edge-ctl/v1/gate-03/models/#", "allow": True}]}
    ],
    "clients": [],
}
