"""The crash points find each mistake of the small programs, and nothing in the right one."""

import sys

import pytest

from tests.crash import writers
from tests.crash.scenario import EVERY, How, Scenario, explore, table

POWER_CUT, KILL, TEAR, FULL = "power cut", "kill", "tear", "disk full"


def scenario(way: str) -> Scenario:
    return Scenario(
        way,
        lambda folder: [sys.executable, "-S", "-m", "tests.crash.writers", way, folder],  # -S: nothing but the standard library
        writers.prepare,
        writers.genuine,
        writers.replaced,
    )


def test_the_right_way_survives_everything() -> None:
    rows = {row.how: row for row in table(scenario("right"))}
    assert {how: row.violations for how, row in rows.items()} == dict.fromkeys(EVERY, ())
    assert rows["kill"].points == 11  # twice create, write, sync, rename, sync the folder; and one removal
    assert rows["tear"].points == 2


@pytest.mark.parametrize(
    ("way", "how"),
    [
        ("name-first", KILL),
        ("garbage-first", KILL),
        ("in-place", KILL),
        ("in-place", TEAR),
        ("in-place", FULL),
        ("in-place", POWER_CUT),
        ("without-sync", POWER_CUT),
        ("without-folder-sync", POWER_CUT),
        ("other-folder-sync", POWER_CUT),
        ("rename-before-write", KILL),
        ("rename-before-write", POWER_CUT),
        ("new-part-alone", KILL),
        ("one-write", FULL),
        ("silent", FULL),
        ("right-traceback", "read-only"),
    ],
)
def test_a_mistake_is_found(way: str, how: How) -> None:
    points = list(explore(scenario(way), how))
    assert any(point.violation for point in points), "\n".join(point.where for point in points)


@pytest.mark.parametrize(
    ("way", "how"), [("without-sync", KILL), ("without-folder-sync", KILL), ("other-folder-sync", KILL), ("one-write", KILL)]
)
def test_what_a_mistake_does_not_break_is_not_reported(way: str, how: How) -> None:
    assert not [point for point in explore(scenario(way), how) if point.violation]
