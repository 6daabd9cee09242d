"""A model slot's worker, from its section of the config."""

import logging
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agent.bundles.load import Bundle, open_variants
from agent.bundles.resolve import resolve
from agent.errors import DeviceUnfitError
from agent.pipeline.config import ModelConfig
from agent.runtimes import RUNTIMES, Delegate, default_delegates
from agent.worker.inspect import inspect_model
from agent.worker.model import ModelWorker
from agent.worker.spawner import Spawner
from agent.worker.starting import LoadedModel, ModelPlan, Variant, no_variant

if TYPE_CHECKING:
    from agent.bundles.store import Store

MOST_THREADS = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a slot may run. bundles: those of the plan's variants, in their order."""

    bundles: tuple[Bundle, ...]
    model: ModelPlan


def plan(config: ModelConfig, bundles: Sequence[Bundle]) -> Plan:
    """Of a bundle's variants, best first, what this device can serve in a slot. DeviceUnfitError where none fits."""
    fitting: list[Bundle] = []
    variants: list[Variant] = []
    unfit: dict[str, str] = {}
    for bundle in bundles:
        try:
            variants.append(_variant(bundle, config))
            fitting.append(bundle)
        except DeviceUnfitError as error:
            if bundle.variant is None:
                raise DeviceUnfitError(f"{bundle.place}: {error}") from None
            unfit[bundle.variant] = str(error)
    place = str(bundles[0].place)
    if not variants:
        raise no_variant(place, unfit)
    threads = config.threads or max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
    limit_bytes = config.memory_limit_mb << 20
    return Plan(tuple(fitting), ModelPlan(place, tuple(variants), unfit, threads, config.graph_optimization, limit_bytes))


def make_worker(
    name: str,
    config: ModelConfig,
    bundles: Sequence[Bundle],
    slots: int,
    spawner: Spawner,
    on_change: Callable[[ModelWorker], None] = lambda _worker: None,
    *,
    restart: bool = True,
) -> ModelWorker:
    """The worker that a model slot asks for, not yet started. Raises as `plan`."""
    planned = plan(config, bundles).model
    for variant, why in planned.unfit.items():
        log.info("model %s: variant %s is left out: %s", name, variant, why)
    return ModelWorker(name, planned, slots, spawner, on_change, restart=restart)


def look_at(name: str, config: ModelConfig, store: "Store | None" = None) -> tuple[Bundle, LoadedModel]:
    """Of the slot's own bundle, the variant that this device serves, and what its runtime says. AgentError where there is none.

    store: where it is, if it is name@version.
    """
    planned = plan(config, open_variants(config.bundle, config.labels, store))
    loaded = inspect_model(name, planned.model)
    return planned.bundles[planned.model.variants.index(loaded.variant)], loaded


def _variant(bundle: Bundle, config: ModelConfig) -> Variant:
    """As a worker takes it. DeviceUnfitError, the reason alone, where this device or slot does not have what it requires."""
    needs, runtime = bundle.manifest.requires, config.runtime or bundle.runtime
    if needs.arch not in (None, platform.machine()):
        raise DeviceUnfitError(f"it requires arch {needs.arch}, this is {platform.machine()}")
    if runtime not in bundle.runtimes:
        raise DeviceUnfitError(
            f"{bundle.model.name} runs on {' or '.join(bundle.runtimes)}, not on {runtime}, which the config asks for"
        )
    asked = config.asked_delegates() or default_delegates(runtime)
    delegates = _required(needs.delegate, asked) if needs.delegate else asked
    resolved = partial(resolve, bundle)
    return Variant(
        bundle.variant or "", str(bundle.model), RUNTIMES[runtime], resolved, delegates, strict=needs.delegate is not None
    )


def _required(name: str, asked: tuple[Delegate, ...]) -> tuple[Delegate]:
    for delegate in asked:
        if delegate.name == name:
            return (delegate,)
    names = ", ".join(delegate.name for delegate in asked)
    raise DeviceUnfitError(f"it requires delegate {name}, which is not among those that are asked for ({names})")
