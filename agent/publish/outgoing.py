"""What is on its way to the broker: a window of messages, and the newest of each retained topic."""

import threading
from collections import deque
from typing import NamedTuple


class Publication(NamedTuple):
    """One message for the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Outgoing:
    """Bounded by its window plus one message a retained topic. Any thread adds; the network thread alone takes.

    A message is in the window from `add` until it is sent (QoS 0) or acknowledged (QoS 1). While there is no connection only
    retained messages are taken. When one is lost, waiting QoS 0 messages are dropped, and what was not acknowledged is sent again
    on the next.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._limit = window
        self._open = False
        self._closing = False
        self._queue: deque[Publication] = deque()
        self._unacknowledged: dict[int, Publication] = {}
        self._retained: dict[str, Publication] = {}
        self._late: dict[str, None] = {}  # retained topics whose newest message found no room, in order
        self._changed = threading.Condition()
        self.dropped = 0

    def add(self, message: Publication) -> bool:
        """Take a message; False: dropped and counted. A retained one is kept at least until a newer one of its topic comes."""
        with self._changed:
            if self._closing:
                self.dropped += 1
                return False
            if message.retain:
                self._retained[message.topic] = message
            if self._has_room() and message.topic not in self._late:
                self._queue.append(message)
                return True
            if message.retain:
                self._late[message.topic] = None
                return True
            self.dropped += 1
            return False

    def wait_room(self, timeout_s: float) -> bool:
        """Wait until `add` would take any message."""
        with self._changed:
            return self._changed.wait_for(lambda: self._has_room() and not self._closing, timeout_s)

    def open(self, limit: int) -> None:
        """There is a connection: the newest of each retained topic goes first, in the order in which the topics first came.

        limit: how many messages the broker lets be unacknowledged at once.
        """
        with self._changed:
            self._open = True
            self._limit = min(limit, self._window)
            self._late.clear()
            self._queue.extendleft(reversed(self._retained.values()))
            self._changed.notify_all()

    def shut(self) -> None:
        """The connection is gone."""
        with self._changed:
            self._open = False
            waiting = (*self._unacknowledged.values(), *self._queue)
            self._unacknowledged.clear()
            self._queue = deque(message for message in waiting if message.qos > 0 and not message.retain)
            self._late.update((message.topic, None) for message in waiting if message.retain)
            self.dropped += sum(message.qos == 0 and not message.retain for message in waiting)

    def next(self) -> Publication | None:
        """The next message to send, if there is one and the broker would take it; the same again until it is `sent`."""
        with self._changed:
            if not self._queue or (self._queue[0].qos > 0 and len(self._unacknowledged) >= self._limit):
                return None
            return self._queue[0]

    def sent(self, number: int) -> None:
        """The next message was sent, as packet `number`."""
        with self._changed:
            message = self._queue.popleft()
            if message.qos > 0:
                self._unacknowledged[number] = message
            self._make_use_of_room()

    def acknowledged(self, number: int) -> Publication | None:
        """The QoS 1 message that was sent as packet `number`, which has arrived; None for an unknown number."""
        with self._changed:
            message = self._unacknowledged.pop(number, None)
            self._make_use_of_room()
            return message

    def finish(self, last: Publication) -> None:
        """Take one last message, and none any more."""
        with self._changed:
            self.add(last)
            self._closing = True

    @property
    def empty(self) -> bool:
        """Whether nothing is on its way: all that was taken is sent, and acknowledged."""
        with self._changed:
            return not (self._queue or self._unacknowledged or self._late)

    def _has_room(self) -> bool:
        return self._open and len(self._queue) + len(self._unacknowledged) < self._window

    def _make_use_of_room(self) -> None:
        while self._late and self._has_room():
            topic = next(iter(self._late))
            del self._late[topic]
            self._queue.append(self._retained[topic])
        if self._has_room():
            self._changed.notify_all()
