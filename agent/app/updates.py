"""Over-the-air models, tied together: the store, the repository, and an updater for each slot."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from agent.bundles.load import Bundle, in_store, open_variants
from agent.bundles.store import Store
from agent.bundles.trust import Listing, Repository
from agent.config import Config
from agent.errors import BundleError
from agent.health.host import Host, clock_synced, hardware
from agent.pipeline.config import ModelConfig
from agent.publish.messages import UpdateEvent
from agent.publish.orders import Reported, decode_desired
from agent.update import sideload
from agent.update.config import UpdatesConfig
from agent.update.journal import SlotFiles
from agent.update.phase import Tools
from agent.update.releases import Releases
from agent.update.sideload import Sideload
from agent.update.updater import Updater
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot

log = logging.getLogger(__name__)

MakeWorker = Callable[[str, tuple[Bundle, ...], bool], ModelWorker]


class Updates:
    """All slots' updaters. `open` makes what is to serve; `start` lets it, and goes on with what the last agent left."""

    def __init__(
        self,
        config: Config,
        slots: Mapping[str, ModelSlot],
        make_worker: MakeWorker,
        frames_in: Callable[[str], int],
        on_report: Callable[[str, Reported], None],
        on_event: Callable[[str, UpdateEvent, str], None],
    ) -> None:
        """make_worker: of a slot, from opened bundles; whether it is restarted. frames_in: to a slot's live pipelines.

        on_report, on_event: told, with the slot, how it stands, and what a person may want to know.
        """
        updates = config.updates or UpdatesConfig()
        self._on_event = on_event
        self.store = Store(config.state_dir, updates.reserve_mb << 20)
        self._importing = threading.Lock()  # held until a slot wants what is imported, lest it is collected before
        self._releases = _releases(updates, config.state_dir, self._listed)
        computer = _Computer(config.state_dir)
        self.slots: dict[str, Updater] = {}
        for name, slot in slots.items():
            model = config.models[name]
            # once: it hashes the model's file
            open_factory = cache(partial(open_variants, model.bundle, model.labels, self.store))
            tools = Tools(
                device=config.device_id,
                slot=slot,
                store=self.store,
                releases=self._releases,
                config=updates,
                allow=_allowed(model, open_factory),
                open_factory=open_factory,
                make_worker=partial(make_worker, name),
                frames_in=partial(frames_in, name),
                collect=self._collect,
                computer=computer,
            )
            files = SlotFiles(config.state_dir / "models" / name)
            self.slots[name] = Updater(name, model.bundle, tools, files, partial(on_report, name), partial(on_event, name))
        self._sideload = Sideload(config.state_dir / sideload.NAME, self._sideloaded) if updates.sideload else None

    def open(self) -> None:
        """Make the worker of each slot's model. AgentError where a slot has none, and none is on its way."""
        for updater in self.slots.values():
            updater.open()

    def start(self) -> None:
        """Take wishes. ConfigError where the sideload folder cannot be watched."""
        for updater in self.slots.values():
            updater.start()
        if self._releases:
            self._releases.start()
        if self._sideload:
            self._sideload.start()

    def stop(self) -> None:
        """End; deployments go on with the next agent."""
        if self._sideload:
            self._sideload.stop()
        if self._releases:
            self._releases.stop()
        for updater in self.slots.values():
            updater.stop()
        for updater in self.slots.values():
            updater.close()

    def desired(self, slot: str, payload: bytes) -> None:
        """What operators say of a slot."""
        if not payload:
            self.slots[slot].cancel(by_operator=True)
            return
        try:
            desired = decode_desired(payload)
        except ValueError as error:
            log.warning("slot %s: a desired is refused: %s", slot, error)
            self._on_event(slot, "malformed", f"a desired is refused: {error}")
            return
        self.slots[slot].desired(desired)

    def _listed(self, listing: Listing) -> None:
        for updater in self.slots.values():
            updater.listing(listing)

    def _collect(self) -> None:
        with self._importing:
            self.store.collect(set().union(*(updater.keep() for updater in self.slots.values())))

    def _sideloaded(self, folder: Path) -> None:
        """Install a bundle's directory in each slot that may have it. AgentError where it is none, or none may."""
        with self._importing:
            stored = self.store.import_directory(folder, "sideload")
            updaters = [updater for updater in self.slots.values() if updater.may_have(stored.name)]
            if not updaters:
                raise BundleError(f"no slot may have {stored.name}; see allow")
            for updater in updaters:
                updater.install(stored.name, stored.version, sideload.NAME, digest=stored.digest, force=True)


class _Computer:
    """See `agent.update.phase.Computer`."""

    def __init__(self, disk: Path) -> None:
        self._host = Host(disk)
        self._memory_bytes = hardware().memory_bytes

    def clock_synced(self) -> bool:
        return clock_synced()

    def temperature_c(self) -> float | None:
        return self._host.read().temperature_c

    def memory_free_bytes(self) -> int:
        return self._memory_bytes - self._host.read().memory_bytes


def _releases(updates: UpdatesConfig, state_dir: Path, on_listing: Callable[[Listing], None]) -> Releases | None:
    if updates.repository is None or updates.trust_root is None:
        return None
    repository = Repository(updates.repository, Path(updates.trust_root), state_dir / "trust", clock_synced=clock_synced)
    return Releases(repository, updates.check_every_h * 3600, on_listing)


def _allowed(model: ModelConfig, open_factory: Callable[[], tuple[Bundle, ...]]) -> frozenset[str]:
    """The names that the slot may have: that of its first bundle, where the config does not say."""
    if model.allow is not None:
        return frozenset(model.allow)
    return frozenset({model.bundle.partition("@")[0] if in_store(model.bundle) else open_factory()[0].name})
