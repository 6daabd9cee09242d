"""A slot's deployments, from wish to commit or back: one thread that does what the journal's phase asks for."""

import hashlib
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from agent.backoff import Backoff
from agent.bundles.load import in_store
from agent.bundles.trust import Listing, precedence
from agent.errors import AgentError, BundleError, DeviceUnfitError, StorageError, VettingError, WorkerError
from agent.publish.messages import UpdateEvent, now_text
from agent.publish.orders import BundleRef, CurrentBundle, Desired, Phase, Reported, UpdatePolicy
from agent.update.candidate import Candidate
from agent.update.fetching import download
from agent.update.finding import Finder
from agent.update.journal import Active, Journal, Ref, SlotFiles, Wish
from agent.update.machine import (
    SETTLING,
    TERMINAL,
    UNSUCCESSFUL,
    Asked,
    Cancelled,
    Done,
    Event,
    Failed,
    NewBytes,
    Ordered,
    Restarted,
    Tried,
    TurnCame,
    is_conflict,
    is_stale,
    step,
)
from agent.update.phase import AGAIN_S, Attention, Deferral, Outcome, Tools, factory_ref, failure, ref_to, target_of
from agent.worker.model import ModelWorker

log = logging.getLogger(__name__)

FIRST_RETRY_S, RETRY_CAP_S = 5.0, 600.0
END_S = 2.0  # of the agent's 5; a connection that is being made cannot be interrupted
LEAST_PROGRESS = 0.01  # between two reports
LEAST_REPORT_S = 1.0
TOLD: dict[Phase, UpdateEvent] = {
    "accepted": "accepted",
    "committed": "committed",
    "rejected": "rejected",
    "failed": "failed",
    "rolled_back": "rolled_back",
}

OnReport = Callable[[Reported], None]
OnEvent = Callable[[UpdateEvent, str], None]


class _Progress(NamedTuple):
    fraction: float
    told_at: float


