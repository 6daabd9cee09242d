"""A slot's deployments, from wish to commit or back: one thread that does what the journal's phase asks for."""

import hashlib
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from agent.backoff import Backoff
from agent.bundles.trust import Listing
from agent.errors import AgentError, BundleError, DeviceUnfitError, StorageError, VettingError, WorkerError
from agent.publish.messages import UpdateEvent
from agent.publish.orders import Desired, Phase, Reported, UpdatePolicy
from agent.update.candidate import Candidate
from agent.update.fetching import download
from agent.update.finding import Finder
from agent.update.incumbent import Incumbent
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
    Stopped,
    Tried,
    TurnCame,
    is_conflict,
    is_stale,
    step,
)
from agent.update.phase import AGAIN_S, Attention, Deferral, Outcome, Tools, factory_ref, failure, target_of
from agent.update.report import is_withdrawn, report_of

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
        self._incumbent = Incumbent(name, entry, tools, files)
        self._candidate = candidate = Candidate(tools, self._incumbent)
        self._work: dict[Phase, Callable[[Journal, Active, Attention], Outcome]] = {
            "accepted": Finder(tools).find,
            "downloading": lambda journal, _active, attention: download(tools, journal, attention),
            "verified": candidate.prepare,
            "vetting": candidate.vet,
            "staged": candidate.wait_for_window,
            "switching": candidate.switch,
            "probation": candidate.watch,
        }
        self._journal = Journal()
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
        """Read the slot's files, and make the worker that is to serve. AgentError where there is none, and none is on its way."""
        self._journal = self._files.journal()
        entry_changed = self._incumbent.open()
        current = self._incumbent.active.current
        self._orders.append(Restarted(current.digest if current else None, entry_changed))
        if current is None and self._journal.phase in TERMINAL:  # before anybody else's wish
            name, _, version = self._entry.partition("@")
            self.install(name, version, "config")

    def start(self) -> None:
        """Load the model, and go on with a deployment that the last agent left."""
        self._incumbent.start()
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
        if not self._thread.is_alive():
            self._part()
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
        previous = self._incumbent.active.previous
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
        return not self._incumbent.others()

    def may_have(self, name: str) -> bool:
        """Whether the slot's config allows a bundle of that name."""
        return name in self._tools.allow

    def keep(self) -> set[str]:
        """Digests of what the store must keep for this slot."""
        active, journal = self._incumbent.active, self._journal
        wishes = [journal.waiting, *(order.wish for order in list(self._orders) if isinstance(order, Ordered | Asked))]
        refs = [active.current, active.previous, factory_ref(self._tools)]
        if journal.phase not in TERMINAL:
            wishes.append(journal.wish)
            refs.append(journal.target)
        return {one.digest for one in (*wishes, *refs) if one and one.digest}

    def reported(self) -> Reported:
        """As D/models/M/reported has it."""
        fraction = self._progress.fraction if self._progress else None
        return report_of(self._tools, self._journal, self._incumbent.active, self._deferral, fraction, self._listing)

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
        while True:
            self._attention.clear()
            if self._stopping:
                return
            try:
                self._go_on()
            except StorageError as error:  # of the journal: nothing has been done without it
                self._defer(Deferral("disk", AGAIN_S, failure(error.code, self._journal.phase, error, retryable=True)))

    def _part(self) -> None:
        """Write down that the agent ends by itself, lest that counts against a model in probation."""
        try:
            self._files.write(step(self._journal, Stopped()))
        except StorageError as error:
            log.warning("%s", error)

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
            return self._work[journal.phase](journal, self._incumbent.active, self)
        except AgentError as error:
            return _outcome_of(error, journal.phase)

    def _came(self, outcome: Event | Deferral) -> None:
        if isinstance(outcome, Deferral):
            self._defer(outcome)
            return
        self._outcome = outcome
        if self._journal.phase == "probation" and isinstance(outcome, Done):
            self._incumbent.point_at(target_of(self._journal))
        self._apply(outcome)
        self._outcome = None
        if self._journal.phase == "committed":
            self._candidate.settle()
            self._collect()
        elif isinstance(outcome, Tried):
            self._attention.wait(self._backoff.next_s())

    def _leave_failed(self) -> bool:
        """A model that cannot be loaded any more, its file damaged, say, for the one before or the factory's."""
        return self._slot.state == "failed" and self._go_back()

    def _leave_withdrawn(self) -> bool:
        """A model that its publisher has withdrawn, for the one before or the factory's."""
        heeded, self._heeded = self._heeded, True
        current = self._incumbent.active.current
        if heeded or current is None or not is_withdrawn(current, self._listing):
            return False
        for ref in self._incumbent.others():
            if not is_withdrawn(ref, self._listing):
                self._say("withdrawn", f"{current.name} {current.version} was withdrawn; back to {ref.name} {ref.version}")
                self._apply(Asked(_back_to(ref, "withdrawal")))
                return True
        return False

    def _undo(self) -> None:
        """Let what served serve, even where the disk does not take that down."""
        try:
            self._candidate.undo()
        except AgentError as error:
            self._incumbent.complain(self._incumbent.active.current, error)
            if not self._go_back():
                self._slot.vacate()

    def _go_back(self) -> bool:
        why = self._incumbent.go_back()
        if why:
            self._say("rolled_back", why)
        return why is not None

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
