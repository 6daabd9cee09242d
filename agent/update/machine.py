"""A slot's deployments as a pure state machine: what is known, and what happened, give what is to be known next.

    idle → accepted → downloading → verified → vetting → staged → switching → probation → committed
                 any of them → rejected | failed, and from switching on → rolled_back

What is to be done follows from the phase alone, so whoever writes the journal before doing it can be killed at any moment. Before
`switching` nothing touches the model that serves. After mendersoftware/mender's habit: state saved first, transitions in one place.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from agent.publish.orders import Phase, Swap, UpdateFailure
from agent.update.journal import MAX_QUARANTINE, Journal, Ref, Wish

MOST_STEPS = 28  # without a new byte; a deployment takes 8
MOST_STARTS = 2  # of the agent during probation, before the target is held to be the cause

UNSUCCESSFUL: frozenset[Phase] = frozenset({"rejected", "failed", "rolled_back"})
TERMINAL: frozenset[Phase] = UNSUCCESSFUL | {"idle", "committed"}
SETTLING: frozenset[Phase] = frozenset({"switching", "probation"})  # in which a newer wish waits
NEXT: dict[Phase, Phase] = {
    "accepted": "downloading",
    "downloading": "verified",
    "verified": "vetting",
    "vetting": "staged",
    "staged": "switching",
    "switching": "probation",
    "probation": "committed",
}
GUILTY: frozenset[Phase] = frozenset({"vetting", "staged", "switching", "probation"})  # the phases in which the model is judged


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator's desired. content: its sha256."""

    wish: Wish
    content: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish from this computer, which has no rev."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Resolved:
    """It is known which bundle is meant. At hand: the store or the config has it, nothing needs to be downloaded."""

    target: Ref
    at_hand: bool


@dataclass(frozen=True, slots=True)
class NewBytes:
    """A download has got further."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the phase asks for is done."""


@dataclass(frozen=True, slots=True)
class AlreadyServed:
    """The target is what serves."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the switch has cost."""

    swap: Swap


@dataclass(frozen=True, slots=True)
class Tried:
    """The phase could not be done this time. failure: what it ends with if that goes on."""

    failure: UpdateFailure


@dataclass(frozen=True, slots=True)
class Failed:
    """The phase cannot be done. guilty: because of the bundle itself, which is not to be tried again by itself."""

    failure: UpdateFailure
    guilty: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nobody wants it any more. by_operator: the desired was taken back, which ends no wish from this computer."""

    by_operator: bool = False


@dataclass(frozen=True, slots=True)
class TurnCame:
    """What was under way has ended, and a newer wish waits."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The agent ends because somebody wants it to, and the candidate with it: nothing to hold against that."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The agent has started. serves: the digest that active.json names. entry_changed: the slot's `bundle:` in the config is
    another one, so that its own model serves again.
    """

    serves: str | None
    entry_changed: bool = False


Event = (
    Ordered
    | Asked
    | Resolved
    | NewBytes
    | Done
    | AlreadyServed
    | Measured
    | Tried
    | Failed
    | Cancelled
    | TurnCame
    | Stopped
    | Restarted
)


def step(journal: Journal, event: Event) -> Journal:
    """The journal after an event; an equal one where the event changes nothing."""
    after = _after(journal, event)
    if after.phase not in TERMINAL and (after.phase != journal.phase or isinstance(event, Tried)):
        after = replace(after, steps=after.steps + 1)
        if after.steps > MOST_STEPS:
            detail = f"{MOST_STEPS} steps without a new byte, so it is given up"
            endless = UpdateFailure(code="too_many_steps", phase=after.phase, detail=detail, retryable=True)
            after = _failed(after, event.failure if isinstance(event, Tried) else endless)
    return after


def is_stale(journal: Journal, event: Ordered) -> bool:
    """Whether a newer desired has been seen, or this very one."""
    return event.wish.rev < journal.rev_seen or (event.wish.rev == journal.rev_seen and event.content == journal.seen)


def is_conflict(journal: Journal, event: Ordered) -> bool:
    """Whether another desired with the same rev has been seen."""
    return event.wish.rev == journal.rev_seen and event.content != journal.seen


def _after(journal: Journal, event: Event) -> Journal:
    match event:
        case Ordered(wish, content) if wish.rev > journal.rev_seen:
            journal = _wanted(replace(journal, rev_seen=wish.rev, seen=content), wish)
        case Asked(wish):
            journal = _wanted(journal, wish)
        case TurnCame() if journal.waiting and journal.phase in TERMINAL:
            journal = _begun(journal, journal.waiting)
        case Cancelled(by_operator):
            journal = _cancelled(journal, by_operator=by_operator)
        case Stopped() if journal.phase in SETTLING:
            journal = replace(journal, phase="verified")
        case Restarted(_, entry_changed=True) if journal.phase in TERMINAL:
            journal = Journal(rev_seen=journal.rev_seen, seen=journal.seen, quarantine=journal.quarantine)
        case Restarted(serves):
            journal = _restarted(journal, serves)
        case _ if journal.phase not in TERMINAL:
            journal = _advanced(journal, event)
    return journal


def _advanced(journal: Journal, event: Event) -> Journal:
    """What comes of the phase's own work."""
    match event:
        case Resolved(target, at_hand) if journal.phase == "accepted":
            journal = _resolved(journal, target, at_hand=at_hand)
        case AlreadyServed() if journal.phase == "accepted":
            journal = _committed(journal)
        case Done() if journal.phase != "accepted":
            following = NEXT[journal.phase]
            journal = _committed(journal) if following == "committed" else replace(journal, phase=following)
        case Measured(swap):
            journal = replace(journal, swap=swap)
        case NewBytes():
            journal = replace(journal, steps=0)
        case Tried(failure):
            journal = replace(journal, error=failure)
        case Failed(failure, guilty):
            journal = _failed(journal, failure, guilty=guilty)
    return journal


