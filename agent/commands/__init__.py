"""What operators may ask of a running agent, over MQTT or on the computer itself."""

from collections.abc import Collection, Sequence
from typing import Protocol

from agent.publish.orders import Reported


class Stored(Protocol):
    """A bundle in the store. complete: whether all its files are there. origin: how it came."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def complete(self) -> bool: ...


class Controls(Protocol):
    """What the agent can do. Called from several threads; slots and pipelines that are named are there.

    by: who wants it, for `Reported.by`. An AgentError says why something cannot be done.
    """

    def slots(self) -> Collection[str]:
        """The names of the model slots."""

    def pipelines(self) -> Collection[str]:
        """The names of the pipelines."""

    def pause(self, pipeline: str) -> None:
        """Take no more frames."""

    def resume(self, pipeline: str) -> None:
        """Take frames again."""

    def snapshot(self, pipeline: str) -> bytes:
        """The next frame as JPEG, waiting for it."""

    def reported(self, slot: str) -> Reported:
        """What a slot has, and how its newest deployment goes."""

    def stored(self) -> Sequence[Stored]:
        """What is in the store."""

    def install(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        """Begin to install a bundle. force: also one that is in quarantine."""

    def activate(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        """Begin to install a bundle that is in the store."""

    def rollback(self, slot: str, by: str) -> None:
        """Begin to install what the slot had before."""

    def factory(self, slot: str, by: str) -> None:
        """Begin to install what the slot's config names."""

    def cancel(self, slot: str, by: str) -> None:
        """End what is being installed, if it does not serve yet."""

    def verify(self, digest: str) -> None:
        """Read a stored bundle again and compare it with its digest; BundleError names the file that differs."""
