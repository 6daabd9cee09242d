"""What a model in probation is sent back for, and what not."""

import pytest

from agent.errors import WorkerFailure
from agent.update.limits import Limits
from agent.update.probation import Former, dried_up, judge, progress
from agent.worker.watch import Failure, Pair, ProbationFigures

LIMITS = Limits(memory_mb=100, max_latency_ms=80.0, demand_hz=20.0)
FORMER = Former(p50_ms=20.0, answered_hz=19.5)


GOOD = ProbationFigures(invoked=400, p50_ms=30.0, p99_ms=45.0, memory_bytes=90 << 20, pairs=(Pair(1, 1),) * 20, fps=19.8)


def code(figures: ProbationFigures, limits: Limits = LIMITS, former: Former | None = FORMER) -> str | None:
    error = judge(figures, limits, former)
    assert error is None or "\n" not in str(error)
    return None if error is None else error.code


@pytest.mark.parametrize("kind", ["crashed", "deadline", "memory", "protocol"])
def test_a_failure_is_enough(kind: WorkerFailure) -> None:
    error = judge(
        GOOD._replace(failures=(Failure(kind, "people: the worker was ended by SIGSEGV"),), invoked=1, p50_ms=None), LIMITS, FORMER
    )
    assert error is not None
    assert (error.code, str(error)) == (kind, "people: the worker was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("figures", "limits", "former", "expected"),
    [
        (GOOD, LIMITS, FORMER, None),
        (GOOD, LIMITS, None, None),
        # memory: a quarter over what the bundle says is allowed
        (GOOD._replace(memory_bytes=125 << 20), LIMITS, FORMER, None),
        (GOOD._replace(memory_bytes=126 << 20), LIMITS, FORMER, "memory"),
        (GOOD._replace(memory_bytes=126 << 20), LIMITS._replace(memory_mb=None), FORMER, None),
        # latency
        (GOOD._replace(p50_ms=81.0), LIMITS, None, "latency"),
        (GOOD._replace(p50_ms=81.0, invoked=29), LIMITS, FORMER, None),
        (GOOD._replace(p50_ms=51.0), LIMITS, FORMER, "latency"),
        (GOOD._replace(p50_ms=51.0), LIMITS, None, None),
        (GOOD._replace(p50_ms=51.0), LIMITS, Former(p50_ms=55.0, answered_hz=18.0), None),
        (GOOD._replace(p50_ms=51.0), LIMITS._replace(demand_hz=10.0), FORMER, None),
        (GOOD._replace(p50_ms=None), LIMITS, FORMER, None),
        # fps
        (GOOD._replace(fps=15.0), LIMITS, FORMER, "fps"),
        (GOOD._replace(fps=17.0), LIMITS, FORMER, None),
        (GOOD._replace(fps=15.0), LIMITS, Former(p50_ms=20.0, answered_hz=15.5), None),
        (GOOD._replace(fps=15.0), LIMITS, None, None),
        (GOOD._replace(fps=0.0), LIMITS._replace(demand_hz=0.0), FORMER, None),
        # drying up
        (GOOD._replace(pairs=(Pair(0, 3),) * 20), LIMITS, FORMER, "dried_up"),
        (GOOD._replace(pairs=(Pair(0, 0),) * 1000), LIMITS, FORMER, None),
    ],
)
def test_figures(figures: ProbationFigures, limits: Limits, former: Former | None, expected: str | None) -> None:
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
    error = judge(GOOD._replace(pairs=(Pair(0, 2),) * 29 + (Pair(1, 1),) + (Pair(0, 0),) * 9), LIMITS, FORMER)
    assert str(error) == "it sees something in 1 of 30 frames in which the model before sees something"


@pytest.mark.parametrize(
    ("frames", "elapsed_s", "fraction", "waits"),
    [(0, 0.0, 0.0, False), (500, 300.0, 0.5, False), (100, 300.0, 0.2, False), (100, 600.0, 0.2, True), (900, 700.0, 1.0, False)],
)
def test_time_and_frames_have_to_come(frames: int, elapsed_s: float, fraction: float, waits: bool) -> None:
    found = progress(GOOD._replace(invoked=frames), elapsed_s, 600.0, 500)
    assert found.fraction == pytest.approx(fraction)
    assert found.waits_for_frames is waits


def test_nothing_required_is_over_at_once() -> None:
    assert progress(GOOD._replace(invoked=0), 0.0, 0.0, 0) == (1.0, False)
