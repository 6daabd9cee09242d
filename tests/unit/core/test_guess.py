"""Which heads are offered for which tensors, as the stock exports of the common families have them."""

import pytest

from agent.core.guess import guess_heads
from agent.core.heads import ModelOutputs
from agent.core.types import TensorSpec

Shape = tuple[int, ...]
SSD: list[Shape] = [(1, 10, 4), (1, 10), (1, 10), (1,)]
NANODET: list[Shape] = [(1, n, columns) for columns in (80, 32) for n in (1600, 400, 100)]
PICODET: list[Shape] = [(1, n, columns) for columns in (80, 32) for n in (1600, 400, 100, 25)]


def outputs(shapes: list[Shape], side: int, labels: int, names: tuple[str, ...] = (), dtypes: tuple[str, ...] = ()) -> ModelOutputs:
    tensors = (
        TensorSpec(names[i] if names else f"out{i}", shape, dtypes[i] if dtypes else "float32") for i, shape in enumerate(shapes)
    )
    return ModelOutputs(tuple(tensors), (side, side), labels)


@pytest.mark.parametrize(
    ("shapes", "side", "labels", "heads"),
    [
        # YOLO without objectness
        ([(1, 84, 3549)], 416, 0, {"yolo": 80}),
        ([(1, 84, 8400)], 640, 0, {"yolo": 80}),
        ([(1, 85, 8400)], 640, 0, {"yolo": 81}),
        ([(1, 5, 8400)], 640, 1, {"yolo": 1}),
        ([(1, 5, 8400)], 640, 0, {"yolo": 1}),
        ([(1, 3549, 84)], 416, 0, {"yolo": 80}),
        ([(1, 84, -1)], 640, 0, {"yolo": 80}),
        ([(1, 24, -1)], 640, 0, {"yolov5": 19, "yolo": 20}),
        ([(1, 24, -1)], 640, 20, {"yolo": 20}),
        # YOLOX, and what may be taken for it
        ([(1, 3549, 85)], 416, 0, {"yolox": 80}),
        ([(1, 8400, 85)], 640, 0, {"yolox": 80}),
        ([(1, 3549, 85)], 416, 80, {"yolox": 80}),
        ([(1, 3549, 85)], 416, 81, {"yolo": 81}),
        ([(1, 3549, 25)], 416, 20, {"yolox": 20}),
        ([(1, 3549, 25)], 416, 21, {"yolo": 21}),
        ([(1, 3549, 25)], 416, 0, {"yolox": 20, "yolo": 21}),
        ([(1, 3549, 25)], 416, 7, {"yolox": 20, "yolo": 21}),
        # YOLO with objectness
        ([(1, 25200, 85)], 640, 0, {"yolov5": 80}),
        ([(1, 25200, 7)], 640, 0, {"yolov5": 2}),
        ([(1, 10647, 85)], 416, 0, {"yolov5": 80}),
        ([(1, 2535, 85)], 416, 80, {"yolov5": 80}),
        ([(1, 6300, 6)], 320, 0, {"yolov5": 1}),
        ([(1, -1, 85)], 640, 0, {"yolox": 80, "yolov5": 80}),
        # suppression inside
        ([(1, 300, 6)], 640, 0, {"yolo_end2end": None}),
        ([(1, 300, 6)], 640, 80, {"yolo_end2end": None}),
        ([(1, 100, 6)], 320, 2, {"yolo_end2end": None}),
        (SSD, 300, 0, {"ssd": None}),
        (SSD, 300, 91, {"ssd": None}),
        # transformers
        ([(1, 100, 92), (1, 100, 4)], 800, 0, {"detr": 91}),
        ([(1, 300, 80), (1, 300, 4)], 640, 0, {"detr": 80}),
        ([(1, 300, 4), (1, 300, 91)], 560, 91, {"detr": 91}),
        ([(1, 300, 84)], 640, 80, {"detr": 80}),
        # scores and boxes apart
        ([(1, 4420, 2), (1, 4420, 4)], 320, 0, {"scores_boxes": 1}),
        ([(1, 4420, 4), (1, 4420, 2)], 320, 1, {"scores_boxes": 1}),
        ([(1, 8400, 4), (1, 8400, 80)], 640, 0, {"scores_boxes": 80}),
        ([(1, 10647, 1, 4), (1, 10647, 3)], 416, 0, {"scores_boxes": 3}),
        ([(1, 1917, 91), (1, 1917, 4)], 300, 0, {"ssd_raw": 90}),
        ([(1, 1917, 4), (1, 1917, 91)], 300, 91, {"ssd_raw": 91, "scores_boxes": 91}),
        ([(1, 896, 16), (1, 896, 1)], 128, 0, {"blazeface": 1}),
        ([(1, 2016, 18), (1, 2016, 1)], 192, 1, {"blazeface": 1}),
        # distributions
        ([(1, 3598, 112)], 416, 0, {"nanodet": 80}),
        ([(1, 2125, 112)], 320, 0, {"nanodet": 80}),
        ([(1, 2125, 33)], 320, 0, {"nanodet": 1, "yolo": 29}),
        ([(1, 2125, 33)], 320, 1, {"nanodet": 1}),
        (NANODET, 320, 0, {"nanodet": 80}),
        (PICODET, 320, 0, {"picodet": 80}),
        (PICODET, 320, 80, {"picodet": 80}),
        # grids, classifiers
        ([(1, 12, 12, 3)], 96, 0, {"fomo": 2, "segment": 3}),
        ([(1, 12, 12, 3)], 96, 2, {"fomo": 2}),
        ([(1, 12, 12, 3)], 96, 3, {"segment": 3}),
        ([(1, 20, 20, 2)], 160, 1, {"fomo": 1}),
        ([(1, 1001)], 224, 0, {"classify": 1001}),
        ([(1, 1001)], 224, 1000, {"classify": 1001}),
        # none
        ([(1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)], 640, 0, {}),
        ([(1, 25200, 117), (1, 32, 160, 160)], 640, 0, {}),
        ([], 300, 0, {}),
    ],
)
def test_guess(shapes: list[Shape], side: int, labels: int, heads: dict[str, int | None]) -> None:
    assert guess_heads(outputs(shapes, side, labels)).heads == heads


