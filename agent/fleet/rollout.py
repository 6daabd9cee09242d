"""How each device is, and how its deployment goes: judged from what the broker has retained, and put into words."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.fleet.devices import Device
from agent.fleet.values import shown
from agent.publish.orders import BundleRef, DeferReason, Desired, Reported, UpdateErrorCode

Outcome = Literal["failed", "going", "committed", "none"]

ENDINGS: dict[str, Outcome] = {
    "idle": "none",
    "committed": "committed",
    "rejected": "failed",
    "failed": "failed",
    "rolled_back": "failed",
}
SETTLING = ("switching", "probation")  # during which a device keeps the newest wish for afterwards, and has seen its rev already
OUTCOMES: dict[Outcome, str] = {
    "committed": "committed",
    "going": "under way",
    "failed": "failed",
    "none": "without a deployment",
}
DEFERRED: dict[DeferReason, str] = {
    "window": "for its window",
    "clock": "for its clock to be set",
    "disk": "for room on its disk",
    "memory": "for memory",
    "temperature": "to cool down",
    "spread": "for its turn",
    "network": "for the network",
}
ERRORS: dict[UpdateErrorCode, str] = {
    "not_allowed": "its config does not allow this bundle in this slot",
    "conflict": "two wishes with one rev",
    "expired": "it came too late",
    "quarantined": "this bundle has failed here before",
    "no_repository": "its config names no repository",
    "untrusted": "the repository's signatures do not hold",
    "metadata_expired": "the repository's metadata have expired",
    "clock": "its clock is not set",
    "not_found": "the repository does not have it",
    "withdrawn": "it is withdrawn",
    "digest_mismatch": "the repository has another digest",
    "network": "the repository cannot be reached",
    "too_slow": "the download is too slow",
    "hash_mismatch": "what was downloaded is not what was published",
    "disk_full": "its disk is full",
    "disk_error": "its disk cannot be written",
    "bundle_invalid": "the bundle is wrong",
    "device_unfit": "no variant runs there",
    "load": "it cannot be loaded",
    "crashed": "it crashed",
    "deadline": "it does not answer in time",
    "memory": "it takes too much memory",
    "protocol": "its outputs cannot be",
    "constant_output": "its outputs are always the same",
    "golden_mismatch": "it does not see what it must on its samples",
    "latency": "it is too slow",
    "fps": "frames are no longer kept up with",
    "dried_up": "it does not see what the model before sees",
    "superseded": "a newer wish has come",
    "cancelled": "it was cancelled",
    "too_many_steps": "it came no further",
    "interrupted": "agent or device ended during probation",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One slot of one device. slot: empty for a device that has told of none. notes: what a person should know, in words."""

    device: str
    online: bool | None
    slot: str = ""
    has: str = ""
    deployment: str | None = None
    state: str = ""
    outcome: Outcome = "none"
    notes: tuple[str, ...] = ()
    reported: Reported | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """State and notes in one line."""
        return "; ".join(part for part in (self.state, *self.notes) if part)


def rows(devices: Sequence[Device], deployment: str | None = None) -> list[Row]:
    """A row a slot, what went wrong first; with `deployment`, of the slots that it is for."""
    found = [row for device in devices for row in _rows(device, deployment)]
    order: tuple[Outcome, ...] = ("failed", "going", "none", "committed")
    return sorted(found, key=lambda row: (order.index(row.outcome), row.device, row.slot))


def summary(found: Sequence[Row]) -> str:
    """All rows in one line."""
    online = {row.device: row.online for row in found}
    devices = f"{len(online)} device{'' if len(online) == 1 else 's'}, {sum(map(bool, online.values()))} online"
    return f"{devices}: {_counted(found) or 'nothing of models'}"


def deployments(found: Sequence[Row]) -> list[str]:
    """A line for each deployment of the rows."""
    names = sorted({row.deployment for row in found if row.deployment is not None})
    return [f"deployment {shown(name)}: {_counted([row for row in found if row.deployment == name])}" for name in names]


def missing(before: Collection[Row], now: Collection[Row], devices: Mapping[str, Device]) -> list[Row]:
    """The rows of a deployment that were there before and are not now.

    Another deployment has taken its place; or the broker has lost everything, and the device has not told it again.
    """
    left = {(row.device, row.slot) for row in now}
    gone = [row for row in before if (row.device, row.slot) not in left]
    found = []
    for row in gone:
        device = devices.get(row.device, Device(row.device))
        if row.slot in device.desired or row.slot in device.reported:
            found.append(replace(row, state="superseded", outcome="failed", notes=(ERRORS["superseded"],)))
        else:
            found.append(replace(row, online=device.online))
    return found


