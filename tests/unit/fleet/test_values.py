import argparse
import re

import pytest

from agent.fleet.values import count, instant, pair, seconds, shown
from agent.fleet.wishes import STEM_LENGTH, deployment_id


def test_times() -> None:
    assert [seconds(text) for text in ("90", "90s", "5m", "1h", "2d")] == [90, 90, 300, 3600, 172_800]
    assert instant("2026-11-25T05:00:00Z") == instant("2026-11-25T05:00:00.000Z") == "2026-11-25T05:00:00.000Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", instant("6h"))


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "1w", "1h30m"])
def test_no_times(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time such as"):
        seconds(text)


def test_pairs() -> None:
    assert pair("a=b=c") == ("a", "b=c")
    for text in ("a", "=b"):
        with pytest.raises(argparse.ArgumentTypeError):
            pair(text)


def test_what_devices_say_cannot_steer_a_terminal() -> None:
    assert shown("gate\x1b[2J\n") == "gate?[2J?"


def test_deployment_ids_are_unique_and_short_enough() -> None:
    ids = [deployment_id(f"{'cars_big' * 12}-1.0.0") for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", found) for found in ids)
    assert ids[0].startswith(("cars-big" * 12)[:STEM_LENGTH])


def test_whole_numbers() -> None:
    assert [count(text) for text in ("0", "7", "500")] == [0, 7, 500]
    for text in ("", "-1", "1.5", "1e3", "9" * 12):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number"):
            count(text)


@pytest.mark.parametrize("text", ["2026-99-99T00:00:00Z", "2026-11-25", "soon"])
def test_no_instants(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time from now"):
        instant(text)
