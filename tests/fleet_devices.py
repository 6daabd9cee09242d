"""Devices as an operator's desk sees them, over a real broker: they tell what they have, follow wishes and answer commands."""

import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.publish.messages import Hardware, Info, ModelInfo, now_text
from agent.publish.orders import (
    BundleRef,
    CurrentBundle,
    Desired,
    Phase,
    Reply,
    Reported,
    UpdateErrorCode,
    UpdateFailure,
    UpdateState,
    decode_command,
    decode_desired,
)
from agent.publish.topics import Topics
from tests.mosquitto import Mosquitto
from tests.waiting import DEADLINE_S

SLOT = "people"
OLD = BundleRef(name="people", version="1.2.0", digest="2" * 64)


class Ending(NamedTuple):
    """How a deployment ends, and after which step of it. It stays there where `state` is no last one."""

    state: UpdateState = "committed"
    code: UpdateErrorCode | None = None
    phase: Phase = "vetting"


class FakeDevices:
    """Devices that share one connection, as a context manager; returns once all of them are online.

    labels: by device. endings: what becomes of each wish, by device. silent: those that are offline and do nothing until `wake`.
    """

    def __init__(
        self,
        broker: Mosquitto,
        labels: Mapping[str, Mapping[str, str]],
        *,
        endings: Mapping[str, Ending] | None = None,
        silent: Iterable[str] = (),
        username: str | None = None,
    ) -> None:
        self.reported: dict[str, Reported] = {}
        self.heard: dict[str, list[Desired]] = {name: [] for name in labels}
        self._labels = labels
        self._endings = endings or {}
        self._silent = set(silent)
        self._missed: dict[str, Desired] = {}
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        if username is not None:
            self._client.username_pw_set(username, username)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.max_queued_messages_set(0)
        self._client.connect(broker.host, broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)
        for name in self._labels:
            self._introduce(name)
        last = self._client.publish("edge/v1/the-last/events/config", b"", qos=1)
        last.wait_for_publish(DEADLINE_S)
        assert last.is_published()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None

    def wake(self, name: str) -> None:
        """A silent device comes online and reads the newest wish."""
        with self._changed:
            self._silent.discard(name)
            self._publish(Topics("edge", name).availability, b"online")
            missed = self._missed.pop(name, None)
            if missed is not None:
                self._follow(name, missed)

    def wait_for(self, name: str, state: str) -> None:
        """Until a device has reported this state."""
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.reported and self.reported[name].state == state, DEADLINE_S)

    def _introduce(self, name: str) -> None:
        topics = Topics("edge", name)
        held = ModelInfo(name=OLD.name, version=OLD.version, digest=OLD.digest[:12], variant=None, task="detect", delegates=())
        info = Info(
            device=name,
            at=now_text(),
            session="1-aaaa",
            versions={"edge-agent": "1.0.0"},
            hardware=Hardware(model=None, arch="aarch64", cores=4, memory_bytes=1 << 30),
            labels=dict(self._labels[name]),
            sources={},
            models={SLOT: held},
            pipelines={},
        )
        self._publish(topics.info, msgspec.json.encode(info))
        self._report(name, "idle", current=CurrentBundle(name=OLD.name, version=OLD.version, digest=OLD.digest), previous=None)
        self._publish(topics.availability, b"offline" if name in self._silent else b"online")

    def _report(self, name: str, state: UpdateState, **changes: Any) -> None:
        before = self.reported.get(name)
        fields: dict[str, Any] = {
            "device": name,
            "rev_seen": 0,
            "rev_applied": 0,
            "deployment": None,
            "by": "",
            "deferred": None,
            "progress_pct": None,
            "current": None,
            "target": None,
            "previous": None,
            "available": None,
            "error": None,
            "swap": None,
        }
        if before is not None:
            fields |= msgspec.structs.asdict(before)
        self.reported[name] = Reported(**(fields | {"at": now_text(), "state": state} | changes))
        self._publish(Topics("edge", name).reported(SLOT), msgspec.json.encode(self.reported[name]))
        with self._changed:
            self._changed.notify_all()

    def _follow(self, name: str, desired: Desired) -> None:
        before = self.reported[name]
        if desired.rev <= before.rev_seen:
            return
        target = BundleRef(name=desired.bundle, version=desired.version, digest=desired.digest)
        about = {"rev_seen": desired.rev, "deployment": desired.deployment, "by": desired.by, "target": target, "error": None}
        ending = self._endings.get(name, Ending())
        self._report(name, "accepted", **about)
        self._report(name, "downloading", progress_pct=45.0)
        if ending.code is not None:
            failure = UpdateFailure(code=ending.code, phase=ending.phase, detail="bus.jpg", retryable=False)
            self._report(name, ending.state, error=failure, progress_pct=None, target=None)
        elif ending.state == "committed":
            current = CurrentBundle(name=target.name, version=target.version, digest=target.digest)
            changed = {"current": current, "previous": before.current and as_ref(before.current), "rev_applied": desired.rev}
            self._report(name, "committed", progress_pct=None, target=None, **changed)
        else:
            self._report(name, ending.state)

    def _answer(self, name: str, payload: bytes) -> None:
        command = decode_command(payload)
        if command.op == "factory":
            reply = Reply(id=command.id, ok=False, error="factory is not allowed here: see mqtt.commands")
        else:
            reply = Reply(id=command.id, ok=True, data=command.args)
        self._client.publish(Topics("edge", name).replies, msgspec.json.encode(reply), qos=1)

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe("edge-ctl/v1/#", 1)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        _, _, name, *rest = message.topic.split("/")
        if name not in self._labels or not message.payload:
            return
        with self._changed:
            if rest == ["cmd"]:
                if name not in self._silent:
                    self._answer(name, bytes(message.payload))
                return
            desired = decode_desired(bytes(message.payload))
            self.heard[name].append(desired)
            if name in self._silent:
                self._missed[name] = desired
            else:
                self._follow(name, desired)

    def _publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1, retain=True)


def as_ref(bundle: BundleRef) -> BundleRef:
    """Its name, version and digest alone."""
    return BundleRef(name=bundle.name, version=bundle.version, digest=bundle.digest)


def unix_ms() -> int:
    """Now, as a rev has it."""
    return time.time_ns() // 1_000_000
