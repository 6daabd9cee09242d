"""A slot under deployments: all parts are real but the computer, and what a model does; these are as a test says.

The repository is a real one behind a real server. A pipeline is fed frame by frame, so that each result can be accounted for.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from tuf.api.metadata import Metadata, Timestamp

from agent.backoff import Backoff
from agent.bundles.load import Bundle, open_variants
from agent.bundles.store import Store
from agent.bundles.trust import Repository
from agent.core.spec import HeadSpec, ModelSpec
from agent.pipeline.config import PipelineConfig
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.results import Origin
from agent.publish.messages import ClassifyResult, UpdateEvent
from agent.publish.orders import Desired, Reported, UpdatePolicy
from agent.runtimes import Delegate, ModelReport
from agent.update.config import UpdatesConfig
from agent.update.journal import SlotFiles
from agent.update.phase import Tools
from agent.update.releases import Releases
from agent.update.updater import Updater
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot
from agent.worker.spawner import Spawner
from agent.worker.starting import ModelPlan, Variant
from tests.bundle_folders import Publication, publish, write_bundle
from tests.fakes import RecordingPublisher
from tests.faulty import faulty_spec
from tests.frames import make_frame
from tests.tuf_repository import NOW, Site, TufRepository, serving
from tests.waiting import DEADLINE_S

QUICK = UpdatesConfig(min_probation_s=0, min_probation_frames=20, reserve_mb=0)
PROBABILITIES = HeadSpec("classify", {"scores": "probabilities"})
PACE_S = 0.005  # between two frames, of two cores that others use too


@dataclass
class FakeComputer:
    """Implements `Computer`."""

    synced: bool = True
    temperature: float | None = 40.0
    memory_free: int = 4 << 30

    def clock_synced(self) -> bool:
        return self.synced

    def temperature_c(self) -> float | None:
        return self.temperature

    def memory_free_bytes(self) -> int:
        return self.memory_free


class Shop:
    """What is published: bundles `people`, and a server that misbehaves where `site` says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site()
        self.tuf = TufRepository(self.site)
        self.root = self.tuf.write_root(folder / "root.json")
        self.publications: dict[str, Publication] = {}
        self._server: AbstractContextManager[str] = serving(self.site)
        self.url = self._server.__enter__()

    def publish(self, *versions: str, name: str = "people") -> None:
        """Put bundles into the repository."""
        for version in versions:
            bundle = publish(write_bundle(self.folder / f"{name}-{version}", name=name, version=version, labels=f"a\n{version}\n"))
            self.publications[version] = bundle
            self.tuf.add(name, version, manifest=bundle.manifest)
            self.site.files.update({f"blobs/sha256/{sha256}": data for sha256, data in bundle.blobs.items()})
        self.tuf.publish()

    def withdraw(self, version: str, name: str = "people") -> None:
        self.tuf.add(name, version, {"withdrawn": "it sees ghosts"}, self.publications[version].manifest)
        self.tuf.publish()

    def labels(self, version: str) -> str:
        """The path of its labels on the server: the file that no other version has, too."""
        end = f"\n{version}\n".encode()
        return next(f"blobs/sha256/{sha256}" for sha256, data in self.publications[version].blobs.items() if data.endswith(end))

    def forge(self) -> str:
        """Let a signature be a bad one; returns its file's path."""
        path = self.tuf.path("timestamp")
        metadata = Metadata[Timestamp].from_bytes(self.site.files[path])
        next(iter(metadata.signatures.values())).signature = "b6" * 64
        self.site.files[path] = metadata.to_bytes()
        return path

    def close(self) -> None:
        self._server.__exit__(None, None, None)


