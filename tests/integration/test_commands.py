"""Commands from a real broker to a dispatcher: retained, repeated, broken, too many; across restarts of agent and broker."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.commands.dispatcher import Dispatcher
from agent.commands.executed import ExecutedIds
from agent.commands.inbox import WAITING, CommandInbox
from agent.publish.config import MqttConfig
from agent.publish.mqtt import MqttPublisher
from agent.publish.orders import MAX_ORDER_BYTES
from agent.publish.topics import Topics
from tests.controls import FakeControls
from tests.mosquitto import Mosquitto, Subscriber
from tests.waiting import DEADLINE_S, wait_until

TOPICS = Topics("edge", "gate-03")
DEFAULT = MqttConfig(host="").commands


class Agent:
    """The parts of an agent that commands go through."""

    def __init__(self, broker: Mosquitto, state_dir: Path, allowed: Sequence[str], controls: FakeControls) -> None:
        self._broker = broker
        self.controls = controls
        settings = MqttConfig(host=broker.host, port=broker.port)
        self.publisher = MqttPublisher(settings, TOPICS, subscriptions={TOPICS.commands: self._received})
        dispatcher = Dispatcher(
            controls,
            self.publisher,
            TOPICS,
            allowed=allowed,
            executed=ExecutedIds(state_dir),
            clock_synced=lambda: True,
        )
        self.inbox = CommandInbox(dispatcher, self.publisher, TOPICS.replies)
        self.inbox.start()
        self.publisher.start()
        self.wait_subscribed()

    def _received(self, payload: bytes, retained: bool) -> None:
        self.inbox(payload, retained)

    def wait_subscribed(self) -> None:
        wait_until(lambda: any("Sending SUBACK to gate-03" in line for line in self._broker.log), "it has subscribed")

    def stop(self) -> None:
        self.inbox.stop(DEADLINE_S)
        assert self.publisher.stop(5.0)


class Desk(Subscriber):
    """Sends commands, and reads the replies."""

    def send(self, command: dict[str, Any] | bytes, *, retain: bool = False) -> None:
        payload = command if isinstance(command, bytes) else json.dumps(command).encode()
        self._client.publish(TOPICS.commands, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def replies(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.payloads(TOPICS.replies)]

    def ask(self, op: str, id_: str, /, **args: Any) -> dict[str, Any]:
        """The first reply to a command that comes after it was sent."""
        before = len(self.replies())
        self.send({"id": id_, "op": op, "args": args})
        wait_until(lambda: any(reply["id"] == id_ for reply in self.replies()[before:]), f"a reply to {id_}")
        return next(reply for reply in self.replies()[before:] if reply["id"] == id_)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def desk(broker: Mosquitto) -> Iterator[Desk]:
    with Desk(broker, "edge/v1/gate-03/#") as desk:
        yield desk


@pytest.fixture
def start(broker: Mosquitto, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    with ExitStack() as stack:

        def make(allowed: Sequence[str] = DEFAULT, controls: FakeControls | None = None) -> Agent:
            broker.log.clear()
            agent = Agent(broker, tmp_path, allowed, controls or FakeControls())
            stack.callback(agent.stop)
            return agent

        yield make


def test_a_command_and_its_reply(start: Callable[..., Agent], desk: Desk) -> None:
    agent = start()
    assert desk.ask("pause", "c-1", pipeline="gate") == {"v": 1, "id": "c-1", "ok": True, "error": None, "data": None}
    assert desk.ask("install", "c-2", slot="people", bundle="people", version="1.4.0")["ok"]
    assert agent.controls.calls == [("pause", "gate"), ("install", "people", "people", "1.4.0", "mqtt", "")]
    reply = desk.wait_topic(TOPICS.replies)
    assert reply.qos == 1
    assert not reply.retain


def test_forbidden_commands(start: Callable[..., Agent], desk: Desk) -> None:
    agent = start()
    for number, op in enumerate(("factory", "snapshot", "rollback", "verify", "list", "reload", "rm -rf")):
        reply = desk.ask(op, f"c-{number}", slot="people", pipeline="gate")
        assert not reply["ok"]
        if op in ("factory", "snapshot"):
            assert reply["error"] == f"this device does not allow {op} over MQTT; its config would have to name it in mqtt.commands"
    assert agent.controls.calls == []


def test_a_snapshot_where_it_is_allowed(start: Callable[..., Agent], desk: Desk) -> None:
    start(("snapshot",))
    reply = desk.ask("snapshot", "c-1", pipeline="gate")
    assert reply["data"] == {"topic": TOPICS.snapshot("gate"), "bytes": 12}
    assert desk.wait_topic(TOPICS.snapshot("gate")).payload == b"\xff\xd8 a picture"


def test_retained_commands_are_dropped(
    start: Callable[..., Agent], desk: Desk, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    desk.send({"id": "old", "op": "pause", "args": {"pipeline": "gate"}}, retain=True)
    agent = start()
    desk.send({"id": "live", "op": "pause", "args": {"pipeline": "gate"}}, retain=True)
    assert desk.ask("resume", "after", pipeline="gate")["ok"]
    assert agent.controls.calls == [("resume", "gate")]
    assert [reply["id"] for reply in desk.replies()] == ["after"]
    desk.send(b"", retain=True)
    broker.log.clear()
    agent.stop()
    again = start()
    assert desk.ask("resume", "after-2", pipeline="gate")["ok"]
    assert again.controls.calls == [("resume", "gate")]
    assert len([record for record in caplog.records if "a retained command is dropped" in record.getMessage()]) == 2


def test_one_id_twice_also_across_a_restart(start: Callable[..., Agent], desk: Desk) -> None:
    agent = start()
    first = desk.ask("pause", "c-1", pipeline="gate")
    assert desk.ask("pause", "c-1", pipeline="gate") == first
    agent.stop()
    again = start()
    reply = desk.ask("pause", "c-1", pipeline="gate")
    assert not reply["ok"]
    assert reply["error"].startswith("it was executed before the agent was last started")
    assert agent.controls.calls == [("pause", "gate")]
    assert again.controls.calls == []


def test_what_has_expired(start: Callable[..., Agent], desk: Desk) -> None:
    agent = start()
    for id_, expires_at in (("c-1", "2020-01-01T00:00:00.000Z"), ("c-2", "2199-01-01T00:00:00.000Z")):
        desk.send({"id": id_, "op": "pause", "args": {"pipeline": "gate"}, "expires_at": expires_at})
    wait_until(lambda: len(desk.replies()) == 2, "both replies")
    expired, good = desk.replies()
    assert expired["error"].startswith("it has expired: it was good until 2020-01-01T00:00:00.000Z, and it is 20")
    assert good["ok"]
    assert agent.controls.calls == [("pause", "gate")]


def test_broken_commands(start: Callable[..., Agent], desk: Desk) -> None:
    """Whoever can be told is told; nothing ends."""
    agent = start()
    for payload in (b"pause", b"\xff", b"[]", b"{}", b'{"id":7,"op":"pause"}', b"[" * 10_000, bytes(MAX_ORDER_BYTES + 1)):
        desk.send(payload)
    desk.send(b'{"id":"c-1"}')
    desk.send(b'{"id":"c-2","op":"pause","args":[]}')
    desk.send(b'{"id":"c-3","op":"pause","args":{"pipeline":"gate"},"expires_at":"tomorrow"}')
    assert desk.ask("resume", "c-4", pipeline="gate")["ok"]
    assert agent.controls.calls == [("resume", "gate")]
    errors = {reply["id"]: reply["error"] for reply in desk.replies()}
    assert errors["c-1"] == "Object missing required field `op`"
    assert errors["c-2"] == "Expected `object`, got `array` - at `$.args`"
    assert errors["c-3"].startswith("Expected `str` matching regex")
    assert list(errors) == ["c-1", "c-2", "c-3", "c-4"]


def test_a_broker_that_was_away(start: Callable[..., Agent], desk: Desk, broker: Mosquitto) -> None:
    agent = start()
    assert desk.ask("pause", "c-1", pipeline="gate")["ok"]
    broker.kill()
    broker.log.clear()
    broker.start()
    agent.wait_subscribed()
    with Desk(broker, "edge/v1/gate-03/#") as other:
        assert other.ask("resume", "c-2", pipeline="gate")["ok"]
        assert not other.ask("pause", "c-1", pipeline="gate")["error"]  # the reply of before
    assert agent.controls.calls == [("pause", "gate"), ("resume", "gate")]


class Busy(FakeControls):
    """Takes its time with one command."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.leave = threading.Event()

    def pause(self, pipeline: str) -> None:
        self.entered.set()
        assert self.leave.wait(DEADLINE_S)
        super().pause(pipeline)


def test_a_flood(start: Callable[..., Agent], desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """What waits is bounded, and the connection does not suffer."""
    controls = Busy()
    agent = start(controls=controls)
    desk.send({"id": "busy", "op": "pause", "args": {"pipeline": "gate"}})
    assert controls.entered.wait(DEADLINE_S)
    for number in range(WAITING + 20):
        desk.send({"id": f"c-{number}", "op": "resume", "args": {"pipeline": "gate"}})
    wait_until(lambda: any("what comes now is dropped" in record.getMessage() for record in caplog.records), "it is told")
    assert agent.publisher.publish(TOPICS.health, b"{}", qos=1)
    desk.wait_topic(TOPICS.health)
    controls.leave.set()
    wait_until(lambda: len(desk.replies()) == WAITING + 1, "those that waited are answered")
    assert len(controls.calls) == WAITING + 1
