"""What a model in probation is sent back for, and what not."""

from dataclasses import dataclass, replace

import pytest

from agent.errors import WorkerFailure
from agent.update.limits import Limits
from agent.update.probation import Former, dried_up, judge, progress

LIMITS = Limits(memory_mb=100, max_latency_ms=80.0, demand_hz=20.0)
FORMER = Former(p50_ms=20.0, answered_hz=19.5)


@dataclass(frozen=True)
class Failed:
    kind: WorkerFailure
    detail: str = "people: the worker was ended by SIGSEGV"


@dataclass(frozen=True)
class Figures:
    """Implements ProbationFigures: of a model that does well."""

    invoked: int = 400
    failures: tuple[Failed, ...] = ()
    p50_ms: float | None = 30.0
    p99_ms: float | None = 45.0
    memory_bytes: int = 90 << 20
    fps: float = 19.8
    pairs: tuple[tuple[int, int], ...] = ((1, 1),) * 20


GOOD = Figures()


def code(figures: Figures, limits: Limits = LIMITS, former: Former | None = FORMER) -> str | None:
    error = judge(figures, limits, former)
    assert error is None or "\n" not in str(error)
    return None if error is None else error.code


@pytest.mark.parametrize("kind", ["crashed", "deadline", "memory", "protocol"])
def test_a_failure_is_enough(kind: WorkerFailure) -> None:
    error = judge(replace(GOOD, failures=(Failed(kind),), invoked=1, p50_ms=None), LIMITS, FORMER)
    assert error is not None
    assert (error.code, str(error)) == (kind, "people: the worker was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("figures", "limits", "former", "expected"),
    [
        (GOOD, LIMITS, FORMER, None),
        (GOOD, LIMITS, None, None),
        # memory: a quarter over what the bundle says is allowed
        (replace(GOOD, memory_bytes=125 << 20), LIMITS, FORMER, None),
        (replace(GOOD, memory_bytes=126 << 20), LIMITS, FORMER, "memory"),
        (replace(GOOD, memory_bytes=126 << 20), LIMITS._replace(memory_mb=None), FORMER, None),
        # latency
        (replace(GOOD, p50_ms=81.0), LIMITS, None, "latency"),
        (replace(GOOD, p50_ms=81.0, invoked=29), LIMITS, FORMER, None),
        (replace(GOOD, p50_ms=51.0), LIMITS, FORMER, "latency"),
        (replace(GOOD, p50_ms=51.0), LIMITS, None, None),
        (replace(GOOD, p50_ms=51.0), LIMITS, Former(p50_ms=55.0, answered_hz=18.0), None),
        (replace(GOOD, p50_ms=51.0), LIMITS._replace(demand_hz=10.0), FORMER, None),
        (replace(GOOD, p50_ms=None), LIMITS, FORMER, None),
        # fps
        (replace(GOOD, fps=15.0), LIMITS, FORMER, "fps"),
        (replace(GOOD, fps=17.0), LIMITS, FORMER, None),
        (replace(GOOD, fps=15.0), LIMITS, Former(p50_ms=20.0, answered_hz=15.5), None),
        (replace(GOOD, fps=15.0), LIMITS, None, None),
        (replace(GOOD, fps=0.0), LIMITS._replace(demand_hz=0.0), FORMER, None),
        # drying up
        (replace(GOOD, pairs=((0, 3),) * 20), LIMITS, FORMER, "dried_up"),
        (replace(GOOD, pairs=((0, 0),) * 1000), LIMITS, FORMER, None),
    ],
)
def test_figures(figures: Figures, limits: Limits, former: Former | None, expected: str | None) -> None:
    assert code(figures, limits, former) == expected


@pytest.mark.parametrize(
    ("candidate", "standby", "expected"),
    [
        ([0] * 19, [1] * 19, False),
        ([0] * 20, [1] * 20, True),
        ([0] * 20 + [0] * 500, [1] * 20 + [0] * 500, True),  # night, and then a busy day
        ([1] + [0] * 19, [1] * 20, False),
        ([1] * 14 + [0] * 86, [1] * 100, True),
        ([1] * 15 + [0] * 85, [1] * 100, False),
        ([7] * 500, [2] * 500, False),  # other labels, as much to see
        ([0] * 500 + [2] * 100, [0] * 500 + [3] * 100, False),
    ],
)
def test_dried_up(candidate: list[int], standby: list[int], expected: bool) -> None:
    assert dried_up(list(zip(candidate, standby, strict=True))) is expected


def test_says_how_much_it_sees() -> None:
    error = judge(replace(GOOD, pairs=((0, 2),) * 29 + ((1, 1),) + ((0, 0),) * 9), LIMITS, FORMER)
    assert str(error) == "it sees something in 1 of 30 frames in which the model before sees something"


@pytest.mark.parametrize(
    ("frames", "elapsed_s", "fraction", "waits"),
    [(0, 0.0, 0.0, False), (500, 300.0, 0.5, False), (100, 300.0, 0.2, False), (100, 600.0, 0.2, True), (900, 700.0, 1.0, False)],
)
def test_time_and_frames_have_to_come(frames: int, elapsed_s: float, fraction: float, waits: bool) -> None:
    found = progress(replace(GOOD, invoked=frames), elapsed_s, 600.0, 500)
    assert found.fraction == pytest.approx(fraction)
    assert found.waits_for_frames is waits


def test_nothing_required_is_over_at_once() -> None:
    assert progress(replace(GOOD, invoked=0), 0.0, 0.0, 0) == (1.0, False)
