"""Commands that come through the control socket: the same words as over MQTT, from people on this computer."""

import pwd

import msgspec

from agent.commands.dispatcher import Dispatcher
from agent.commands.inbox import refusal
from agent.publish.orders import Reply, decode_command


class LocalCommands:
    """Answers a line of the control socket."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, line: bytes, user_id: int) -> bytes:
        """line: a Command in JSON; returns the Reply in JSON, without a line's end."""
        try:
            command = decode_command(line)
        except ValueError as error:
            return msgspec.json.encode(refusal(line, str(error)) or Reply(id="unknown", ok=False, error=str(error)))
        return msgspec.json.encode(self._dispatcher.execute(command, f"local:{_user(user_id)}"))


def _user(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