def _counted(found: Sequence[Row]) -> str:
    counts = Counter(row.outcome for row in found)
    return ", ".join(f"{counts[outcome]} {text}" for outcome, text in OUTCOMES.items() if counts[outcome])


def _rows(device: Device, deployment: str | None) -> Iterator[Row]:
    slots = device.desired.keys() | device.reported.keys() | (device.info.models.keys() if device.info else set())
    for slot in sorted(slots):
        desired, reported = device.desired.get(slot), device.reported.get(slot)
        if deployment is None or any(one is not None and one.deployment == deployment for one in (desired, reported)):
            yield _row(device, slot, desired, reported, deployment)
    if not slots and deployment is None:
        yield Row(device.name, device.online, notes=tuple(_device_notes(device)))


def _row(device: Device, slot: str, desired: Desired | None, reported: Reported | None, deployment: str | None) -> Row:
    state, outcome, notes = _progress(device, desired, reported, deployment)
    about = reported if desired is None or deployment not in (None, desired.deployment) else desired
    return Row(
        device=device.name,
        online=device.online,
        slot=slot,
        has=_has(device, slot, reported),
        deployment=None if about is None else about.deployment,
        state=state,
        outcome=outcome,
        notes=(*notes, *_slot_notes(reported), *_device_notes(device)),
        reported=reported,
    )


def _progress(
    device: Device, desired: Desired | None, reported: Reported | None, deployment: str | None
) -> tuple[str, Outcome, list[str]]:
    """State in words, outcome, notes: of the deployment that is asked for, else of the newest wish."""
    theirs = reported is not None and desired is not None and reported.deployment == desired.deployment
    if desired is None or theirs or (deployment is not None and desired.deployment != deployment):
        newer = [] if desired is None or theirs else [f"{desired.bundle} {desired.version} is wished for since"]
        return (*_reported_state(reported), newer)
    wish = f"{desired.bundle} {desired.version}"
    waits = reported is not None and reported.state in SETTLING and reported.rev_seen <= desired.rev
    if reported is not None and reported.rev_seen >= desired.rev and not waits:
        return "passed over", "failed", [f"the wish for {wish} does not count: it has accepted another; deploy again"]
    if not device.online:
        return "sent", "going", [f"gets {wish} when it connects"]
    if reported is not None and waits:
        return "sent", "going", [f"gets {wish} after the {reported.state} of what it has"]
    return "sent", "going", [f"to get {wish}"]


def _reported_state(reported: Reported | None) -> tuple[str, Outcome]:
    if reported is None:
        return "", "none"
    text: str = reported.state
    if reported.state == "deferred" and reported.deferred is not None:
        text = f"deferred, waits {DEFERRED[reported.deferred]}"
    if reported.progress_pct is not None and reported.state not in ENDINGS:
        text = f"{text} {reported.progress_pct:.0f} %"
    return text, ENDINGS.get(reported.state, "going")


def _slot_notes(reported: Reported | None) -> Iterator[str]:
    if reported is None:
        return
    if reported.error is not None:
        error = reported.error
        again = ", may be tried again" if error.retryable else ""
        yield shown(f"{ERRORS[error.code]} ({error.code} in {error.phase}{again}): {error.detail}")
    if reported.current is not None and reported.current.withdrawn:
        yield "what it has is withdrawn"
    if reported.available is not None:
        yield f"{_bundle(reported.available)} is available"
    if reported.swap is not None and reported.state in ("probation", "committed"):
        yield f"gap {reported.swap.gap_ms:.0f} ms, {reported.swap.frames_lost} frames lost"


def _device_notes(device: Device) -> Iterator[str]:
    if device.online and device.health is not None and device.health.status != "ok":
        problems = ", ".join(f"{problem.code} {problem.subject}" for problem in device.health.problems)
        yield shown(f"{device.health.status}: {problems}")
    if device.unreadable:
        yield "says what this edge-fleet does not understand: update it"


def _has(device: Device, slot: str, reported: Reported | None) -> str:
    if reported is not None and reported.current is not None:
        variant = f" ({reported.current.variant})" if reported.current.variant else ""
        return _bundle(reported.current) + shown(variant)
    held = device.info.models.get(slot) if device.info is not None else None
    return shown(f"{held.name} {held.version}") if held is not None else ""


def _bundle(bundle: BundleRef) -> str:
    return shown(f"{bundle.name} {bundle.version}")
