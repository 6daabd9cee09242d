from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.publish.outgoing import Outgoing, Publication


def message(topic: str, payload: str = "", qos: int = 0, *, retain: bool = False) -> Publication:
    return Publication(topic, payload.encode(), qos, retain)


def take_all(outgoing: Outgoing) -> list[Publication]:
    """What the network thread would send now, each acknowledged at once."""
    taken = []
    while (publication := outgoing.next()) is not None:
        taken.append(publication)
        outgoing.sent(len(taken))
        outgoing.acknowledged(len(taken))
    return taken


@pytest.fixture
def outgoing() -> Outgoing:
    outgoing = Outgoing(window=3)
    outgoing.open(100)
    return outgoing


def test_messages_leave_in_order(outgoing: Outgoing) -> None:
    messages = [message("a", "1"), message("b", "2", 1), message("a", "3")]
    assert all(outgoing.add(one) for one in messages)
    assert take_all(outgoing) == messages
    assert outgoing.empty


def test_a_full_window_drops_and_counts(outgoing: Outgoing) -> None:
    assert [outgoing.add(message("a", str(number))) for number in range(5)] == [True] * 3 + [False] * 2
    assert outgoing.dropped == 2
    assert not outgoing.wait_room(0)
    outgoing.sent(1)
    assert outgoing.wait_room(0)


def test_an_unacknowledged_message_stays_in_the_window(outgoing: Outgoing) -> None:
    for number in range(3):
        assert outgoing.add(message("a", qos=1))
        outgoing.sent(number)
    assert not outgoing.add(message("a"))
    assert outgoing.acknowledged(1) == message("a", qos=1)
    assert outgoing.acknowledged(1) is None
    assert outgoing.add(message("a"))


def test_the_brokers_limit_holds_qos_1_back(outgoing: Outgoing) -> None:
    outgoing.open(1)
    assert outgoing.add(message("a", "1", 1))
    assert outgoing.add(message("a", "2", 1))
    outgoing.sent(7)
    assert outgoing.next() is None
    outgoing.acknowledged(7)
    assert outgoing.next() == message("a", "2", 1)


def test_a_retained_message_waits_for_room_and_only_the_newest_does(outgoing: Outgoing) -> None:
    for _ in range(3):
        outgoing.add(message("a"))
    assert outgoing.add(message("health", "old", 1, retain=True))
    assert outgoing.add(message("health", "new", 1, retain=True))
    assert outgoing.dropped == 0
    assert not outgoing.empty
    assert take_all(outgoing) == [message("a")] * 3 + [message("health", "new", 1, retain=True)]


def test_room_goes_to_retained_messages_first(outgoing: Outgoing) -> None:
    for _ in range(3):
        outgoing.add(message("a"))
    outgoing.add(message("health", "1", 1, retain=True))
    outgoing.sent(1)
    assert not outgoing.add(message("a", "late"))


def test_offline_only_retained_messages_are_taken() -> None:
    outgoing = Outgoing(window=3)
    assert outgoing.add(message("availability", "online", 1, retain=True))
    assert not outgoing.add(message("a", qos=1))
    assert outgoing.add(message("health", "old", 1, retain=True))
    assert outgoing.add(message("health", "new", 1, retain=True))
    assert not outgoing.wait_room(0)
    outgoing.open(100)
    assert take_all(outgoing) == [
        message("availability", "online", 1, retain=True),
        message("health", "new", 1, retain=True),
    ]


def test_what_a_lost_connection_leaves(outgoing: Outgoing) -> None:
    outgoing.add(message("health", "1", 1, retain=True))
    outgoing.add(message("event", "1", 1))
    outgoing.sent(1)
    outgoing.sent(2)
    outgoing.add(message("result", "1"))
    outgoing.shut()
    assert not outgoing.empty
    assert outgoing.dropped == 1
    outgoing.open(100)
    assert take_all(outgoing) == [message("health", "1", 1, retain=True), message("event", "1", 1)]


def test_after_the_last_message_none_is_taken(outgoing: Outgoing) -> None:
    outgoing.finish(message("availability", "offline", 1, retain=True))
    assert not outgoing.add(message("a"))
    assert not outgoing.add(message("health", retain=True))
    assert not outgoing.wait_room(0)
    assert take_all(outgoing) == [message("availability", "offline", 1, retain=True)]


WINDOW, LIMIT = 4, 2
TOPICS = st.sampled_from(["a", "b", "c"])


class Model(RuleBasedStateMachine):
    """Any order of events: nothing that was taken with QoS 1 is lost, each retained topic ends with its newest message."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = Outgoing(WINDOW)
        self.connected = False
        self.number = 0
        self.expected: deque[Publication] = deque()  # QoS 1, taken, not acknowledged
        self.newest: dict[str, Publication] = {}
        self.broker: dict[str, Publication] = {}
        self.on_the_wire: dict[int, Publication] = {}

    @rule(topic=TOPICS, qos=st.sampled_from([0, 1]), retain=st.booleans())
    def add(self, topic: str, qos: int, retain: bool) -> None:
        self.number += 1
        publication = message(f"retained/{topic}" if retain else topic, str(self.number), qos, retain=retain)
        dropped = self.outgoing.dropped
        taken = self.outgoing.add(publication)
        assert taken or not retain
        assert self.outgoing.dropped - dropped == (not taken)
        if retain:
            self.newest[publication.topic] = publication
        elif taken:
            assert self.connected
            if qos:
                self.expected.append(publication)

    @precondition(lambda self: not self.connected)
    @rule()
    def open(self) -> None:
        self.outgoing.open(LIMIT)
        self.connected = True

    @precondition(lambda self: self.connected)
    @rule()
    def shut(self) -> None:
        self.outgoing.shut()
        self.connected = False
        self.on_the_wire.clear()

    @precondition(lambda self: self.connected)
    @rule()
    def send(self) -> None:
        publication = self.outgoing.next()
        if publication is not None:
            self.number += 1
            self.outgoing.sent(self.number)
            if publication.retain:
                self.broker[publication.topic] = publication
            if publication.qos:
                self.on_the_wire[self.number] = publication

    @precondition(lambda self: self.on_the_wire)
    @rule()
    def acknowledge(self) -> None:
        number = next(iter(self.on_the_wire))
        publication = self.on_the_wire.pop(number)
        assert self.outgoing.acknowledged(number) == publication
        if not publication.retain:
            assert self.expected.popleft() == publication

    @invariant()
    def bounded(self) -> None:
        assert len(self.on_the_wire) <= LIMIT
        assert len(self.outgoing._queue) + len(self.on_the_wire) <= WINDOW + len(self.newest)

    def teardown(self) -> None:
        if not self.connected:
            self.open()
        while not self.outgoing.empty:
            self.send()
            if self.on_the_wire:
                self.acknowledge()
        assert not self.expected
        assert self.broker == self.newest


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
