"""Fakes that implement the production Protocols."""

import threading
from collections.abc import Callable

from agent.publish.outgoing import Publication
from tests.waiting import DEADLINE_S


class RecordingPublisher:
    """A `Publisher` that keeps what the broker would get. It is connected at first; `connect` and `disconnect` change that."""

    def __init__(self) -> None:
        self.messages: list[Publication] = []
        self.dropped = 0
        self._connected = True
        self._retained: dict[str, Publication] = {}
        self._changed = threading.Condition()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """See `Publisher`."""
        message = Publication(topic, payload, qos, retain)
        with self._changed:
            if retain:
                self._retained[topic] = message
            if self._connected:
                self.messages.append(message)
                self._changed.notify_all()
            elif not retain:
                self.dropped += 1
            return self._connected or retain

    def wait_ready(self, timeout_s: float) -> bool:
        """See `Publisher`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connected, timeout_s)

    def connect(self) -> None:
        """The broker is back: it gets the newest of each retained topic."""
        with self._changed:
            self._connected = True
            self.messages.extend(self._retained.values())
            self._changed.notify_all()

    def disconnect(self) -> None:
        """The broker is gone."""
        with self._changed:
            self._connected = False

    def payloads(self, topic: str) -> list[bytes]:
        """What was published on `topic`, oldest first."""
        with self._changed:
            return [message.payload for message in self.messages if message.topic == topic]

    def wait_for(
        self, predicate: Callable[[Publication], bool], what: str = "a message", deadline_s: float = DEADLINE_S
    ) -> Publication:
        """The first message for which `predicate` holds, waiting for it."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(predicate, self.messages)), deadline_s)
            for message in self.messages:
                if predicate(message):
                    return message
        raise AssertionError(f"not within {deadline_s} s: {what}; the last: {self.messages[-5:]}")
