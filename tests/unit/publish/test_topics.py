import pytest

from agent.publish.topics import Topics


def test_every_topic_lies_below_the_device() -> None:
    topics = Topics("edge", "gate-03")
    assert [
        topics.availability,
        topics.info,
        topics.health,
        topics.source("bench"),
        topics.state("gate"),
        topics.results("gate"),
        topics.events("worker"),
        topics.reported("people"),
        topics.replies,
        topics.snapshot("gate"),
    ] == [
        "edge/v1/gate-03/availability",
        "edge/v1/gate-03/info",
        "edge/v1/gate-03/health",
        "edge/v1/gate-03/sources/bench",
        "edge/v1/gate-03/state/gate",
        "edge/v1/gate-03/results/gate",
        "edge/v1/gate-03/events/worker",
        "edge/v1/gate-03/models/people/reported",
        "edge/v1/gate-03/replies",
        "edge/v1/gate-03/snapshots/gate",
    ]


def test_what_operators_write_lies_apart() -> None:
    topics = Topics("edge", "gate-03")
    assert topics.commands == "edge-ctl/v1/gate-03/cmd"
    assert topics.desired("people") == "edge-ctl/v1/gate-03/models/people/desired"


@pytest.mark.parametrize("device", ["", "a/b", "a+", "#", "a\0b"])
def test_an_id_that_would_leave_its_place_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a topic"):
        Topics("edge", device)
