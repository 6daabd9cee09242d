from collections import Counter
from typing import get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.sources.belt import Belt, Part
from agent.sources.config import PartLabel, SyntheticConfig

SIZE = (320, 240)
LABELS: tuple[PartLabel, ...] = get_args(PartLabel)


def belt(size: tuple[int, int] = SIZE, seed: int = 0, parts: tuple[PartLabel, ...] = LABELS) -> Belt:
    return Belt(size, 30, seed, parts)


def drawn(source: Belt, seq: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    out = np.empty((size[1], size[0], 3), np.uint8)
    source.draw(seq, out)
    return out


def area(part: Part) -> float:
    x1, y1, x2, y2 = part.box
    return (x2 - x1) * (y2 - y1)


def test_a_picture_and_its_truth_follow_from_settings_and_number() -> None:
    one, other = belt(), belt()
    for seq in (1000, 3, 500_000, 1001):
        assert (drawn(one, seq) == drawn(belt(), seq)).all()
        assert one.truth(seq) == other.truth(seq)
        assert (drawn(one, seq) == drawn(other, seq)).all()
    assert (drawn(belt(seed=1), 3) != drawn(one, 3)).mean() > 0.2
    assert (drawn(one, 4) != drawn(one, 3)).mean() > 0.2


@pytest.mark.parametrize("size", [(64, 64), (320, 240), (480, 640), (1280, 360)])
def test_boxes_are_in_the_picture(size: tuple[int, int]) -> None:
    source = belt(size)
    seen = 0
    for seq in range(0, 200, 20):
        for part in source.truth(seq):
            x1, y1, x2, y2 = part.box
            assert 0 <= x1 < x2 <= size[0]
            assert 0 <= y1 < y2 <= size[1]
            assert 0.5 <= part.shown <= 1
            seen += 1
    assert seen > 20


def test_a_part_stands_out_where_the_truth_says_and_nowhere_else() -> None:
    size = (640, 480)
    source = belt(size)
    bare = belt(size, parts=("bolt",))
    bare._stretches = {index: [] for index in range(3)}
    for seq in (0, 77):
        with_parts, without = drawn(source, seq, size).astype(int), drawn(bare, seq, size).astype(int)
        brighter = (with_parts - without).max(axis=2) > 12  # a shadow is darker
        everything = source.truth(seq, least_shown=0)
        covered = np.zeros(brighter.shape, bool)
        for part in everything:
            x1, y1, x2, y2 = map(int, part.box)
            covered[y1:y2, x1:x2] = True
            assert brighter[y1:y2, x1:x2].mean() > 0.03
        assert not cv2.erode((brighter & ~covered).astype(np.uint8), np.ones((3, 3), np.uint8)).any()


def test_a_part_comes_in_at_the_right_and_leaves_at_the_left() -> None:
    source = belt()
    shown = [max((part.shown for part in source.truth(seq, 0) if part.box[2] >= SIZE[0]), default=0) for seq in range(200)]
    assert min(shown) < 0.3
    assert max(shown) > 0.9
    inner = [part for part in source.truth(50) if 20 < part.box[0] < part.box[2] < SIZE[0]]
    later = {part.box[1:4:2]: part for part in source.truth(53, 0)}
    for part in inner:
        assert later[part.box[1], part.box[3]].label == part.label
        assert part.box[0] - later[part.box[1], part.box[3]].box[0] == pytest.approx(6)


def test_the_belt_has_no_seam() -> None:
    source = belt(parts=("nut",))
    source._stretches = {index: [] for index in range(4)}
    for seq in (0, 80, 159, 160, 161):  # 160 pictures are the width
        steps = np.abs(np.diff(drawn(source, seq)[60:180].astype(int), axis=1)).mean(axis=(0, 2))
        assert steps.max() < 4 * np.median(steps)


def test_every_kind_lies_on_it_as_often_and_none_on_another() -> None:
    source = belt((640, 480))
    counts: Counter[str] = Counter()
    for seq in range(0, 160 * 20, 160):  # 160 pictures further everything is new
        parts = source.truth(seq, 0.99)
        counts.update(part.label for part in parts)
        assert 6 <= len(parts) <= 16
        for i, one in enumerate(parts):
            for other in parts[:i]:
                x = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
                y = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
                assert max(0, x) * max(0, y) < 0.35 * min(area(one), area(other))
    assert set(counts) == set(LABELS)
    assert min(counts.values()) > 0.6 * max(counts.values())


def test_only_the_kinds_that_are_asked_for() -> None:
    assert {part.label for seq in range(0, 800, 80) for part in belt(parts=("gear", "spring")).truth(seq)} == {"gear", "spring"}
    assert set(SyntheticConfig().parts) == set(LABELS) - {"spring"}
