"""The phases from `verified` to `probation`: a bundle that is at hand is tried beside what serves, takes over, and is watched."""

import time

from agent.bundles.load import Bundle
from agent.errors import WorkerError
from agent.publish.orders import Swap
from agent.update.incumbent import Incumbent
from agent.update.journal import Active, Journal
from agent.update.limits import Limits
from agent.update.machine import Done, Failed, Measured
from agent.update.phase import AGAIN_S, Attention, Deferral, Outcome, Tools, failure, target_of, wish_of
from agent.update.probation import Former, judge, progress
from agent.update.vetting import vet
from agent.update.window import opens_in_s
from agent.worker.model import ModelWorker

LOOK_S = 0.5  # at a model in probation
PACE_S = 10.0  # over which they are counted beside what is answered
DRAIN_S = 30.0  # for frames that are under way at the switch
UNKNOWN_MEMORY_BYTES = 256 << 20  # that a model takes whose bundle does not say


class Candidate:
    """Of one slot, for one thread. The candidate's worker is its own until the slot has taken it."""

    def __init__(self, tools: Tools, incumbent: Incumbent) -> None:
        self._tools = tools
        self._slot = tools.slot
        self._incumbent = incumbent
        self._worker: ModelWorker | None = None
        self._taken: ModelWorker | None = None  # by the slot, and not settled yet
        self._replace = False  # both do not fit, or are not to be there at once
        self._demand_hz = 0.0
        self._limits = Limits(memory_mb=None, max_latency_ms=None, demand_hz=0.0)  # those of the vetting
        self._former: Former | None = None  # what served before the switch
        self._since = 0.0  # the probation's begin, monotonic

    def undo(self) -> None:
        """Let the bundle serve that is active: its warm worker where there is one, else a new one. AgentError where it cannot."""
        self.drop()
        taken, self._taken = self._taken, None
        if self._slot.fall_back():
            return
        serving = self._slot.worker
        if serving is None or serving is taken:  # else it has fallen back by itself, or has never been left
            self._incumbent.serve(self._incumbent.active.current)

    def settle(self) -> None:
        """The model that was in probation is the slot's own from now on, and what served before ends."""
        self._taken = None
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
        bundles = self._incumbent.bundles(target_of(journal))
        free, needed = computer.memory_free_bytes(), _memory_bytes(bundles)
        self._replace = wish.policy.swap == "replace" or (wish.policy.swap == "auto" and free < needed)
        if wish.policy.swap == "beside" and free < needed:
            return Deferral("memory", AGAIN_S)
        pace = self._pace()
        if attention.wait(self._tools.demand_s):
            return None
        self._demand_hz, _ = self._look(pace, 0.0) or (0.0, 0.0)
        return Done()

    def vet(self, journal: Journal, _active: Active, attention: Attention) -> Outcome:
        """Have a candidate that has been tried beside what serves, if both may be there. VettingError, BundleError."""
        if self._replace and journal.phase != "switching":
            return Done()
        bundles = self._incumbent.bundles(target_of(journal))
        if self._worker is None:
            self._worker = self._tools.make_worker(bundles, False)
        limits = Limits(memory_mb=None, max_latency_ms=None, demand_hz=self._demand_hz)
        vetted = vet(self._worker, bundles, self._slot.worker, limits, attention.is_wanted, attention.progress)
        if vetted is None:
            self.drop()
            return None
        self._limits = vetted.limits
        return Done()

    def _pace(self) -> "Pace":
        return Pace(time.monotonic(), self._tools.frames_in(), self._slot.watch.invoked)

    def _look(self, pace: "Pace", least_s: float) -> tuple[float, float] | None:
        return pace.look(time.monotonic(), self._tools.frames_in(), self._slot.watch.invoked, least_s)

    def wait_for_window(self, journal: Journal, active: Active, attention: Attention) -> Outcome:
        """Let it be switched when the config allows; one that was dropped meanwhile is tried again. Raises as `vet`."""
        config = self._tools.config
        if config.window is not None and (wait_s := opens_in_s(config.window, config.timezone, time.time())):
            self.drop()  # it may be hours
            return Deferral("window", min(wait_s, AGAIN_S))  # the clock may be set meanwhile
        if self._worker is None and not self._replace:
            return self.vet(journal, active, attention)
        return Done()

    def switch(self, journal: Journal, active: Active, attention: Attention) -> Outcome:
        """Let it serve, in place of what does; where both are not to be there at once, what serves ends first. Raises as `vet`."""
        if self._replace:
            self._slot.vacate()
            if self.vet(journal, active, attention) is None:  # the agent ends
                return None
        candidate = self._worker
        if candidate is None:  # it was dropped, with the agent, say
            return Failed(failure("crashed", "switching", "the candidate is gone", retryable=True))
        figures = self._slot.watch
        self._former = None if figures.p50_ms is None else Former(figures.p50_ms, figures.fps)
        if self._slot.worker is None:
            self._slot.serve(candidate)
        else:
            try:
                self._slot.switch(candidate, keep_standby=True, timeout_s=DRAIN_S)
            except WorkerError as error:
                if candidate.state != "running":
                    raise
                return Failed(failure(error.kind, "switching", error, retryable=True))  # what serves would not come to rest
        self._worker, self._taken = None, candidate
        self._since = time.monotonic()
        return Done()

    def watch(self, journal: Journal, _active: Active, attention: Attention) -> Outcome:
        """Judge it by what it does, until it has served long enough. VettingError, WorkerError, BundleError where it is not fit."""
        config, policy = self._tools.config, wish_of(journal).policy
        required_s = max(config.min_probation_s, policy.probation_s or 0)
        required_frames = max(config.min_probation_frames, policy.probation_frames or 0)
        pace = self._pace()
        while True:
            if fallen := self._slot.fallen:
                code = fallen.kind if isinstance(fallen, WorkerError) else "load"
                return Failed(failure(code, "probation", fallen), guilty=True)
            figures = self._slot.watch
            given_hz, answered_hz = self._look(pace, PACE_S) or (0.0, 0.0)  # of nothing that is given, all is answered
            limits = self._limits._replace(demand_hz=given_hz)
            if verdict := judge(figures._replace(fps=answered_hz), limits, self._former):
                raise verdict
            switch = self._slot.last_switch()
            if switch and journal.swap is None:
                return Measured(Swap(gap_ms=round(switch.gap_ms, 1), frames_lost=switch.frames_lost))
            passed = progress(figures, time.monotonic() - self._since, required_s, required_frames)
            if passed.fraction >= 1:
                self._slot.commit()
                return Done()
            attention.progress(passed.fraction)
            if attention.wait(LOOK_S):
                return None


class Pace:
    """How many frames a second the sources give, and how many of them are answered: both over the same time."""

    def __init__(self, now: float, given: int, answered: int) -> None:
        """now: seconds of a monotonic clock. given, answered: frames until then."""
        self._at = (now, given, answered)

    def look(self, now: float, given: int, answered: int, least_s: float) -> tuple[float, float] | None:
        """Frames a second, given and answered, since the look before; None where that was less than `least_s` ago."""
        passed = now - self._at[0]
        if passed < least_s:
            return None
        rates = ((given - self._at[1]) / passed, (answered - self._at[2]) / passed)
        self._at = (now, given, answered)
        return rates


def _memory_bytes(bundles: tuple[Bundle, ...]) -> int:
    """What a candidate may take beside what serves."""
    needed = bundles[0].manifest.requires.memory_mb
    return UNKNOWN_MEMORY_BYTES if needed is None else needed * 5 // 4 << 20