@dataclass
class Device:
    """A device with one slot, as a context manager: started as it is entered, ended as an agent ends.

    entry: the slot's `bundle:`; by default a folder with people 1.0.0. models: a folder, in which a file says what a version does,
    see `SwitchedRuntime`. clock: what its wall clock says.
    """

    folder: Path
    shop: Shop
    entry: str = ""
    config: UpdatesConfig = QUICK
    state_dir: Path | None = None
    allow: frozenset[str] = frozenset({"people"})
    computer: FakeComputer = field(default_factory=FakeComputer)
    repository: bool = True
    clock: Any = NOW
    reports: list[Reported] = field(default_factory=list)
    events: list[tuple[UpdateEvent, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state_dir = self.state_dir or self.folder / "state"
        self._models = self.folder / "models"
        self._models.mkdir(exist_ok=True)
        if not self.entry:
            factory = self.folder / "factory"
            if not factory.exists():
                write_bundle(factory, version="1.0.0", labels="a\n1.0.0\n")
            self.entry = str(factory)
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        assert self.state_dir is not None
        self.spawner = Spawner()
        self.store = Store(self.state_dir, self.config.reserve_mb << 20)
        self.slot = ModelSlot("main", lambda _slot: self.updater.look())
        self.publisher = RecordingPublisher()
        self.mailbox = Mailbox(live=False)
        self.pipeline = Pipeline(
            Origin("test", "1-0000", "main", "main"),
            PipelineConfig(source="main", model="main"),
            self.mailbox,
            self.slot,
            2,
            self.publisher,
            "results",
            lambda: True,
            lambda _found, _mono_ns: None,
        )
        self.releases = self._releases() if self.repository else None
        tools = Tools(
            device="test",
            slot=self.slot,
            store=self.store,
            releases=self.releases,
            config=self.config,
            allow=self.allow,
            open_factory=cache(partial(open_variants, self.entry, None, self.store)),
            make_worker=self._make_worker,
            frames_in=lambda: 0,  # not a live source: it waits
            collect=self._collect,
            computer=self.computer,
            demand_s=0.05,
        )
        files = SlotFiles(self.state_dir / "models" / "main")
        self.updater = Updater("main", self.entry, tools, files, self._reported, self._told, Backoff(0.01, 0.05))
        self.updater.open()
        self.updater.start()
        if self.releases:
            self.releases.start()
        self.pipeline.start()
        self._feeding = threading.Event()
        self._feeding.set()
        self._ended = threading.Event()
        self._fed = 0
        self._source = threading.Thread(target=self._feed)
        self._source.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> list[tuple[int, str]]:
        """As the agent ends; returns number and version of every frame that was answered."""
        if not self._ended.is_set():
            self._ended.set()
            self._feeding.set()
            if self.releases:
                self.releases.stop()
            self.updater.close()
            self.mailbox.end()
            self._source.join()
            self.pipeline.stop()
            self.pipeline.join()
            self.slot.close()
            self.spawner.close()
        return self.results()

    # --- what people do

    def wish(self, version: str, rev: int = 1, *, name: str = "people", digest: str = "", **fields: Any) -> Desired:
        """An operator's desired. fields: of the desired, or of its policy."""
        policy = {key: fields.pop(key) for key in UpdatePolicy.__struct_fields__ if key in fields}
        known = self.shop.publications.get(version)
        return Desired(
            rev=rev,
            deployment=f"d{rev}",
            bundle=name,
            version=version,
            digest=digest or (known.digest if known else "f" * 64),
            by="erika",
            policy=UpdatePolicy(**policy),
            **fields,
        )

    def deploy(self, version: str, rev: int = 1, **fields: Any) -> None:
        """See `wish`."""
        self.updater.desired(self.wish(version, rev, **fields))

    def make(self, version: str, what: str) -> None:
        """Say what a version's model does from now on."""
        file = self._models / version
        new = file.with_suffix(".new")
        new.write_text(what)
        new.rename(file)

    def feed(self, *, on: bool) -> None:
        """Whether frames come."""
        self._feeding.set() if on else self._feeding.clear()

    # --- what is seen

    def wait(self, state: str, that: Callable[[Reported], bool] = lambda _report: True, deadline_s: float = DEADLINE_S) -> Reported:
        """Wait until the newest report is of that state, and holds."""

        def holds() -> bool:
            return bool(self.reports) and self.reports[-1].state == state and that(self.reports[-1])

        with self._changed:
            came = self._changed.wait_for(holds, deadline_s)
            seen = [(report.state, report.deferred, report.error and report.error.code) for report in self.reports[-8:]]
            assert came, f"not within {deadline_s} s: {state}; reported: {seen}"
            return self.reports[-1]

    def states(self) -> list[str]:
        """The states that were reported, each once in a row."""
        seen = [report.state for report in self.reports]
        return [state for state, before in zip(seen, [None, *seen], strict=False) if state != before]

    def results(self) -> list[tuple[int, str]]:
        """Number and version of every frame that was answered, in the order of the answers."""
        decoded = [msgspec.json.decode(message.payload, type=ClassifyResult) for message in self.publisher.messages]
        return [(result.frame_seq, result.model.version) for result in decoded]

    def answered(self, more: int) -> None:
        """Wait until so many more frames are answered."""
        until = len(self.publisher.messages) + more
        self.publisher.wait_for(lambda _message: len(self.publisher.messages) >= until, f"{more} results")

    def workers(self) -> int:
        """How many models have a process."""
        return sum(worker is not None and worker.pid is not None for worker in (self.slot.worker, self.slot.standby))

    # --- its parts

    def _releases(self) -> Releases:
        assert self.state_dir is not None
        trust = Repository(
            self.shop.url,
            self.shop.root,
            self.state_dir / "trust",
            clock_synced=self.computer.clock_synced,
            clock=lambda: self.clock,
        )
        return Releases(trust, 3600.0, lambda listing: self.updater.listing(listing))  # noqa: PLW0108  there is none yet

    def _make_worker(self, bundles: tuple[Bundle, ...], restart: bool) -> ModelWorker:
        bundle = bundles[0]
        behaviour = self._models / bundle.version
        if not behaviour.exists():
            behaviour.write_text("")

        def resolve(report: ModelReport) -> ModelSpec:
            return replace(faulty_spec(report), name=bundle.name, version=bundle.version, digest=bundle.digest, head=PROBABILITIES)

        variant = Variant("", str(behaviour), "tests.switched_runtime:SwitchedRuntime", resolve, (Delegate("cpu"),), strict=False)
        plan = ModelPlan(str(bundle.place), (variant,), {}, 1, "all", 200 << 20)
        return ModelWorker("main", plan, 2, self.spawner, restart=restart)

    def _collect(self) -> None:
        self.store.collect(self.updater.keep())

    def _reported(self, report: Reported) -> None:
        decoded = msgspec.json.decode(msgspec.json.encode(report), type=Reported)  # which checks it by the schema
        with self._changed:
            self.reports.append(decoded)
            self._changed.notify_all()

    def _told(self, code: UpdateEvent, detail: str) -> None:
        with self._changed:
            self.events.append((code, detail))

    def _feed(self) -> None:
        while not self._ended.wait(PACE_S):
            self._feeding.wait()
            if not self._ended.is_set():
                self.mailbox.put(make_frame(self._fed, value=100 + self._fed % 100))
                self._fed += 1


def contiguous(results: list[tuple[int, str]]) -> bool:
    """Whether every frame has exactly one answer, in order."""
    return [seq for seq, _ in results] == list(range(len(results)))
