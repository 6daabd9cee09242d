"""Probation: a model that has just taken over is watched, and judged by figures alone."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from agent.errors import VettingError
from agent.update.limits import Limits
from agent.worker.watch import ProbationFigures

FEWEST_FRAMES = 30  # before speed is judged
KEPT_UP, FELL_BEHIND = 0.9, 0.8  # parts of what the sources give: what lies between is noise
FEWEST_SIGHTINGS = 20  # of the standby, before it is judged whether the candidate has dried up
BLIND_BELOW = 0.25  # the part of the standby's sightings that a model has to share
CONFIDENCE_Z = 2.326  # 99 %, one-sided


class Former(NamedTuple):
    """What the model before did in its last minutes: the median of an inference, and how many frames it answered a second."""

    p50_ms: float
    answered_hz: float


class Progress(NamedTuple):
    """fraction: of a probation, from 0 to 1. waits_for_frames: its time has passed, and too few frames have come."""

    fraction: float
    waits_for_frames: bool


def judge(figures: ProbationFigures, limits: Limits, former: Former | None) -> VettingError | None:
    """What is wrong with a model in probation, None as long as nothing is.

    limits: those of its vetting, with the `demand_hz` of now: the least in the time that `fps` is of, so that it is no fault where
    a camera was down.
    former: None where nothing served before, against which speed could be measured.

    - the code of a failure of its worker, at the first: a crash, a deadline, a leak, numbers that are not finite
    - memory, latency: as in vetting
    - fps: fewer than 80 % of what the sources give are answered, and the model before answered 90 %
    - dried_up: see `dried_up`
    """
    if figures.failures:
        return VettingError(figures.failures[0].detail, figures.failures[0].kind)
    if why := limits.too_much_memory(figures.memory_bytes):
        return VettingError(why, "memory")
    if figures.invoked >= FEWEST_FRAMES and figures.p50_ms is not None:
        why = limits.too_late(figures.p50_ms) or (limits.falls_behind(figures.p50_ms, former.p50_ms) if former else None)
        if why:
            return VettingError(why, "latency")
        if former and figures.fps < FELL_BEHIND * limits.demand_hz and former.answered_hz >= KEPT_UP * limits.demand_hz:
            return VettingError(
                f"it answers {figures.fps:.1f} of the {limits.demand_hz:.1f} frames a second that its sources give; "
                f"the model before answered {former.answered_hz:.1f}",
                "fps",
            )
    if dried_up(figures.pairs):
        seen = [candidate for candidate, standby in figures.pairs if standby]
        return VettingError(
            f"it sees something in {sum(map(bool, seen))} of {len(seen)} frames in which the model before sees something",
            "dried_up",
        )
    return None


def dried_up(pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether a model is blind to what the standby sees: pairs of what the candidate and the standby found in the same frame.

    Only frames count in which the standby finds something: at night neither does, and that says nothing. Of those, the part in
    which the candidate finds anything, whatever it calls it, must be below a quarter with a confidence of 99 %: none of 20, 1 of
    30, 7 of 60, 14 of 100. So the rule gets no more hasty the more frames there are, and a model that finds as much under other
    labels passes, as does one that has seen a quarter by bad luck.

    Source: the upper end of E. B. Wilson's score interval, Probable inference, JASA 22 (1927).
    """
    sightings = [candidate > 0 for candidate, standby in pairs if standby > 0]
    n = len(sightings)
    return n >= FEWEST_SIGHTINGS and _upper_bound(sum(sightings), n) < BLIND_BELOW


def progress(figures: ProbationFigures, elapsed_s: float, required_s: float, required_frames: int) -> Progress:
    """How far a probation is: both its time and its frames have to come, and are over at 1."""
    time_passed = min(1.0, elapsed_s / required_s) if required_s > 0 else 1.0
    frames_passed = min(1.0, figures.invoked / required_frames) if required_frames > 0 else 1.0
    return Progress(min(time_passed, frames_passed), waits_for_frames=time_passed == 1.0 > frames_passed)


def _upper_bound(hits: int, n: int) -> float:
    """The largest share of which `hits` of `n` would not be a surprise."""
    z2, share = CONFIDENCE_Z**2, hits / n
    return (share + z2 / (2 * n) + CONFIDENCE_Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
