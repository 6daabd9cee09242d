"""The phases from `verified` to `probation`: a bundle that is at hand is tried beside what serves, takes over, and is watched."""

import time

from agent.bundles.load import Bundle
from agent.errors import AgentError, WorkerError
from agent.publish.orders import Swap
from agent.update.journal import Active, Journal, Ref
from agent.update.limits import Limits
from agent.update.machine import Done, Failed, Measured
from agent.update.phase import AGAIN_S, Attention, Deferral, Outcome, Tools, failure, target_of, wish_of
from agent.update.probation import Former, judge, progress
from agent.update.vetting import vet
from agent.update.window import opens_in_s
from agent.worker.model import ModelWorker

LOOK_S = 0.5  # at a model in probation
DEMAND_S = 1.0  # over which the sources' frames are counted
DRAIN_S = 30.0  # for frames that are under way at the switch
UNKNOWN_MEMORY_BYTES = 256 << 20  # that a model takes whose bundle does not say


class Candidate:
    """Of one slot, for one thread. The candidate's worker is its own until the slot has taken it."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._slot = tools.slot
        self._worker: ModelWorker | None = None
        self._replace = False  # both do not fit, or are not to be there at once
        self._demand = Demand()
        self._limits = Limits(memory_mb=None, max_latency_ms=None, demand_hz=0.0)  # those of the vetting
        self._former: Former | None = None  # what served before the switch
        self._since = 0.0  # the probation's begin, monotonic

    def open(self, ref: Ref) -> tuple[Bundle, ...]:
        """A bundle's variants. AgentError where it cannot be used."""
        return self._tools.open_factory() if ref.origin == "factory" else self._tools.store.open(ref.digest)

    def restore(self, ref: Ref | None) -> None:
        """Let the bundle serve that did before: its warm worker where there is one, else a new one."""
        self.drop()
        if self._slot.fall_back():
            return
        if ref is None:
            self._slot.vacate()
            return
        serving = self._slot.worker
        spec = serving.known_spec if serving else None
        if spec is not None and spec.digest == ref.digest:
            self._slot.drop_standby()
            return
        self._slot.vacate()
        worker = self._tools.make_worker(self.open(ref), True)
        self._slot.serve(worker)
        worker.start()

    def settle(self) -> None:
        """The model in probation is the slot's own from now on."""
        self._slot.commit()
        self._slot.drop_standby()

    def drop(self) -> None:
        """End a candidate that is not to serve."""
        worker, self._worker = self._worker, None
        if worker:
            worker.close()

    def prepare(self, journal: Journal, _active: Active, attention: Attention) -> Outcome:
        """Look whether this is the time and the place to try it."""
        wish, computer, config = wish_of(journal), self._tools.computer, self._tools.config
        temperature_c = computer.temperature_c()
        if temperature_c is not None and temperature_c > config.max_temperature_c:
            return Deferral("temperature", AGAIN_S)
        bundles = self.open(target_of(journal))
        free, needed = computer.memory_free_bytes(), _memory_bytes(bundles)
        self._replace = wish.policy.swap == "replace" or (wish.policy.swap == "auto" and free < needed)
        if wish.policy.swap == "beside" and free < needed:
            return Deferral("memory", AGAIN_S)
        self._demand.look(time.monotonic(), self._tools.frames_in())
        if attention.wait(DEMAND_S):
            return None
        self._demand.look(time.monotonic(), self._tools.frames_in())
        return Done()

    def vet(self, journal: Journal, _active: Active, attention: Attention) -> Outcome:
        """Have a candidate that has been tried beside what serves, if both may be there. VettingError, BundleError."""
        if self._replace and journal.phase != "switching":
            return Done()
        bundles = self.open(target_of(journal))
        if self._worker is None:
            self._worker = self._tools.make_worker(bundles, False)
        limits = Limits(memory_mb=None, max_latency_ms=None, demand_hz=self._demand.hz)
        vetted = vet(self._worker, bundles, self._slot.worker, limits, attention.is_wanted, attention.progress)
        if vetted is None:
            self.drop()
            return None
        self._limits = vetted.limits
        return Done()

    def wait_for_window(self, journal: Journal, active: Active, attention: Attention) -> Outcome:
        """Let it be switched when the config allows; one that was dropped meanwhile is tried again. Raises as `vet`."""
        config = self._tools.config
        if config.window is not None and (wait_s := opens_in_s(config.window, config.timezone, time.time())):
            self.drop()  # it may be hours
            return Deferral("window", wait_s)
        if self._worker is None and not self._replace:
            return self.vet(journal, active, attention)
        return Done()

    def switch(self, journal: Journal, active: Active, attention: Attention) -> Outcome:
        """Let it serve, in place of what does; where both are not to be there at once, what serves ends first. Raises as `vet`."""
        if self._replace:
            self._slot.vacate()
            try:
                outcome = self.vet(journal, active, attention)
            except AgentError:
                self.restore(active.current)
                raise
            if outcome is None:
                self.restore(active.current)
                return None
        candidate = self._worker
        if candidate is None:  # it was dropped, with the agent, say
            return Failed(failure("crashed", "switching", "the candidate is gone", retryable=True))
        figures = self._slot.watch
        self._former = None if figures.p50_ms is None else Former(figures.p50_ms, figures.fps)
        if self._slot.worker is None:
            self._slot.serve(candidate)
        else:
            self._slot.switch(candidate, keep_standby=True, timeout_s=DRAIN_S)
        self._worker = None
        self._since = time.monotonic()
        return Done()

    def watch(self, journal: Journal, _active: Active, attention: Attention) -> Outcome:
        """Judge it by what it does, until it has served long enough. VettingError where it is not fit."""
        config, policy = self._tools.config, wish_of(journal).policy
        required_s = max(config.min_probation_s, policy.probation_s or 0)
        required_frames = max(config.min_probation_frames, policy.probation_frames or 0)
        while True:
            if fallen := self._slot.fallen:
                code = fallen.kind if isinstance(fallen, WorkerError) else "load"
                return Failed(failure(code, "probation", fallen), guilty=True)
            figures, now = self._slot.watch, time.monotonic()
            self._demand.look(now, self._tools.frames_in())
            if verdict := judge(figures, self._limits._replace(demand_hz=self._demand.hz), self._former):
                raise verdict
            switch = self._slot.last_switch()
            if switch and journal.swap is None:
                return Measured(Swap(gap_ms=switch.gap_ms, frames_lost=switch.frames_lost))
            passed = progress(figures, now - self._since, required_s, required_frames)
            if passed.fraction >= 1:
                return Done()
            attention.progress(passed.fraction)
            if attention.wait(LOOK_S):
                return None


class Demand:
    """How many frames a second the sources give. hz: between the last two looks that were far enough apart."""

    def __init__(self) -> None:
        self.hz = 0.0
        self._at: tuple[float, int] | None = None

    def look(self, now: float, frames: int) -> None:
        """now: seconds of a monotonic clock. frames: that have come until then."""
        if self._at is None:
            self._at = (now, frames)
        elif (passed := now - self._at[0]) >= DEMAND_S:
            self.hz = (frames - self._at[1]) / passed
            self._at = (now, frames)


def _memory_bytes(bundles: tuple[Bundle, ...]) -> int:
    """What a candidate may take beside what serves."""
    needed = bundles[0].manifest.requires.memory_mb
    return UNKNOWN_MEMORY_BYTES if needed is None else needed * 5 // 4 << 20
