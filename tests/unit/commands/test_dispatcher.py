"""What a command comes to: what is allowed, checked, remembered and refused."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.commands.dispatcher import Dispatcher
from agent.commands.executed import ExecutedIds
from agent.commands.operations import ARGUMENTS, LOCAL, REMOTE
from agent.publish.config import MqttConfig
from agent.publish.orders import Command
from agent.publish.topics import Topics
from tests.controls import BROKEN, NEWER, FakeControls
from tests.fakes import RecordingPublisher

TOPICS = Topics("edge", "gate-03")
NOW = "2026-11-25T12:00:00.000Z"


class Desk:
    """Sends commands to a dispatcher, each with an id of its own."""

    def __init__(self, folder: Path | None = None, allowed: tuple[str, ...] = LOCAL, *, synced: bool = True) -> None:
        self.controls = FakeControls()
        self.publisher = RecordingPublisher()
        self._dispatcher = Dispatcher(
            self.controls,
            self.publisher,
            TOPICS,
            allowed=allowed,
            executed=ExecutedIds(folder) if folder else None,
            clock_synced=lambda: synced,
            now=lambda: NOW,
        )
        self._sent = 0

    def ask(self, op: str, /, *, id_: str | None = None, expires_at: str | None = None, **args: Any) -> Any:
        """The data of the reply, or its error where it has one."""
        self._sent += 1
        reply = self._dispatcher.execute(Command(id=id_ or f"c-{self._sent}", op=op, args=args, expires_at=expires_at), "anna")
        assert reply.ok == (reply.error is None)
        return reply.error or reply.data


def test_every_operation_has_its_arguments() -> None:
    assert set(ARGUMENTS) == set(LOCAL)
    assert set(MqttConfig(host="h").commands) == set(REMOTE) - {"factory", "snapshot"}


@pytest.mark.parametrize(
    ("op", "args", "call"),
    [
        ("pause", {"pipeline": "gate"}, ("pause", "gate")),
        ("resume", {"pipeline": "yard"}, ("resume", "yard")),
        ("cancel", {"slot": "people"}, ("cancel", "people", "anna")),
        ("factory", {"slot": "people"}, ("factory", "people", "anna")),
        ("rollback", {"slot": "people"}, ("rollback", "people", "anna")),
        (
            "install",
            {"slot": "people", "bundle": "people", "version": "2.0.0"},
            ("install", "people", "people", "2.0.0", "anna", ""),
        ),
        (
            "install",
            {"slot": "people", "bundle": "people", "version": "2.0.0", "force": True},
            ("install", "people", "people", "2.0.0", "anna", "force"),
        ),
        (
            "activate",
            {"slot": "people", "bundle": "people", "version": "1.4.0"},
            ("activate", "people", "people", "1.4.0", "anna", ""),
        ),
    ],
)
def test_what_is_asked_is_done(op: str, args: dict[str, Any], call: tuple[str, ...]) -> None:
    desk = Desk()
    assert desk.ask(op, **args) is None
    assert desk.controls.calls == [call]


def test_a_snapshot_goes_to_a_topic_of_its_own() -> None:
    desk = Desk()
    assert desk.ask("snapshot", pipeline="gate") == {"topic": "edge/v1/gate-03/snapshots/gate", "bytes": 12}
    assert desk.publisher.payloads(TOPICS.snapshot("gate")) == [b"\xff\xd8 a picture"]
    assert not desk.publisher.messages[0].retain
    desk.publisher.disconnect()
    assert desk.ask("snapshot", pipeline="gate") == "there is a picture, but no way to the broker now"


def test_what_is_there() -> None:
    desk = Desk()
    listed = desk.ask("list")
    assert listed["slots"]["people"]["current"]["version"] == "1.3.0"
    assert listed["stored"][1] == msgspec.to_builtins(NEWER)
    assert desk.ask("reported", slot="people") == {**listed["slots"]["people"], "at": desk.ask("reported", slot="people")["at"]}


def test_verify() -> None:
    desk = Desk()
    assert desk.ask("verify", bundle="people", version="1.4.0") == {"digest": NEWER.digest}
    assert desk.ask("verify", bundle="people", version="1.5.0") == "people@1.5.0: model.onnx: it is damaged"
    assert desk.controls.calls == [("verify", NEWER.digest), ("verify", BROKEN.digest)]


SOME = {"slot": "people", "bundle": "people", "version": "1.4.0"}


@pytest.mark.parametrize(
    ("op", "args", "complaint"),
    [
        ("instal", SOME, "there is no 'instal'; did you mean install?"),
        ("reload", {}, "there is no 'reload'"),
        ("pause", {"pipeline": "gaet"}, "there is no pipeline 'gaet'; did you mean gate?"),
        ("cancel", {"slot": "zzz"}, "there is no model slot 'zzz'; there is people"),
        ("pause", {}, "args: Object missing required field `pipeline`"),
        ("pause", {"pipeline": 7}, "args: Expected `str`, got `int` - at `$.pipeline`"),
        ("pause", {"pipeline": "gate", "for_s": 5}, "args: Object contains unknown field `for_s`"),
        ("install", {**SOME, "force": "yes"}, "args: Expected `bool`, got `str` - at `$.force`"),
        ("install", {**SOME, "version": "newest"}, "args: Expected `str` matching regex"),
        ("install", {**SOME, "bundle": "../people"}, "args: Expected `str` matching regex"),
        ("list", {"slot": "people"}, "args: Object contains unknown field `slot`"),
        ("activate", {**SOME, "version": "1.4.1"}, "the store has no people@1.4.1; did you mean people@1."),
        ("activate", {**SOME, "version": "1.6.0"}, "people@1.6.0 is not in the store as a whole; install fetches what is missing"),
    ],
)
def test_what_is_refused(op: str, args: dict[str, Any], complaint: str) -> None:
    desk = Desk()
    assert desk.ask(op, **args).startswith(complaint)
    assert desk.controls.calls == []


@pytest.mark.parametrize("op", LOCAL)
def test_only_what_is_allowed(op: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, allowed=())
    assert desk.ask(op) == f"this device does not allow {op} over MQTT; its config would have to name it in mqtt.commands"
    assert desk.controls.calls == []
    assert not (tmp_path / "commands").exists()


@pytest.mark.parametrize("synced", [True, False])
def test_what_has_expired(*, synced: bool) -> None:
    desk = Desk(synced=synced)
    doubt = "" if synced else ", by a clock that is not set from the network"
    for expired in (NOW, "2026-11-25T11:59:59.999Z"):
        assert (
            desk.ask("pause", pipeline="gate", expires_at=expired)
            == f"it has expired: it was good until {expired}, and it is {NOW}{doubt}"
        )
    assert desk.controls.calls == []
    assert desk.ask("pause", pipeline="gate", expires_at="2026-11-25T12:00:00.001Z") is None


def test_no_command_is_executed_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.ask("pause", id_="x", pipeline="gate") is None
    assert desk.ask("verify", id_="y", bundle="people", version="1.5.0") == "people@1.5.0: model.onnx: it is damaged"
    calls = list(desk.controls.calls)
    assert desk.ask("pause", id_="x", pipeline="gate", expires_at="2000-01-01T00:00:00.000Z") is None  # as before
    assert desk.ask("verify", id_="y", bundle="people", version="1.5.0") == "people@1.5.0: model.onnx: it is damaged"
    assert desk.controls.calls == calls


def test_nor_after_a_restart(tmp_path: Path) -> None:
    Desk(tmp_path).ask("pause", id_="x", pipeline="gate")
    after = Desk(tmp_path)
    assert after.ask("pause", id_="x", pipeline="gate").startswith("it was executed before the agent was last started")
    assert after.controls.calls == []


def test_what_was_refused_may_be_sent_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.ask("pause", id_="x", pipeline="gaet").startswith("there is no pipeline")
    assert desk.ask("pause", id_="x", pipeline="gate") is None


def test_nothing_is_executed_that_cannot_be_remembered(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "gone")
    assert desk.ask("pause", pipeline="gate").endswith("gone/commands.part: the disk refuses: No such file or directory")
    assert desk.controls.calls == []
    (tmp_path / "gone").mkdir()
    assert desk.ask("pause", pipeline="gate") is None
