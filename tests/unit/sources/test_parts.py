from typing import get_args

import cv2
import numpy as np
import pytest

from agent.sources.config import PartLabel
from agent.sources.parts import draw_part

LABELS: tuple[PartLabel, ...] = get_args(PartLabel)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("radius", [6, 20.5, 60])
def test_a_part_fits_its_circle_and_throws_a_shadow(label: PartLabel, radius: float) -> None:
    for seed in range(8):
        sprite = draw_part(label, radius, np.random.default_rng(seed))
        x1, y1, x2, y2 = sprite.box
        assert -1.15 * radius - 1 <= min(x1, y1)
        assert max(x2, y2) <= 1.15 * radius + 1
        assert max(x2 - x1, y2 - y1) > 1.2 * radius
        assert ((sprite.keep > 50) & (sprite.keep < 250)).any()
        assert (sprite.color[sprite.keep == 255] == 0).all()


def test_a_part_at_the_edge_is_cut_off() -> None:
    sprite = draw_part("washer", 20, np.random.default_rng(0))
    middle = np.full((100, 100, 3), 80, np.uint8)
    sprite.put(middle, 50, 50)
    for x, y in ((0, 0), (100, 30), (50, 100), (-500, 20)):
        out = np.full((100, 100, 3), 80, np.uint8)
        sprite.put(out, x, y)
        shift = np.array(((1, 0, x - 50), (0, 1, y - 50)), np.float64)
        expected = cv2.warpAffine(middle, shift, (100, 100), flags=cv2.INTER_NEAREST, borderValue=(80, 80, 80))
        assert (out == expected).all()
