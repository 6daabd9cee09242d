"""Vetting by hand: of a model on a device, before anybody installs it, or at the desk, before it is published."""

from collections.abc import Callable
from contextlib import closing

from agent.bundles.load import open_variants
from agent.bundles.store import Store
from agent.errors import BundleError
from agent.pipeline.config import ModelConfig
from agent.pipeline.models import make_worker, plan
from agent.update.limits import Limits
from agent.update.vetting import Vetted, refusal, vet
from agent.worker.spawner import Spawner


def vet_by_hand(
    config: ModelConfig,
    cancelled: Callable[[], bool] = lambda: False,
    passed: Callable[[str, str], None] = lambda *_: None,
    *,
    store: Store | None = None,
) -> Vetted | None:
    """Try a slot's bundle as `vet` does, with nothing that serves and no sources; the worker has ended.

    UsageError where there is no such bundle, VettingError where it is not fit to serve; None where it was cancelled.
    """
    try:
        opened = open_variants(config.bundle, config.labels, store)
        bundles = plan(config, opened).bundles
    except BundleError as error:
        raise refusal(error) from None
    with closing(Spawner()) as spawner, closing(make_worker(bundles[0].name, config, bundles, 1, spawner, restart=False)) as worker:
        return vet(worker, bundles, None, Limits(None, None, 0.0), cancelled, passed=passed)
