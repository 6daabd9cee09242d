from collections import Counter

import pytest

from scripts.demo.score import Box, Score, Thing, Truth, iou

HERE: Box = (10.0, 10.0, 30.0, 30.0)
NEAR: Box = (12.0, 10.0, 32.0, 30.0)  # IoU 0.82 with HERE
FAR: Box = (200.0, 10.0, 220.0, 30.0)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(HERE, HERE, 1.0), (HERE, (20.0, 10.0, 40.0, 30.0), 1 / 3), (HERE, FAR, 0.0), (HERE, (30.0, 10.0, 50.0, 30.0), 0.0)],
)
def test_iou(a: Box, b: Box, expected: float) -> None:
    assert iou(a, b) == pytest.approx(expected)


def test_counts_what_is_named_missed_and_made_up() -> None:
    score = Score()
    score.add(Truth([Thing("nut", HERE), Thing("bolt", FAR)]), [Thing("nut", NEAR), Thing("gear", FAR)])
    score.add(Truth([Thing("nut", HERE)]), [Thing("nut", HERE)])
    assert score == Score(frames=2, parts=Counter(nut=2, bolt=1), hits=Counter(nut=2), false_alarms=1)
    assert (score.in_view, score.named) == (3, 2)
    assert score.named_pct == pytest.approx(200 / 3)
    assert (score.named_pct_of("nut"), score.named_pct_of("bolt"), score.named_pct_of("gear")) == (100, 0, 100)


def test_a_detection_names_one_part() -> None:
    score = Score()
    score.add(Truth([Thing("nut", HERE), Thing("nut", NEAR)]), [Thing("nut", HERE)])
    assert (score.named, score.false_alarms) == (1, 0)


def test_the_closest_detection_is_taken() -> None:
    score = Score()
    score.add(Truth([Thing("nut", HERE), Thing("nut", NEAR)]), [Thing("nut", NEAR), Thing("nut", HERE)])
    assert (score.named, score.false_alarms) == (2, 0)


def test_an_empty_belt_is_named_whole() -> None:
    assert Score().named_pct == 100


def test_a_part_at_the_edge_may_be_named_or_not() -> None:
    score = Score()
    edge = Truth([Thing("nut", HERE)], [Thing("gear", FAR)])
    score.add(edge, [Thing("nut", HERE), Thing("washer", FAR)])
    score.add(edge, [Thing("nut", HERE)])
    assert score == Score(frames=2, parts=Counter(nut=2), hits=Counter(nut=2), false_alarms=0)