def test_names_and_types_tell_too() -> None:
    yolov6 = outputs([(1, 8400, 85)], 640, 80, ("outputs",))
    assert guess_heads(yolov6).heads == {"yolox": 80, "yolov5": 80}
    torchvision = outputs([(-1, 4), (-1,), (-1,)], 320, 0, ("boxes", "labels", "scores"), ("float32", "int64", "float32"))
    assert guess_heads(torchvision).heads == {"detections": None}
    deployed = outputs([(1, 300), (1, 300, 4), (1, 300)], 640, 80, ("labels", "boxes", "scores"), ("int64", "float32", "float32"))
    assert guess_heads(deployed).heads == {"detections": None}


def test_what_options_would_have_to_say() -> None:
    guess = guess_heads(outputs([(1, 5000, 30), (1, 5000, 4)], 640, 0))
    assert guess.heads == {}
    assert "is one of the 30 scores" in guess.wanting[-1]
    assert "anchors at input size [640, 640]" in guess.wanting[0]


def test_an_input_of_any_size_is_guessed_at_without_building_its_grids() -> None:
    shapes: list[list[Shape]] = [[(1, 7, 112)], [(1, 7, 16), (1, 7, 1)], [(1, 7, 91), (1, 7, 4)], NANODET]
    for tensors in shapes:
        assert guess_heads(outputs(tensors, 10**8, 0), ["nanodet", "blazeface", "ssd_raw"]).heads == {}


def test_a_map_without_pixels_is_none() -> None:
    assert guess_heads(outputs([(1, 0, 0, 3)], 3, 0)).heads == {}


def test_among_some() -> None:
    assert guess_heads(outputs([(1, 84, 8400)], 640, 0), ["ssd", "classify"]).heads == {}
