"""The deployments of a slot: what follows from what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.publish.orders import Phase, Swap, UpdateFailure, UpdatePolicy
from agent.update.journal import MAX_QUARANTINE, Journal, Ref, Wish
from agent.update.machine import (
    MOST_STEPS,
    NEXT,
    SETTLING,
    TERMINAL,
    AlreadyServed,
    Asked,
    Cancelled,
    Done,
    Event,
    Failed,
    Measured,
    NewBytes,
    Ordered,
    Resolved,
    Restarted,
    Stopped,
    Tried,
    TurnCame,
    is_conflict,
    is_stale,
    step,
)

OLD, NEW, NEWER = "a" * 64, "b" * 64, "c" * 64
TARGET = Ref(name="parts", version="1.1.0", digest=NEW, origin="store")
UNFIT = UpdateFailure(code="golden_mismatch", phase="vetting", detail="no bolt", retryable=False)
AWAY = UpdateFailure(code="network", phase="downloading", detail="no answer", retryable=True)


def wish(rev: int = 1, *, digest: str = NEW, force: bool = False) -> Wish:
    return Wish(rev=rev, deployment=f"d{rev}", name="parts", version="1.1.0", digest=digest, policy=UpdatePolicy(force=force))


def ordered(rev: int = 1, content: str = "x", *, force: bool = False) -> Ordered:
    return Ordered(wish(rev, force=force), content)


def after(*events: Event, journal: Journal | None = None) -> Journal:
    journal = journal or Journal()
    for event in events:
        journal = step(journal, event)
    return journal


WAY: tuple[Event, ...] = (ordered(), Resolved(TARGET, at_hand=False), *(Done() for _ in range(6)))


def in_phase(phase: Phase) -> Journal:
    """A deployment that has come so far."""
    journal = Journal()
    for event in WAY:
        journal = step(journal, event)
        if journal.phase == phase:
            return journal
    raise AssertionError(phase)


def test_a_deployment_goes_through_every_phase_to_its_commit() -> None:
    journal, seen = Journal(), []
    for event in WAY:
        journal = step(journal, event)
        seen.append(journal.phase)
    assert seen == ["accepted", "downloading", "verified", "vetting", "staged", "switching", "probation", "committed"]
    assert (journal.rev_seen, journal.rev_applied, journal.error) == (1, 1, None)


def test_a_bundle_at_hand_is_not_downloaded() -> None:
    assert after(ordered(), Resolved(TARGET, at_hand=True)).phase == "verified"


def test_what_serves_already_is_committed_without_a_switch() -> None:
    journal = after(ordered(), AlreadyServed())
    assert (journal.phase, journal.rev_applied) == ("committed", 1)


@pytest.mark.parametrize("phase", NEXT)
def test_before_the_switch_a_fault_of_the_bundle_rejects_it_and_from_then_on_rolls_back(phase: Phase) -> None:
    journal = step(in_phase(phase), Failed(UNFIT, guilty=True))
    assert journal.phase == ("rolled_back" if phase in SETTLING else "rejected")
    assert journal.error == UNFIT


@pytest.mark.parametrize("phase", ["vetting", "staged", "switching", "probation"])
def test_a_guilty_bundle_is_in_quarantine_until_it_is_forced(phase: Phase) -> None:
    journal = step(in_phase(phase), Failed(UNFIT, guilty=True))
    assert journal.quarantine == (NEW,)
    again = after(ordered(2), Resolved(TARGET, at_hand=True), journal=journal)
    assert again.phase == "rejected"
    assert again.error is not None
    assert again.error.code == "quarantined"
    forced = after(ordered(3, force=True), Resolved(TARGET, at_hand=True), journal=again)
    assert (forced.phase, forced.quarantine) == ("verified", ())


def test_what_the_device_or_the_network_is_guilty_of_puts_nothing_into_quarantine() -> None:
    assert step(in_phase("downloading"), Failed(AWAY)).quarantine == ()
    assert step(in_phase("downloading"), Failed(UNFIT, guilty=True)).quarantine == ()
    assert step(in_phase("vetting"), Failed(AWAY)).quarantine == ()


def test_the_quarantine_forgets_the_oldest() -> None:
    full = tuple(f"{i:064x}" for i in range(MAX_QUARANTINE))
    journal = step(replace(in_phase("vetting"), quarantine=full), Failed(UNFIT, guilty=True))
    assert journal.quarantine == (*full[1:], NEW)


@pytest.mark.parametrize("phase", [phase for phase in NEXT if phase not in SETTLING])
def test_a_newer_desired_supersedes_a_deployment_before_the_switch(phase: Phase) -> None:
    journal = step(in_phase(phase), ordered(2))
    assert (journal.phase, journal.wish, journal.target) == ("accepted", wish(2), None)


@pytest.mark.parametrize("phase", sorted(SETTLING))
def test_during_switch_and_probation_the_newest_desired_waits(phase: Phase) -> None:
    journal = after(ordered(2), ordered(3), journal=in_phase(phase))
    assert (journal.phase, journal.waiting, journal.rev_seen) == (phase, wish(3), 3)
    ended = step(journal, Failed(UNFIT, guilty=True))
    assert (ended.phase, ended.error) == ("rolled_back", UNFIT)
    assert step(ended, TurnCame()).wish == wish(3)


def test_stale_repeated_and_contradicting_desired_change_nothing() -> None:
    journal = after(ordered(5, "x"))
    for event in (ordered(4), ordered(5, "x"), ordered(5, "y")):
        assert step(journal, event) == journal
    assert is_stale(journal, ordered(4))
    assert is_stale(journal, ordered(5, "x"))
    assert is_conflict(journal, ordered(5, "y"))
    assert not is_conflict(journal, ordered(5, "x"))


def test_a_wish_from_this_computer_has_no_rev_and_holds_until_a_newer_desired() -> None:
    journal = after(ordered(5), Asked(wish(0)))
    assert (journal.rev_seen, journal.wish) == (5, wish(0))
    assert step(journal, ordered(5)) == journal
    assert step(journal, ordered(6)).wish == wish(6)


@pytest.mark.parametrize("phase", NEXT)
def test_a_deployment_can_be_cancelled_until_the_switch(phase: Phase) -> None:
    journal = step(in_phase(phase), Cancelled())
    assert journal.phase == (phase if phase in SETTLING else "rejected")


def test_a_desired_that_is_taken_back_ends_no_wish_from_this_computer() -> None:
    assert after(Asked(wish(0)), Cancelled(by_operator=True)).phase == "accepted"
    assert after(ordered(1), Cancelled(by_operator=True)).phase == "rejected"


def test_too_many_steps_without_a_new_byte_end_a_deployment() -> None:
    journal = in_phase("downloading")
    for _ in range(MOST_STEPS):
        journal = step(journal, Tried(AWAY))
    assert (journal.phase, journal.error) == ("failed", AWAY)


def test_a_new_byte_starts_the_steps_over() -> None:
    journal = in_phase("downloading")
    for _ in range(3 * MOST_STEPS):
        journal = after(Tried(AWAY), NewBytes(), journal=journal)
    assert (journal.phase, journal.steps) == ("downloading", 0)


def test_an_agent_that_dies_while_vetting_again_and_again_gives_the_deployment_up() -> None:
    journal = in_phase("vetting")
    for _ in range(MOST_STEPS):
        journal = after(Restarted(OLD), Done(), journal=journal)
    assert journal.phase == "failed"
    assert journal.error is not None
    assert journal.error.code == "too_many_steps"


@pytest.mark.parametrize(
    ("phase", "goes_on"),
    [
        ("accepted", "accepted"),
        ("downloading", "downloading"),
        ("verified", "verified"),
        ("vetting", "verified"),
        ("staged", "verified"),
        ("switching", "verified"),
        ("probation", "verified"),
        ("committed", "committed"),
    ],
)
def test_a_new_agent_goes_on_beside_what_the_pointer_names(phase: Phase, goes_on: Phase) -> None:
    assert step(in_phase(phase), Restarted(OLD)).phase == goes_on


def test_a_target_during_whose_probation_the_agent_ended_twice_is_held_to_be_the_cause() -> None:
    journal = after(Restarted(OLD), Done(), Done(), Done(), Done(), journal=in_phase("probation"))
    assert journal.phase == "probation"
    journal = step(journal, Restarted(OLD))
    assert (journal.phase, journal.quarantine) == ("rolled_back", (NEW,))


def test_an_agent_that_is_stopped_in_probation_again_and_again_holds_nothing_against_the_target() -> None:
    journal = in_phase("probation")
    for _ in range(3):
        journal = after(Stopped(), Restarted(OLD), *(Done() for _ in range(4)), journal=journal)
    assert (journal.phase, journal.starts, journal.quarantine) == ("probation", 0, ())


def test_a_pointer_that_was_written_before_the_power_went_is_a_commit() -> None:
    journal = step(in_phase("probation"), Restarted(NEW))
    assert (journal.phase, journal.rev_applied) == ("committed", 1)


def test_another_model_in_the_config_ends_what_was_settled_and_lets_the_rest_go_on() -> None:
    settled = step(replace(in_phase("committed"), quarantine=(NEWER,)), Restarted(OLD, entry_changed=True))
    assert settled == Journal(rev_seen=1, seen="x", quarantine=(NEWER,))
    assert step(in_phase("vetting"), Restarted(OLD, entry_changed=True)).phase == "verified"


def test_why_a_try_came_to_nothing_is_known_until_one_succeeds() -> None:
    tried = after(ordered(), Tried(AWAY))
    assert (tried.phase, tried.error) == ("accepted", AWAY)
    assert step(tried, Resolved(TARGET, at_hand=True)).error is None


def test_what_the_switch_has_cost_stays_in_the_journal() -> None:
    swap = Swap(gap_ms=12.5, frames_lost=0)
    assert after(Measured(swap), Done(), journal=in_phase("probation")).swap == swap


EVENTS = st.one_of(
    st.builds(ordered, st.integers(1, 9), st.sampled_from("xy"), force=st.booleans()),
    st.builds(Asked, st.builds(wish, st.just(0))),
    st.builds(Resolved, st.sampled_from([TARGET, replace(TARGET, digest=NEWER)]), st.booleans()),
    st.just(Done()),
    st.just(Done()),
    st.just(NewBytes()),
    st.just(AlreadyServed()),
    st.just(Tried(AWAY)),
    st.builds(Failed, st.sampled_from([UNFIT, AWAY]), st.booleans()),
    st.builds(Cancelled, st.booleans()),
    st.just(TurnCame()),
    st.just(Stopped()),
    st.builds(Restarted, st.sampled_from([OLD, NEW, NEWER, None])),
)


@given(st.lists(EVENTS, max_size=80))
def test_whatever_happens_the_journal_stays_sound(events: list[Event]) -> None:
    journal = Journal()
    for event in events:
        before, journal = journal, step(journal, event)
        assert journal.rev_seen >= before.rev_seen
        assert journal.rev_applied <= journal.rev_seen
        assert journal.steps <= MOST_STEPS + 1
        assert (journal.phase == "idle") == (journal.wish is None)
        if journal.phase in NEXT and journal.phase != "accepted":
            assert journal.target is not None
        if journal.phase in ("rejected", "failed", "rolled_back"):
            assert journal.error is not None
        if journal.phase == "rolled_back" and before.phase != "rolled_back":
            assert before.phase in SETTLING
        if journal.waiting is not None:
            assert journal.phase in SETTLING or journal.phase in TERMINAL
