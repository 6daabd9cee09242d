"""A model slot's worker, from its section of the config."""

import os
from collections.abc import Callable
from functools import partial

from agent.bundles.load import open_bundle
from agent.bundles.resolve import resolve
from agent.pipeline.config import ModelConfig
from agent.runtimes import RUNTIMES, RuntimeOptions
from agent.worker.model import ModelFile, ModelWorker
from agent.worker.spawner import Spawner

MOST_THREADS = 4


def make_worker(
    name: str,
    config: ModelConfig,
    slots: int,
    spawner: Spawner,
    on_change: Callable[[ModelWorker], None] = lambda _worker: None,
    *,
    restart: bool = True,
) -> ModelWorker:
    """The worker that a model slot asks for, not yet started. Raises UsageError or BundleError where its bundle cannot be read."""
    bundle = open_bundle(config.bundle, config.labels)
    options = RuntimeOptions(
        threads=config.threads or max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1)),
        delegates=tuple(config.delegates),
        graph_optimization=config.graph_optimization,
    )
    file = ModelFile(str(bundle.model), RUNTIMES[bundle.runtime], options, config.memory_limit_mb << 20)
    return ModelWorker(name, file, partial(resolve, bundle), slots, spawner, on_change, restart=restart)
