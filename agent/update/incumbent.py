"""What a slot serves when nothing is being tried: the pointer on disk, and the worker that is made of it."""

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from agent.bundles.load import Bundle, in_store
from agent.errors import AgentError, StorageError
from agent.update.journal import Active, Ref, SlotFiles
from agent.update.phase import Tools, factory_ref, ref_to
from agent.worker.model import ModelWorker

log = logging.getLogger(__name__)


class Incumbent:
    """Of one slot. `open` and `start` are called once, in this order; the rest is for the updater's thread."""

    def __init__(self, name: str, entry: str, tools: Tools, files: SlotFiles) -> None:
        """entry: the slot's `bundle:` in the config."""
        self.active = Active(factory=entry)
        self._name = name
        self._tools = tools
        self._slot = tools.slot
        self._files = files
        self._first: ModelWorker | None = None  # what serves when the agent starts

    def open(self) -> bool:
        """Read the pointer, and make the worker that is to serve: of what is active, else the one before, else the factory's.

        Returns whether the config names another model than it did. AgentError where no model can be used, and none is on its way.
        """
        active = self._files.active()
        entry_changed = active is not None and active.factory != self.active.factory
        if active is not None and not entry_changed:
            self.active = active
        self._first = self._first_usable()
        if entry_changed:
            self._keep("the config names another model")
        return entry_changed

    def start(self) -> None:
        """Load the model."""
        if self._first:
            self._slot.serve(self._first)
            self._first.start()

    def bundles(self, ref: Ref) -> tuple[Bundle, ...]:
        """A bundle's variants. AgentError where it cannot be used."""
        return self._tools.open_factory() if ref.origin == "factory" else self._tools.store.open(ref.digest)

    def serve(self, ref: Ref | None) -> None:
        """Let a bundle serve, in place of what does; None: nothing. AgentError, and all as it was, where it cannot be used."""
        worker = self._tools.make_worker(self.bundles(ref), True) if ref else None
        self._slot.vacate()
        if worker:
            self._slot.serve(worker)
            worker.start()

    def others(self) -> Sequence[Ref]:
        """What may serve in place of what is active, the best first."""
        current = self.active.current
        refs = (self.active.previous, factory_ref(self._tools))
        return [ref for ref in refs if ref and current and ref.digest != current.digest]

    def go_back(self) -> str | None:
        """Let the first serve that can, of the model before and the factory's; why, or None where there is none."""
        current = self.active.current
        for ref in self.others():
            try:
                self.serve(ref)
            except AgentError as error:
                self.complain(ref, error)
                continue
            left = f"{current.name} {current.version}" if current else "it"
            why = f"{left} cannot be used any more; back to {ref.name} {ref.version}"
            self.active = replace(self.active, current=ref, previous=None)
            self._keep(why)
            return why
        return None

    def point_at(self, target: Ref) -> None:
        """From now on the target is active. StorageError, and all as it was, where that cannot be written."""
        if target == self.active.current:  # an earlier try has come so far
            return
        active = replace(self.active, current=target, previous=self.active.current)
        self._files.write(active)
        self.active = active

    def complain(self, ref: Ref | None, error: AgentError) -> None:
        """Log that a bundle cannot be used."""
        name = f"{ref.name} {ref.version}" if ref else self.active.factory
        log.error("slot %s: %s cannot be used: %s", self._name, name, "; ".join(str(error).splitlines()))

    def _first_usable(self) -> ModelWorker | None:
        """Of current, previous and factory, not yet started; None where the first is to come. AgentError where there is none."""
        active = self.active
        for ref, before in ((active.current, active.previous), (active.previous, None)):
            if ref is None:
                continue
            try:
                bundles = self.bundles(ref)
                worker = self._tools.make_worker(bundles, True)
            except AgentError as error:
                self.complain(ref, error)
                continue
            self.active = replace(active, current=ref_to(bundles, ref.origin), previous=before)
            return worker
        self.active = replace(active, current=None, previous=None)
        try:
            bundles = self._tools.open_factory()
        except AgentError:
            if self._tools.releases is not None and in_store(active.factory):
                return None
            raise
        self.active = replace(active, current=ref_to(bundles, "factory"), previous=None)
        return self._tools.make_worker(bundles, True)

    def _keep(self, why: str) -> None:
        """Write down what serves already."""
        try:
            self._files.write(self.active)
        except StorageError as error:
            log.warning("slot %s: %s, which is found out again at the next start: %s", self._name, why, error)
