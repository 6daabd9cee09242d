"""A command becomes an action of the agent, or one line that says why not."""

import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from msgspec import Struct

from agent.checked import suggest
from agent.commands import Controls, Stored
from agent.commands.executed import ExecutedIds
from agent.commands.operations import ARGUMENTS, OfBundle, OfInstall, OfPipeline, OfSlot
from agent.errors import AgentError
from agent.publish import Publisher
from agent.publish.messages import now_text
from agent.publish.orders import Command, Reply
from agent.publish.topics import Topics

log = logging.getLogger(__name__)

Data = dict[str, Any] | None
LOOKS = ("list", "reported")  # which change nothing, and are asked for again and again


class Refused(Exception):  # noqa: N818  it is no error of the agent's
    """A command that is not executed; the message says why."""


class Dispatcher:
    """Executes commands of one kind of sender.

    allowed: the operations that this sender may ask for. executed: by which a command that comes twice is told; None where
    commands cannot come twice. publisher, topics: for snapshots. clock_synced: whether the clock was set from the network.
    now: the instant, as `now_text` has it.
    """

    def __init__(
        self,
        controls: Controls,
        publisher: Publisher,
        topics: Topics,
        *,
        allowed: Collection[str],
        executed: ExecutedIds | None,
        clock_synced: Callable[[], bool],
        now: Callable[[], str] = now_text,
    ) -> None:
        self._controls = controls
        self._publisher = publisher
        self._topics = topics
        self._allowed = allowed
        self._executed = executed
        self._clock_synced = clock_synced
        self._now = now
        self._replies: dict[str, Reply] = {}  # to commands in `executed`, since the start

    def execute(self, command: Command, by: str) -> Reply:
        """Execute a command, unless that was done before; what it came to. Whatever is no AgentError is a defect, and is raised."""
        if self._executed is not None and command.id in self._executed:
            return self._replies.get(command.id) or _failed(
                command,
                "it was executed before the agent was last started; if it is to be executed again, give it an id of its own",
            )
        try:
            arguments = self._checked(command)
            if self._executed is not None:
                self._executed.add(command.id)
            reply = Reply(id=command.id, ok=True, data=self._do(command.op, arguments, by))
        except (Refused, AgentError) as error:
            reply = _failed(command, " ".join(str(error).split()))
        self._remember(reply)
        if reply.error:
            log.warning("command %s of %s: %s: %s", command.id, by, command.op, reply.error)
        else:
            log.log(logging.DEBUG if command.op in LOOKS else logging.INFO, "command %s of %s: %s", command.id, by, command.op)
        return reply

    def _remember(self, reply: Reply) -> None:
        if self._executed is not None:
            self._replies[reply.id] = reply
            self._replies = {id_: old for id_, old in self._replies.items() if id_ in self._executed}

    def _checked(self, command: Command) -> Struct:
        """The arguments of a command that may be executed."""
        if command.op not in ARGUMENTS:
            raise Refused(f"there is no {command.op!r}{suggest(command.op, self._allowed)}")
        if command.op not in self._allowed:
            raise Refused(f"this device does not allow {command.op} over MQTT; its config would have to name it in mqtt.commands")
        if command.expires_at is not None and command.expires_at <= (now := self._now()):
            doubt = "" if self._clock_synced() else ", by a clock that is not set from the network"
            raise Refused(f"it has expired: it was good until {command.expires_at}, and it is {now}{doubt}")
        try:
            arguments = msgspec.convert(command.args, ARGUMENTS[command.op])
        except msgspec.ValidationError as error:
            raise Refused(f"args: {error}") from None
        if isinstance(arguments, OfSlot):
            _known("model slot", arguments.slot, self._controls.slots())
        elif isinstance(arguments, OfPipeline):
            _known("pipeline", arguments.pipeline, self._controls.pipelines())
        return arguments

    def _do(self, op: str, arguments: Any, by: str) -> Data:  # noqa: C901  one case an operation is the clearest
        controls = self._controls
        match op:
            case "pause":
                controls.pause(arguments.pipeline)
            case "resume":
                controls.resume(arguments.pipeline)
            case "snapshot":
                return self._snapshot(arguments.pipeline)
            case "cancel":
                controls.cancel(arguments.slot, by)
            case "factory":
                controls.factory(arguments.slot, by)
            case "rollback":
                controls.rollback(arguments.slot, by)
            case "install":
                controls.install(arguments.slot, arguments.bundle, arguments.version, by, force=arguments.force)
            case "activate":
                self._stored(arguments)
                controls.activate(arguments.slot, arguments.bundle, arguments.version, by, force=arguments.force)
            case "verify":
                digest = self._stored(arguments).digest
                controls.verify(digest)
                return {"digest": digest}
            case "reported":
                return _as_data(controls.reported(arguments.slot))
            case "list":
                return self._list()
        return None

    def _snapshot(self, pipeline: str) -> Data:
        picture = self._controls.snapshot(pipeline)
        topic = self._topics.snapshot(pipeline)
        if not self._publisher.publish(topic, picture, qos=1):
            raise Refused("there is a picture, but no way to the broker now")
        return {"topic": topic, "bytes": len(picture)}

    def _stored(self, wanted: OfBundle | OfInstall) -> Stored:
        stored = self._controls.stored()
        for one in stored:
            if (one.name, one.version) == (wanted.bundle, wanted.version):
                if not one.complete:
                    raise Refused(
                        f"{wanted.bundle}@{wanted.version} is not in the store as a whole; install fetches what is missing"
                    )
                return one
        name = f"{wanted.bundle}@{wanted.version}"
        raise Refused(f"the store has no {name}{suggest(name, [f'{one.name}@{one.version}' for one in stored])}")

    def _list(self) -> Data:
        fields = ("name", "version", "digest", "origin", "complete")
        return {
            "slots": {slot: _as_data(self._controls.reported(slot)) for slot in self._controls.slots()},
            "stored": [{field: getattr(one, field) for field in fields} for one in self._controls.stored()],
        }


def _known(what: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        hint = suggest(name, names) or (f"; there is {', '.join(sorted(names))}" if names else "")
        raise Refused(f"there is no {what} {name!r}{hint}")


def _as_data(message: Struct) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(message)
    return data


def _failed(command: Command, error: str) -> Reply:
    return Reply(id=command.id, ok=False, error=error)
