from pathlib import Path
from typing import get_args

from agent.fleet.devices import Device
from agent.fleet.rollout import DEFERRED, ERRORS, Row, missing
from agent.publish.orders import DeferReason, Desired, UpdateErrorCode

DOCS = Path(__file__).parents[3] / "docs"
HERS = Desired(rev=1, deployment="hers", bundle="people", version="1.0.0", digest="1" * 64)


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
