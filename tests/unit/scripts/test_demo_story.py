"""What the demo says of a deployment."""

from typing import Any

from agent.publish.orders import BundleRef, CurrentBundle, Reported, Swap, UpdateFailure
from scripts.demo.story import Story

OLD = CurrentBundle(name="parts", version="1.0.0", digest="0" * 64)
NEW = CurrentBundle(name="parts", version="1.1.0", digest="1" * 64)
TARGET = BundleRef(name="parts", version="1.1.0", digest="1" * 64)
GOLDEN = UpdateFailure(code="golden_mismatch", phase="vetting", detail="in belt.jpg it misses nut 0.94", retryable=False)


def report(state: str, **more: Any) -> Reported:
    nothing = dict.fromkeys(("deferred", "progress_pct", "target", "previous", "available", "error", "swap"))
    fields = {"device": "demo", "at": "", "rev_seen": 1, "rev_applied": 0, "deployment": "d1", "by": "ada", "current": OLD}
    return Reported(**{**nothing, **fields, "state": state, **more})


def told(*reports: Reported) -> Story:
    story = Story(frame_ms=33.3)
    for one in reports:
        story.hear(one)
    return story


def texts(story: Story) -> list[str]:
    return [line.text for line in story.lines]


def test_each_state_is_told_once_and_by_its_version() -> None:
    story = told(
        report("idle", deployment=None),
        report("accepted"),
        report("vetting", target=TARGET, progress_pct=10.0),
        report("vetting", target=TARGET, progress_pct=60.0),
        report("committed", current=NEW, previous=OLD),
    )
    assert texts(story) == [
        "accepted: looks the model up in the repository, and proves who signed it",
        "vetting: 1.1.0 is tried on its samples, in a process of its own; 1.0.0 serves on",
        "committed: 1.1.0 stays; 1.0.0 has ended",
    ]
    assert {line.who for line in story.lines} == {"device"}
    assert story.outcomes == ["1.1.0 committed"]
    assert story.reported == report("committed", current=NEW, previous=OLD)


def test_the_gap_is_told_once_beside_what_is_usual() -> None:
    swap = Swap(gap_ms=34.84, frames_lost=0)
    story = told(report("probation", target=TARGET), *[report("probation", target=TARGET, swap=swap)] * 2)
    gap = "gap 34.8 ms from answer to answer, 33.3 ms is usual; 0 frames lost"
    assert texts(story)[1:] == [f"at the switch: {gap}"]
    assert story.outcomes == [f"switch to 1.1.0: {gap}"]
    story.hear(report("accepted", deployment="d2"))
    assert story.swap == swap


def test_a_refusal_says_why_and_what_serves() -> None:
    story = told(report("vetting", target=TARGET), report("rejected", error=GOLDEN))
    assert texts(story)[1:] == [
        "rejected: 1.0.0 serves on; 1.1.0 is refused (golden_mismatch): it does not see what it must on its samples",
        "in belt.jpg it misses nut 0.94",
    ]
    assert story.outcomes == ["1.1.0 rejected (golden_mismatch): it does not see what it must on its samples; 1.0.0 serves"]


def test_what_a_deployment_waits_for_is_told() -> None:
    story = told(report("verified", target=TARGET), report("deferred", target=TARGET, deferred="memory"))
    assert texts(story)[1:] == ["waits for memory"]


def test_a_new_deployment_does_not_bear_the_version_of_the_one_before() -> None:
    story = told(report("committed", current=NEW, target=TARGET), report("rejected", deployment="d2", error=GOLDEN, current=NEW))
    assert "the model is refused" in texts(story)[1]
