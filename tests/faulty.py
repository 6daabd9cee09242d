"""A model slot on the faulty runtime, for tests of what surrounds a failing model."""

import threading
from collections.abc import Callable
from dataclasses import replace

from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from agent.runtimes import Delegate, ModelReport
from agent.worker.chain import ChainPolicy
from agent.worker.model import ModelWorker, Outcome
from agent.worker.spawner import Spawner
from agent.worker.starting import InputSlot, ModelPlan, Variant
from tests.faulty_runtime import CLASSES, SIDE

THRESHOLDS = Thresholds(score=0.1, iou=None, max_detections=5)


def faulty_spec(report: ModelReport) -> ModelSpec:
    """The spec of `FaultyRuntime`'s model."""
    return ModelSpec(
        name="faulty",
        version="0.0.0",
        digest="0" * 64,
        task="classify",
        labels=tuple(f"class {i}" for i in range(CLASSES)),
        input=InputSpec((SIDE, SIDE), resize="stretch"),
        tensor=report.inputs[0],
        head=HeadSpec("classify"),
        thresholds=THRESHOLDS,
    )


def faulty_variant(
    delegates: tuple[Delegate, ...], id_: str = "", *, path: str = "", strict: bool = False, version: str = "0.0.0"
) -> Variant:
    """The faulty model as a variant."""

    def resolve(report: ModelReport) -> ModelSpec:
        return replace(faulty_spec(report), variant=id_ or None, version=version)

    return Variant(id_, path, "tests.faulty_runtime:FaultyRuntime", resolve, delegates, strict=strict)


def faulty_plan(*variants: Variant, memory_limit_mb: int = 200) -> ModelPlan:
    """What a slot with these variants runs."""
    return ModelPlan("faulty/bundle.yaml", variants, {}, 1, "all", memory_limit_mb << 20)


def faulty_worker(
    spawner: Spawner,
    on_change: Callable[[ModelWorker], None] = lambda _worker: None,
    *,
    path: str = "",
    memory_limit_mb: int = 200,
    restart: bool = True,
    delegates: tuple[Delegate, ...] = (Delegate("cpu"),),
    policy: ChainPolicy | None = None,
    version: str = "0.0.0",
) -> ModelWorker:
    """A started worker with two slots."""
    plan = faulty_plan(faulty_variant(delegates, path=path, version=version), memory_limit_mb=memory_limit_mb)
    worker = ModelWorker("faulty", plan, 2, spawner, on_change, restart=restart, policy=policy)
    worker.start()
    return worker


def ask(worker: ModelWorker, fault: int, deadline_s: float = 20.0) -> Outcome:
    """Submit one picture that provokes `fault`, and wait for what becomes of it."""
    slot = worker.acquire(deadline_s)
    assert slot is not None, f"no slot: {worker.state} {worker.failure}"
    return submit(worker, slot, fault, deadline_s)


def submit(worker: ModelWorker, slot: InputSlot, fault: int, deadline_s: float = 20.0) -> Outcome:
    """As `ask`, with a slot that has been acquired before."""
    slot.input.fill(fault)
    outcomes: list[Outcome] = []
    answered = threading.Event()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        answered.set()

    worker.submit(slot, THRESHOLDS, done)
    assert answered.wait(deadline_s), "no outcome"
    return outcomes[0]