def _wanted(journal: Journal, wish: Wish) -> Journal:
    return replace(journal, waiting=wish) if journal.phase in SETTLING else _begun(journal, wish)


def _begun(journal: Journal, wish: Wish) -> Journal:
    return replace(journal, phase="accepted", wish=wish, waiting=None, target=None, error=None, swap=None, steps=0, starts=0)


def _resolved(journal: Journal, target: Ref, *, at_hand: bool) -> Journal:
    if target.digest in journal.quarantine and journal.wish:
        if not journal.wish.policy.force:
            detail = f"{target.name} {target.version} has failed on this device before; force brings it all the same"
            return _failed(journal, UpdateFailure(code="quarantined", phase=journal.phase, detail=detail, retryable=False))
        journal = replace(journal, quarantine=tuple(digest for digest in journal.quarantine if digest != target.digest))
    return replace(journal, phase="verified" if at_hand else "downloading", target=target, error=None)


def _committed(journal: Journal) -> Journal:
    rev = journal.wish.rev if journal.wish else 0
    return replace(journal, phase="committed", rev_applied=max(rev, journal.rev_applied), error=None)


def _failed(journal: Journal, failure: UpdateFailure, *, guilty: bool = False) -> Journal:
    end: Phase = "rolled_back" if journal.phase in SETTLING else "failed" if failure.retryable else "rejected"
    quarantine = journal.quarantine
    if guilty and journal.phase in GUILTY and journal.target and journal.target.digest not in quarantine:
        quarantine = (*quarantine, journal.target.digest)[-MAX_QUARANTINE:]
    return replace(journal, phase=end, error=failure, quarantine=quarantine)


def _cancelled(journal: Journal, *, by_operator: bool) -> Journal:
    journal = replace(journal, waiting=None) if _is_meant(journal.waiting, by_operator=by_operator) else journal
    if journal.phase in TERMINAL or journal.phase in SETTLING or not _is_meant(journal.wish, by_operator=by_operator):
        return journal
    return _failed(journal, UpdateFailure(code="cancelled", phase=journal.phase, detail="it was cancelled", retryable=False))


def _is_meant(wish: Wish | None, *, by_operator: bool) -> bool:
    return wish is not None and (wish.rev > 0 or not by_operator)


def _restarted(journal: Journal, serves: str | None) -> Journal:
    """A candidate has not outlived the agent: what was beyond the download is tried anew, beside what active.json names."""
    if journal.phase not in TERMINAL and journal.target and journal.target.digest == serves:
        return _committed(journal)  # the pointer was written, this was not
    if journal.phase == "probation" and journal.starts + 1 >= MOST_STARTS:
        detail = f"the agent or the computer ended {MOST_STARTS} times while it was in probation"
        failure = UpdateFailure(code="interrupted", phase="probation", detail=detail, retryable=False)
        return _failed(journal, failure, guilty=True)
    starts = journal.starts + 1 if journal.phase == "probation" else journal.starts
    return replace(journal, phase="verified", starts=starts) if journal.phase in GUILTY else journal
