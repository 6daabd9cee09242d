import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.pace import Pace


def test_waits_for_each_frame_from_the_first_on() -> None:
    pace = Pace(fps=10)
    assert pace.skip(0, now=100.0) == 0
    assert pace.wait(0, now=100.02) == 0
    assert pace.wait(1, now=100.04) == pytest.approx(0.06)
    assert pace.wait(5, now=100.04) == pytest.approx(0.46)


def test_skips_what_is_over_and_not_what_is_on() -> None:
    pace = Pace(fps=10)
    assert pace.skip(0, now=0.0) == 0
    assert pace.skip(1, now=0.15) == 0
    assert pace.skip(1, now=0.25) == 1
    assert pace.skip(1, now=0.95) == 8


def test_after_a_long_pause_it_skips_a_second_and_goes_on_from_there() -> None:
    pace = Pace(fps=10)
    assert pace.skip(0, now=0.0) == 0
    assert pace.skip(1, now=60.0) == 10
    assert pace.skip(12, now=60.1) == 0
    assert pace.wait(12, now=60.1) == pytest.approx(0.1, abs=0.1)


@given(st.floats(0.5, 120), st.floats(1.01, 5))
def test_a_device_that_decodes_too_slowly_still_shows_some(fps: float, slowness: float) -> None:
    pace, now, index = Pace(fps), 0.0, 0
    while index < 20 * fps:
        skipped = pace.skip(index, now)
        assert skipped <= Pace.MOST_SKIPPED_S * fps
        index += skipped + 1
        now += (skipped + 1) * slowness / fps
