"""Commands that come over MQTT: taken on the network thread, executed on one of their own, answered on D/replies."""

import logging
import queue
import threading

import msgspec
from msgspec import Struct

from agent.commands.dispatcher import Dispatcher
from agent.publish import Publisher
from agent.publish.messages import encode
from agent.publish.orders import Id, Reply, decode_command

WAITING = 64  # commands that may wait; more than a person sends, fewer than a flood

log = logging.getLogger(__name__)


class _Identified(Struct):
    """What of a command is needed to answer it."""

    id: Id


class CommandInbox:
    """Called with each message of C/cmd; executes one after the other.

    A retained command is dropped: the broker would repeat it on each connection, long after it was meant. topic: of the replies.
    """

    def __init__(self, dispatcher: Dispatcher, publisher: Publisher, topic: str) -> None:
        self._dispatcher = dispatcher
        self._publisher = publisher
        self._topic = topic
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._retained = b""
        self._full = False
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        """Begin to execute."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more; wait for the one that is being executed, which may be reading a whole bundle."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def __call__(self, payload: bytes, retained: bool) -> None:
        """Take a message, at once. An empty one clears what was retained, and says nothing."""
        if not payload:
            return
        if retained:
            if payload != self._retained:
                log.warning("a retained command is dropped: commands are sent without retain; clear it with an empty message")
            self._retained = payload
        elif self._queue.qsize() < WAITING:
            self._full = False
            self._queue.put(payload)
        elif not self._full:
            self._full = True
            log.warning("more than %d commands wait; what comes now is dropped", WAITING)

    def _run(self) -> None:
        while (payload := self._queue.get()) is not None:
            reply = self._answer(payload)
            if reply is not None:
                self._publisher.publish(self._topic, encode(reply), qos=1)

    def _answer(self, payload: bytes) -> Reply | None:
        """None for what does not even say which command it is."""
        try:
            command = decode_command(payload)
        except ValueError as error:
            log.warning("a command is refused: %s", error)
            return refusal(payload, str(error))
        return self._dispatcher.execute(command, "mqtt")


def refusal(payload: bytes, error: str) -> Reply | None:
    """The reply to a command that cannot be understood, if it can be told whose it is."""
    try:
        return Reply(id=msgspec.json.decode(payload, type=_Identified).id, ok=False, error=error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
