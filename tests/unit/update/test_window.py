"""The time of day in which models may be switched."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from agent.update.window import opens_in_s

LYON = "Europe/Paris"


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(LYON)).timestamp()


@pytest.mark.parametrize(
    ("now", "window", "seconds"),
    [
        ("2026-11-25 02:00", "02:00-05:00", 0),
        ("2026-11-25 04:59", "02:00-05:00", 0),
        ("2026-11-25 05:00", "02:00-05:00", 21 * 3600),
        ("2026-11-25 01:59:30", "02:00-05:00", 30),
        ("2026-11-25 23:30", "22:00-01:00", 0),
        ("2026-11-25 00:30", "22:00-01:00", 0),
        ("2026-11-25 12:00", "22:00-01:00", 10 * 3600),
        ("2026-10-25 00:00", "03:30-05:00", 4.5 * 3600),  # the clocks go back at 3
    ],
)
def test_how_long_until_the_window_opens(now: str, window: str, seconds: float) -> None:
    assert opens_in_s(window, LYON, at(now)) == seconds


def test_without_a_timezone_it_is_the_computers() -> None:
    now = datetime(2026, 11, 25, 12, 0).astimezone()
    assert opens_in_s("12:00-13:00", None, now.timestamp()) == 0
