"""Which heads are offered for which tensors."""

import pytest

from agent.core.guess import guess_heads
from agent.core.heads import ModelOutputs
from agent.core.types import TensorSpec

SSD = [(1, 10, 4), (1, 10), (1, 10), (1,)]


@pytest.mark.parametrize(
    ("shapes", "side", "classes", "heads"),
    [
        ([(1, 84, 3549)], 416, 0, ["yolo"]),
        ([(1, 84, 8400)], 640, 0, ["yolo"]),
        ([(1, 85, 8400)], 640, 0, ["yolo"]),
        ([(1, 5, 8400)], 640, 1, ["yolo"]),
        ([(1, 3549, 84)], 416, 0, ["yolo"]),
        ([(1, 3549, 85)], 416, 0, ["yolox"]),
        ([(1, 3549, 85)], 416, 80, ["yolox"]),
        ([(1, 3549, 85)], 416, 81, ["yolo"]),
        ([(1, 3549, 25)], 416, 20, ["yolox"]),
        ([(1, 3549, 25)], 416, 21, ["yolo"]),
        ([(1, 3549, 25)], 416, 0, ["yolox", "yolo"]),
        ([(1, 3549, 25)], 416, 7, ["yolox", "yolo"]),
        ([(1, 25200, 85)], 640, 0, []),
        ([(1, 300, 6)], 640, 0, []),
        ([(1, 1001)], 224, 0, ["classify"]),
        ([(1, 1001)], 224, 1000, ["classify"]),
        (SSD, 300, 0, ["ssd"]),
        (SSD, 300, 91, ["ssd"]),
        ([(1, 4420, 2), (1, 4420, 4)], 320, 0, []),
        ([], 300, 0, []),
    ],
)
def test_guess(shapes: list[tuple[int, ...]], side: int, classes: int, heads: list[str]) -> None:
    tensors = tuple(TensorSpec(f"out{i}", shape, "float32") for i, shape in enumerate(shapes))
    assert guess_heads(ModelOutputs(tensors, (side, side), classes)) == heads
