from agent.errors import BundleError, WorkerError
from agent.worker.watch import KEPT_FAILURES, Failure, GapMeter, Pair, ProbationFigures, Switch, Watch

MS = 1_000_000


def test_a_watch_without_a_frame_has_no_percentiles() -> None:
    assert Watch().figures() == ProbationFigures()


def test_figures() -> None:
    watch = Watch()
    for i in range(100):
        watch.answered(float(i), i * MS)
    watch.failed(WorkerError("it died", "crashed"))
    watch.failed(BundleError("no model"))
    watch.compared(Pair(3, 4))
    figures = watch.figures()
    assert (figures.invoked, figures.p50_ms) == (100, 49.5)
    assert figures.p99_ms is not None
    assert 98 < figures.p99_ms <= 99
    assert figures.failures == (Failure("crashed", "it died"), Failure("load", "no model"))
    assert figures.pairs == (Pair(3, 4),)
    assert figures.fps > 0


def test_of_a_model_that_fails_for_ever_the_first_failures_are_kept() -> None:
    watch = Watch()
    for i in range(2 * KEPT_FAILURES):
        watch.failed(WorkerError(str(i), "crashed"))
    assert [failure.detail for failure in watch.figures().failures] == [str(i) for i in range(KEPT_FAILURES)]


def test_the_gap_is_the_longest_time_between_two_answers_across_the_switch() -> None:
    gap = GapMeter()
    gap.answered(0, after=True)
    gap.answered(500 * MS, after=True)  # before the switch
    gap.begin()
    gap.answered(510 * MS, after=False)
    gap.answered(560 * MS, after=False)
    assert gap.last is None
    gap.answered(590 * MS, after=True)
    gap.answered(990 * MS, after=True)
    assert gap.last == Switch(50.0, 0)


def test_frames_that_failed_since_the_last_answer_are_lost_in_the_switch() -> None:
    gap = GapMeter()
    gap.lost()
    gap.answered(0, after=True)
    gap.lost()
    gap.begin()
    gap.lost()
    gap.answered(1 * MS, after=True)
    assert gap.last == Switch(1.0, 2)
    gap.begin()
    gap.answered(3 * MS, after=True)
    assert gap.last == Switch(2.0, 0)


def test_a_switch_during_a_switch_is_one() -> None:
    gap = GapMeter()
    gap.answered(0, after=True)
    gap.begin()
    gap.lost()
    gap.begin()
    gap.answered(7 * MS, after=True)
    assert gap.last == Switch(7.0, 1)


def test_a_switch_that_comes_to_nothing_leaves_no_figures() -> None:
    gap = GapMeter()
    gap.answered(0, after=True)
    gap.begin()
    gap.give_up()
    gap.answered(7 * MS, after=True)
    assert gap.last is None


def test_without_an_answer_before_there_is_no_gap() -> None:
    gap = GapMeter()
    gap.begin()
    gap.answered(7 * MS, after=True)
    assert gap.last is None
