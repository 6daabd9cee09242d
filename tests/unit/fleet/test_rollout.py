from pathlib import Path
from typing import get_args

import msgspec
import pytest

from agent.fleet.devices import Device
from agent.fleet.rollout import DEFERRED, ERRORS, Outcome, Row, missing, rows
from agent.publish.orders import DeferReason, Desired, Reported, UpdateErrorCode, UpdateState

DOCS = Path(__file__).parents[3] / "docs"
HERS = Desired(rev=1, deployment="hers", bundle="people", version="1.0.0", digest="1" * 64)
SERVES = Reported(
    device="gate-01",
    at="2026-11-25T05:00:00.000Z",
    rev_seen=1,
    rev_applied=0,
    deployment="his",
    by="ben",
    state="committed",
    deferred=None,
    progress_pct=None,
    current=None,
    target=None,
    previous=None,
    available=None,
    error=None,
    swap=None,
)


def test_every_code_has_words_and_stands_in_the_guide() -> None:
    assert ERRORS.keys() == set(get_args(UpdateErrorCode))
    assert DEFERRED.keys() == set(get_args(DeferReason))
    guide = "".join(path.read_text() for path in DOCS.glob("fleet*.md"))
    assert [code for code in ERRORS if f"`{code}`" not in guide] == []


def test_what_is_gone_from_the_broker_is_superseded_only_where_something_else_stands() -> None:
    going = [Row(name, online=True, slot="people", state="vetting", outcome="going") for name in ("gate-01", "gate-02", "gate-03")]
    devices = {"gate-01": Device("gate-01", online=True, desired={"people": HERS}), "gate-02": Device("gate-02", online=False)}
    found = missing(going, [], devices)
    assert [(row.device, row.online, row.state, row.outcome) for row in found] == [
        ("gate-01", True, "superseded", "failed"),
        ("gate-02", False, "vetting", "going"),
        ("gate-03", None, "vetting", "going"),
    ]


@pytest.mark.parametrize(
    ("state", "rev_seen", "words", "outcome"),
    [
        ("committed", 4, "to get people 1.0.0", "going"),
        ("probation", 4, "gets people 1.0.0 after the probation of what it has", "going"),
        ("switching", 5, "gets people 1.0.0 after the switching of what it has", "going"),
        ("probation", 5, "gets people 1.0.0 after the probation of what it has", "going"),
        ("probation", 6, "passed over; the wish for people 1.0.0 does not count", "failed"),
        ("committed", 5, "passed over; the wish for people 1.0.0 does not count", "failed"),
    ],
)
def test_a_wish_that_the_device_has_not_begun_with(state: UpdateState, rev_seen: int, words: str, outcome: Outcome) -> None:
    desired = msgspec.structs.replace(HERS, rev=5)
    reported = msgspec.structs.replace(SERVES, rev_seen=rev_seen, state=state)
    (row,) = rows([Device("gate-01", online=True, desired={"people": desired}, reported={"people": reported})], "hers")
    assert words in row.words
    assert row.outcome == outcome
