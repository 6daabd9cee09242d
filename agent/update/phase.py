"""What the phases of a deployment have in common: what they work with, and what may come of one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.bundles.load import Bundle
from agent.bundles.store import Store
from agent.errors import AgentError
from agent.publish.orders import DeferReason, Phase, UpdateErrorCode, UpdateFailure
from agent.update.config import UpdatesConfig
from agent.update.journal import Journal, Origin, Ref, Wish
from agent.update.machine import Event
from agent.update.releases import Releases
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot

AGAIN_S = 60.0  # after which a condition of this computer is looked at again


@dataclass(frozen=True, slots=True)
class Deferral:
    """It has to wait, for `wait_s` or until something new is asked for. None: with a growing time between tries."""

    reason: DeferReason
    wait_s: float | None
    failure: UpdateFailure | None = None


Outcome = Event | Deferral | None  # None: something else is to be looked at first


class Attention(Protocol):
    """How a phase that takes long sees that something new is asked for."""

    def is_wanted(self) -> bool:
        """Whether the phase is to return."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for that; False after the timeout."""

    def progress(self, fraction: float) -> None:
        """Say how far the phase has got."""

    def new_bytes(self) -> None:
        """Say that a download has got further."""


class Computer(Protocol):
    """What a deployment needs to know of the computer."""

    def clock_synced(self) -> bool:
        """Whether the wall clock was set from the network."""

    def temperature_c(self) -> float | None:
        """Of the hottest part; None where it does not tell."""

    def memory_free_bytes(self) -> int:
        """What programs may still take."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a slot's deployments work with. releases: None without a repository. allow: the names of bundles that the slot may have.

    make_worker: of opened bundles; it gives up at its first failure where `restart` is False. frames_in: from live sources, for
    this slot's pipelines, since the start; they are counted for `demand_s` before a model is tried. collect: removes from the store
    what no slot needs.
    """

    device: str
    slot: ModelSlot
    store: Store
    releases: Releases | None
    config: UpdatesConfig
    allow: frozenset[str]
    open_factory: Callable[[], tuple[Bundle, ...]]
    make_worker: Callable[[tuple[Bundle, ...], bool], ModelWorker]
    frames_in: Callable[[], int]
    collect: Callable[[], None]
    computer: Computer
    demand_s: float = 1.0


def ref_to(bundles: Sequence[Bundle], origin: Origin) -> Ref:
    """To a bundle whose variants are open."""
    bundle = bundles[0]
    return Ref(name=bundle.name, version=bundle.version, digest=bundle.digest, origin=origin)


def factory_ref(tools: Tools) -> Ref | None:
    """To what the config names, if that can be used."""
    try:
        return ref_to(tools.open_factory(), "factory")
    except AgentError:
        return None


def wish_of(journal: Journal) -> Wish:
    """The wish of a deployment that is under way."""
    assert journal.wish  # noqa: S101  every phase but idle has one
    return journal.wish


def target_of(journal: Journal) -> Ref:
    """The bundle that a deployment behind `accepted` is to bring."""
    assert journal.target  # noqa: S101  every phase behind accepted has one
    return journal.target


def failure(code: UpdateErrorCode, phase: Phase, why: object, *, retryable: bool = False) -> UpdateFailure:
    """Why a phase does not succeed, in one line."""
    return UpdateFailure(code=code, phase=phase, detail=" ".join(str(why).split()), retryable=retryable)


def overdue(wish: Wish, computer: Computer) -> bool:
    """Whether nobody wants it any more; not by a clock that is not set."""
    if wish.not_after is None or not computer.clock_synced():
        return False
    return datetime.fromisoformat(wish.not_after).timestamp() < time.time()
