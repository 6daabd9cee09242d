"""The running agent, as commands on the same computer ask it things."""

import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from agent.control.client import ControlClient
from agent.control.place import find_socket
from agent.errors import ControlError
from agent.publish.orders import Reply, Reported

ANSWER_S = 10.0


class StoredBundle(Struct, frozen=True):
    """A bundle in the agent's store. origin: how it came. complete: whether all its files are there."""

    name: str
    version: str
    digest: str
    origin: str
    complete: bool


class Listing(Struct, frozen=True):
    """What each model slot has, by its name, and what is in the store."""

    slots: dict[str, Reported]
    stored: list[StoredBundle]


class Daemon:
    """A conversation, as a context manager. ControlError where there is no agent, or it could not do what was asked.

    path: of its control socket, if it is not the usual one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path or find_socket()
        self._client = ControlClient(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.__exit__(kind, error, trace)

    def ask(self, op: str, *, timeout_s: float = ANSWER_S, **args: Any) -> dict[str, Any]:
        """Have something done; what the reply says beyond that it is."""
        line = msgspec.json.encode({"id": secrets.token_hex(8), "op": op, "args": args})
        reply = self._understood(msgspec.json.decode, self._client.ask(line, timeout_s), Reply)
        if not reply.ok:
            raise ControlError(str(reply.error))
        return reply.data or {}

    def listing(self) -> Listing:
        """What there is."""
        listing: Listing = self._understood(msgspec.convert, self.ask("list"), Listing)
        return listing

    def reported(self, slot: str) -> Reported:
        """What a model slot has, and how its newest deployment goes."""
        reported: Reported = self._understood(msgspec.convert, self.ask("reported", slot=slot), Reported)
        return reported

    def _understood(self, decode: Any, what: object, kind: Any) -> Any:
        try:
            return decode(what, type=kind)
        except msgspec.MsgspecError as error:
            raise ControlError(f"the agent at {self._path} is of another version: {error}") from None
