"""How a slot stands, as it is published."""

from agent.bundles.trust import Listing, precedence
from agent.publish.messages import now_text
from agent.publish.orders import BundleRef, CurrentBundle, Reported
from agent.update.journal import Active, Journal, Ref
from agent.update.machine import TERMINAL
from agent.update.phase import Deferral, Tools


def report_of(
    tools: Tools, journal: Journal, active: Active, deferral: Deferral | None, fraction: float | None, listing: Listing | None
) -> Reported:
    """As D/models/M/reported has it. fraction: of the phase, from 0 to 1. listing: what the repository has offered last."""
    wish, under_way = journal.wish, journal.phase not in TERMINAL
    return Reported(
        device=tools.device,
        at=now_text(),
        rev_seen=journal.rev_seen,
        rev_applied=journal.rev_applied,
        deployment=wish.deployment if wish else None,
        by=wish.by if wish else "",
        state="deferred" if deferral else journal.phase,
        deferred=deferral.reason if deferral else None,
        progress_pct=round(100 * fraction, 1) if fraction is not None and under_way else None,
        current=_current(tools, active.current, listing),
        target=_plain(journal.target) if under_way else None,
        previous=_plain(active.previous),
        available=_available(tools, journal, active.current, listing),
        error=deferral.failure if deferral and deferral.failure else journal.error,
        swap=journal.swap,
    )


def is_withdrawn(ref: Ref, listing: Listing | None) -> bool:
    """Whether its publisher has withdrawn a bundle."""
    release = listing.find(ref.name, ref.version) if listing else None
    return release is not None and release.digest == ref.digest and release.withdrawn is not None


def _current(tools: Tools, ref: Ref | None, listing: Listing | None) -> CurrentBundle | None:
    if ref is None:
        return None
    worker = tools.slot.worker
    spec = worker.known_spec if worker else None
    variant = spec.variant if spec and spec.digest == ref.digest else None
    withdrawn = is_withdrawn(ref, listing)
    return CurrentBundle(name=ref.name, version=ref.version, digest=ref.digest, variant=variant, withdrawn=withdrawn)


def _available(tools: Tools, journal: Journal, current: Ref | None, listing: Listing | None) -> BundleRef | None:
    """The newest that the slot may have, unless it has failed there, or is what serves, or older."""
    releases = listing.releases if listing else ()
    newest = Listing(tuple(one for one in releases if one.digest not in journal.quarantine)).newest(tools.allow)
    if newest is None or (current and current.digest == newest.digest):
        return None
    if current and current.name == newest.name and precedence(newest.version) < precedence(current.version):
        return None
    return BundleRef(name=newest.name, version=newest.version, digest=newest.digest)


def _plain(ref: Ref | None) -> BundleRef | None:
    return BundleRef(name=ref.name, version=ref.version, digest=ref.digest) if ref else None