class Updater:
    """Of one slot. `open` and `start` are called once, in this order; the rest from any thread, returning at once."""

    def __init__(
        self,
        name: str,
        entry: str,
        tools: Tools,
        files: SlotFiles,
        on_report: OnReport,
        on_event: OnEvent,
        backoff: Backoff | None = None,
    ) -> None:
        """entry: the slot's `bundle:` in the config. on_event(code, detail): told what a person may want to know, once each.

        backoff: of what is tried again because of the network or the repository.
        """
        self.name = name
        self._entry = entry
        self._tools = tools
        self._slot = tools.slot
        self._files = files
        self._on_report = on_report
        self._on_event = on_event
        self._candidate = candidate = Candidate(tools)
        self._work: dict[Phase, Callable[[Journal, Active, Attention], Outcome]] = {
            "accepted": Finder(tools).find,
            "downloading": lambda journal, _active, attention: download(tools, journal, attention),
            "verified": candidate.prepare,
            "vetting": candidate.vet,
            "staged": candidate.wait_for_window,
            "switching": candidate.switch,
            "probation": candidate.watch,
        }
        self._active = Active(factory=entry)
        self._journal = Journal()
        self._first: ModelWorker | None = None  # what serves when the agent starts
        self._outcome: Event | None = None  # of the phase, as long as it is not on disk
        self._deferral: Deferral | None = None
        self._progress: _Progress | None = None
        self._listing: Listing | None = None
        self._heeded = True  # whether what the listing says of the bundle that serves was seen to
        self._telling = threading.Lock()  # held from looking to telling, lest an older look comes last
        self._told: Reported | None = None  # the last, without its time
        self._orders: deque[Event] = deque()
        self._attention = threading.Event()  # an order waits, or the end
        self._stopping = False
        self._backoff = backoff or Backoff(FIRST_RETRY_S, RETRY_CAP_S)
        self._thread = threading.Thread(target=self._run, name=f"update/{name}", daemon=True)

    # --- the agent's start and end

    def open(self) -> None:
        """Read the slot's files, and make the worker that is to serve: what is active, else the one before, else the factory's.

        AgentError where no model can be used, and none is on its way.
        """
        self._journal = self._files.journal()
        active = self._files.active()
        entry_changed = active is not None and active.factory != self._entry
        if active is not None and not entry_changed:
            self._active = active
        self._first = self._first_usable()
        if entry_changed:
            self._keep_active("the config names another model")
        current = self._active.current
        self._orders.append(Restarted(current.digest if current else None, entry_changed))

    def start(self) -> None:
        """Load the model, and go on with a deployment that the last agent left."""
        if self._first:
            self._slot.serve(self._first)
            self._first.start()
        self._thread.start()

    def stop(self) -> None:
        """Begin to end; what is under way goes on with the next agent."""
        self._stopping = True
        self._attention.set()

    def close(self) -> None:
        """End."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(END_S)
        self._candidate.drop()

    # --- what people want

    def desired(self, desired: Desired) -> None:
        """An operator's wish."""
        content = hashlib.sha256(msgspec.json.encode(desired, order="deterministic")).hexdigest()
        wish = Wish(
            rev=desired.rev,
            deployment=desired.deployment,
            name=desired.bundle,
            version=desired.version,
            digest=desired.digest,
            not_after=desired.not_after,
            by=desired.by,
            policy=desired.policy,
        )
        self._order(Ordered(wish, content))

    def install(self, name: str, version: str, by: str, *, digest: str | None = None, force: bool = False) -> None:
        """A wish from this computer. digest: of a bundle in the store, about which no repository is asked."""
        wish = Wish(
            deployment=_deployment(name, version),
            name=name,
            version=version,
            digest=digest,
            by=by,
            policy=UpdatePolicy(force=force),
            source="store" if digest else "repository",
        )
        self._order(Asked(wish))

    def rollback(self, by: str) -> None:
        """Back to the bundle before. BundleError where there is none."""
        previous = self._active.previous
        if previous is None:
            raise BundleError(f"slot {self.name} has had no other model yet")
        self._order(Asked(_back_to(previous, by)))

    def factory(self, by: str) -> None:
        """Back to what the config names. BundleError where that cannot be opened."""
        factory = factory_ref(self._tools)
        if factory is None:
            raise BundleError(f"slot {self.name}: {self._entry} cannot be opened")
        self._order(Asked(_back_to(factory, by)))

    def cancel(self, *, by_operator: bool = False) -> None:
        """End a deployment that has not come to the switch. by_operator: their desired was taken back."""
        self._order(Cancelled(by_operator))

    def listing(self, listing: Listing) -> None:
        """What the repository offers now: a bundle that serves may have been withdrawn."""
        self._listing, self._heeded = listing, False
        if self._told is not None:  # else it is told with how the last agent's deployment goes on
            self._report()
        self.look()

    def look(self) -> None:
        """The slot's worker has changed: it may have given up. What is under way is not disturbed."""
        if self._journal.phase in TERMINAL:
            self._attention.set()

    # --- what is known

    @property
    def at_end(self) -> bool:
        """Whether the slot's model has given up and there is no other to go back to, nor one on its way."""
        if self._slot.state != "failed" or self._journal.phase not in TERMINAL:
            return False
        current = self._active.current
        return current is None or not self._others(current)

    def may_have(self, name: str) -> bool:
        """Whether the slot's config allows a bundle of that name."""
        return name in self._tools.allow

    def keep(self) -> set[str]:
        """Digests of what the store must keep for this slot."""
        active, journal = self._active, self._journal
        wishes = [journal.waiting, *(order.wish for order in list(self._orders) if isinstance(order, Ordered | Asked))]
        refs = [active.current, active.previous, factory_ref(self._tools)]
        if journal.phase not in TERMINAL:
            wishes.append(journal.wish)
            refs.append(journal.target)
        return {one.digest for one in (*wishes, *refs) if one and one.digest}

    def reported(self) -> Reported:
        """As D/models/M/reported has it."""
        journal, active, deferral, progress = self._journal, self._active, self._deferral, self._progress
        wish = journal.wish
        return Reported(
            device=self._tools.device,
            at=now_text(),
            rev_seen=journal.rev_seen,
            rev_applied=journal.rev_applied,
            deployment=wish.deployment if wish else None,
            by=wish.by if wish else "",
            state="deferred" if deferral else journal.phase,
            deferred=deferral.reason if deferral else None,
            progress_pct=round(100 * progress.fraction, 1) if progress and journal.phase not in TERMINAL else None,
            current=self._current(),
            target=_plain(journal.target) if journal.phase not in TERMINAL else None,
            previous=_plain(active.previous),
            available=self._available(),
            error=deferral.failure if deferral and deferral.failure else journal.error,
            swap=journal.swap,
        )

    def _current(self) -> CurrentBundle | None:
        ref, worker = self._active.current, self._slot.worker
        if ref is None:
            return None
        spec = worker.known_spec if worker else None
        variant = spec.variant if spec and spec.digest == ref.digest else None
        withdrawn = self._is_withdrawn(ref)
        return CurrentBundle(name=ref.name, version=ref.version, digest=ref.digest, variant=variant, withdrawn=withdrawn)

    # --- the thread

    def is_wanted(self) -> bool:
        """See `Attention`; a switch is not left in the middle for a wish that waits."""
        return self._stopping or (self._attention.is_set() and self._journal.phase not in SETTLING)

    def wait(self, timeout_s: float) -> bool:
        """See `Attention`."""
        return self._attention.wait(timeout_s)

    def progress(self, fraction: float) -> None:
        """See `Attention`."""
        told, now = self._progress, time.monotonic()
        if told and not self._deferral:
            hardly = 0 <= fraction - told.fraction < LEAST_PROGRESS
            if hardly or now - told.told_at < LEAST_REPORT_S:
                return
        self._deferral, self._progress = None, _Progress(fraction, now)
        self._report()

    def new_bytes(self) -> None:
        """See `Attention`."""
        self._backoff.reset()
        if self._journal.steps:
            self._apply(NewBytes())

    def _run(self) -> None:
        if self._slot.worker is None and self._journal.phase in TERMINAL:
            name, _, version = self._entry.partition("@")
            self.install(name, version, "config")
        while True:
            self._attention.clear()
            if self._stopping:
                return
            try:
                self._go_on()
            except StorageError as error:  # of the journal: nothing has been done without it
                self._defer(Deferral("disk", AGAIN_S, failure(error.code, self._journal.phase, error, retryable=True)))

    def _go_on(self) -> None:
        """Do the next thing, or wait for one. StorageError."""
        if self._orders:
            self._apply(self._orders[0])
            self._orders.popleft()
        elif self._journal.phase not in TERMINAL:
            if self._journal.phase not in SETTLING:
                self._leave_failed()
            if outcome := self._outcome or self._do():
                self._came(outcome)
        elif self._journal.waiting:
            self._apply(TurnCame())
        elif not (self._leave_failed() or self._leave_withdrawn()):
            self._report()
            self._attention.wait()

    def _do(self) -> Outcome:
        """What the phase asks for."""
        journal = self._journal
        try:
            return self._work[journal.phase](journal, self._active, self)
        except AgentError as error:
            return _outcome_of(error, journal.phase)

    def _came(self, outcome: Event | Deferral) -> None:
        if isinstance(outcome, Deferral):
            self._defer(outcome)
            return
        self._outcome = outcome
        if self._journal.phase == "probation" and isinstance(outcome, Done):
            self._point_at(target_of(self._journal))
        self._apply(outcome)
        self._outcome = None
        if self._journal.phase == "committed":
            self._candidate.settle()
            self._collect()
        elif isinstance(outcome, Tried):
            self._attention.wait(self._backoff.next_s())

    def _leave_failed(self) -> bool:
        """A model that cannot be loaded any more, its file damaged, say, for the one before or the factory's."""
        current = self._active.current
        return self._slot.state == "failed" and current is not None and self._go_back(current)

    def _leave_withdrawn(self) -> bool:
        """A model that its publisher has withdrawn, for the one before or the factory's."""
        heeded, self._heeded = self._heeded, True
        current = self._active.current
        if heeded or current is None or not self._is_withdrawn(current):
            return False
        for ref in self._others(current):
            if not self._is_withdrawn(ref):
                self._say("withdrawn", f"{current.name} {current.version} was withdrawn; back to {ref.name} {ref.version}")
                self._apply(Asked(_back_to(ref, "withdrawal")))
                return True
        return False

    def _undo(self) -> None:
        """Let what served serve, even where the disk does not take that down."""
        current = self._active.current
        try:
            self._candidate.restore(current)
        except AgentError as error:
            self._complain(current, error)
            if current is None or not self._go_back(current):
                self._slot.vacate()

    def _go_back(self, current: Ref) -> bool:
        """Let the first serve that can, of the model before and the factory's."""
        for ref in self._others(current):
            try:
                self._candidate.serve(ref)
            except AgentError as error:
                self._complain(ref, error)
                continue
            why = f"{current.name} {current.version} cannot be used any more; back to {ref.name} {ref.version}"
            self._active = replace(self._active, current=ref, previous=None)
            self._keep_active(why)
            self._say("rolled_back", why)
            return True
        return False

    def _others(self, current: Ref) -> Sequence[Ref]:
        """What may serve in place of it, the best first."""
        return [ref for ref in (self._active.previous, factory_ref(self._tools)) if ref and ref.digest != current.digest]

    def _defer(self, deferral: Deferral) -> None:
        if self._deferral is None or self._deferral.reason != deferral.reason:
            why = f": {deferral.failure.detail}" if deferral.failure else ""
            log.info("slot %s: the deployment waits for %s%s", self.name, deferral.reason, why)
        self._deferral = deferral
        self._report()
        self._attention.wait(self._backoff.next_s() if deferral.wait_s is None else deferral.wait_s)

    def _apply(self, event: Event) -> None:
        """Let an event happen: on disk first, then for everyone to see."""
        before = self._journal
        if isinstance(event, Ordered) and (is_stale(before, event) or is_conflict(before, event)):
            if is_conflict(before, event):
                self._say("conflict", f"two desired have rev {event.wish.rev}; the first holds. Deploy again")
            return
        after = step(before, event)
        if after == before:
            self._report()
            return
        try:
            self._files.write(after)
        finally:
            if before.phase in SETTLING and after.phase in UNSUCCESSFUL:
                self._undo()
        self._journal, self._deferral = after, None
        if after.phase in TERMINAL or after.phase == "accepted":
            self._candidate.drop()
        if isinstance(event, Ordered | Asked | Cancelled) and after.phase not in SETTLING:
            self._outcome = None
            self._backoff.reset()
        if after.phase != before.phase or after.wish != before.wish:
            self._progress = None
            self._tell(after)
        self._report()

    def _tell(self, journal: Journal) -> None:
        what = journal.target or journal.wish
        name = f"{what.name} {what.version}" if what else self._entry
        error = journal.error
        if error and journal.phase in TERMINAL:
            log.warning("slot %s: %s: %s (%s): %s", self.name, name, journal.phase, error.code, error.detail)
        else:
            log.info("slot %s: %s: %s", self.name, name, journal.phase)
        if journal.phase in TOLD:
            self._on_event(TOLD[journal.phase], f"{name}: {error.detail}" if error else name)

    def _say(self, code: UpdateEvent, detail: str) -> None:
        log.warning("slot %s: %s", self.name, detail)
        self._on_event(code, detail)

    def _complain(self, ref: Ref | None, error: AgentError) -> None:
        name = f"{ref.name} {ref.version}" if ref else self._entry
        log.error("slot %s: %s cannot be used: %s", self.name, name, "; ".join(str(error).splitlines()))

    def _point_at(self, target: Ref) -> None:
        if target == self._active.current:  # an earlier try has come so far
            return
        active = replace(self._active, current=target, previous=self._active.current)
        self._files.write(active)
        self._active = active

    def _keep_active(self, why: str) -> None:
        """Write down what serves already."""
        try:
            self._files.write(self._active)
        except StorageError as error:
            log.warning("slot %s: %s, which is found out again at the next start: %s", self.name, why, error)

    def _collect(self) -> None:
        try:
            self._tools.collect()
        except StorageError as error:
            log.warning("%s", error)

    def _report(self) -> None:
        with self._telling:
            report = self.reported()
            if replace(report, at="") != self._told:
                self._told = replace(report, at="")
                self._on_report(report)

    def _order(self, order: Event) -> None:
        self._orders.append(order)
        self._attention.set()

    # --- bundles

    def _first_usable(self) -> ModelWorker | None:
        """Of current, previous and factory, not yet started; None where the first is to come. AgentError where there is none."""
        active = self._active
        for ref, before in ((active.current, active.previous), (active.previous, None)):
            if ref is None:
                continue
            try:
                bundles = self._candidate.open(ref)
                worker = self._tools.make_worker(bundles, True)
            except AgentError as error:
                self._complain(ref, error)
                continue
            self._active = replace(active, current=ref_to(bundles, ref.origin), previous=before)
            return worker
        self._active = replace(active, current=None, previous=None)
        try:
            bundles = self._tools.open_factory()
        except AgentError:
            if self._tools.releases is not None and in_store(self._entry):
                return None
            raise
        self._active = replace(active, current=ref_to(bundles, "factory"), previous=None)
        return self._tools.make_worker(bundles, True)

    def _is_withdrawn(self, ref: Ref) -> bool:
        release = self._listing.find(ref.name, ref.version) if self._listing else None
        return release is not None and release.digest == ref.digest and release.withdrawn is not None

    def _available(self) -> BundleRef | None:
        quarantine, current = self._journal.quarantine, self._active.current
        releases = self._listing.releases if self._listing else ()
        newest = Listing(tuple(one for one in releases if one.digest not in quarantine)).newest(self._tools.allow)
        if newest is None or (current and current.digest == newest.digest):
            return None
        if current and current.name == newest.name and precedence(newest.version) < precedence(current.version):
            return None
        return BundleRef(name=newest.name, version=newest.version, digest=newest.digest)


def _outcome_of(error: AgentError, phase: Phase) -> Failed | Deferral:
    match error:
        case StorageError(code="disk_full"):
            return Deferral("disk", AGAIN_S, failure("disk_full", phase, error, retryable=True))
        case StorageError():
            return Failed(failure(error.code, phase, error, retryable=True))
        case VettingError():
            return Failed(failure(error.code, phase, error), guilty=True)
        case WorkerError():
            return Failed(failure(error.kind, phase, error), guilty=True)
        case BundleError():
            unfit = isinstance(error, DeviceUnfitError)
            return Failed(failure("device_unfit" if unfit else "bundle_invalid", phase, error))
    raise error


def _back_to(ref: Ref, by: str) -> Wish:
    return Wish(
        deployment=_deployment(ref.name, ref.version),
        name=ref.name,
        version=ref.version,
        digest=ref.digest,
        by=by,
        source=ref.origin,
        policy=UpdatePolicy(force=True),
    )


def _deployment(name: str, version: str) -> str:
    """Of a wish from this computer."""
    return f"{name}-{version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"


def _plain(ref: Ref | None) -> BundleRef | None:
    return BundleRef(name=ref.name, version=ref.version, digest=ref.digest) if ref else None
