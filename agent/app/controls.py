"""What the agent does when it is told to: see `agent.commands.Controls`."""

from collections.abc import Callable, Collection, Mapping, Sequence

from agent.app.updates import Updates
from agent.bundles.store import StoredBundle
from agent.errors import BundleError
from agent.pipeline.pipeline import Pipeline
from agent.publish.orders import Reported


class AppControls:
    """By the agent's parts. on_pause: told after a pipeline was paused or resumed."""

    def __init__(self, updates: Updates, pipelines: Mapping[str, Pipeline], on_pause: Callable[[], None]) -> None:
        self._updates = updates
        self._pipelines = pipelines
        self._on_pause = on_pause

    def slots(self) -> Collection[str]:
        """See `Controls`, as below."""
        return self._updates.slots

    def pipelines(self) -> Collection[str]:
        return self._pipelines

    def pause(self, pipeline: str) -> None:
        self._pipelines[pipeline].pause()
        self._on_pause()

    def resume(self, pipeline: str) -> None:
        self._pipelines[pipeline].resume()
        self._on_pause()

    def snapshot(self, pipeline: str) -> bytes:
        return self._pipelines[pipeline].snapshot()

    def reported(self, slot: str) -> Reported:
        return self._updates.slots[slot].reported()

    def stored(self) -> Sequence[StoredBundle]:
        return self._updates.store.bundles()

    def install(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        self._updates.slots[slot].install(name, version, by, force=force)

    def activate(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        stored = self._updates.store.find(name, version)
        if stored is None:
            raise BundleError(f"{name}@{version} is not in the store")
        self._updates.slots[slot].install(name, version, by, digest=stored.digest, force=force)

    def rollback(self, slot: str, by: str) -> None:
        self._updates.slots[slot].rollback(by)

    def factory(self, slot: str, by: str) -> None:
        self._updates.slots[slot].factory(by)

    def cancel(self, slot: str, by: str) -> None:  # noqa: ARG002  the deployment's own `by` is reported
        self._updates.slots[slot].cancel()

    def verify(self, digest: str) -> None:
        self._updates.store.verify(digest)
