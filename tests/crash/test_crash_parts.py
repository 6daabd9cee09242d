"""The small parts of the agent at each of their crash points; `python -m tests.crash` tries them all."""

import pytest

from tests.crash.scenario import EVERY, How, explore
from tests.crash.scenarios import SCENARIOS


@pytest.mark.parametrize("how", EVERY)
@pytest.mark.parametrize("part", ["session", "download"])
def test_no_crash_point_does_harm(part: str, how: How) -> None:
    with SCENARIOS[part]() as scenario:
        points = list(explore(scenario, how))
    assert points
    assert not [point for point in points if point.violation]
