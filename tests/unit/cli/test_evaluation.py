"""Which class of a model is which of the truth, and what is counted."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.cli.evaluation.coco import CocoJudge, map_classes, read_coco
from agent.cli.evaluation.folders import class_ids_of, read_folders
from agent.cli.evaluation.masks import PNG, Confusion, read_mask, read_pairs
from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from agent.core.types import Detections, TensorSpec
from agent.errors import DatasetError, UsageError
from agent.worker.inference import FrameInfo

COCO_IDS = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
COCO = {i: f"thing {i}" for i in COCO_IDS}


def test_classes_by_name_whatever_the_order_and_the_spelling() -> None:
    mapped = map_classes(["n/a", "Dining_Table", "cat", "unicorn"], {7: "cat", 3: "dining table"})
    assert mapped.categories == [None, 3, 7, None]


@pytest.mark.parametrize("labels", [[], [f"Ding {i}" for i in range(80)]])
def test_eighty_classes_in_cocos_order(labels: list[str]) -> None:
    assert map_classes(labels, COCO).categories == COCO_IDS


def test_ninety_one_classes_by_cocos_numbers() -> None:
    mapped = map_classes([f"Ding {i}" for i in range(91)], COCO).categories
    assert (mapped[0], mapped[11], mapped[12], mapped[89], mapped[90]) == (1, None, 13, 90, None)


@pytest.mark.parametrize(("labels", "line"), [([], "has no labels"), (["unicorn"], "unicorn, but cat")])
def test_classes_that_cannot_be_mapped(labels: list[str], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        map_classes(labels, {1: "cat"})


def test_folders_by_label_or_number(tmp_path: Path) -> None:
    labels = ["crane", "cat, Felis catus", "Crane"]
    assert class_ids_of("crane", labels) == {0, 2}
    assert class_ids_of("cat", labels) == class_ids_of("Cat, Felis catus", labels) == class_ids_of("1", labels) == {1}
    assert class_ids_of("3", labels) == set()
    assert class_ids_of("3", []) == {3}
    (tmp_path / "cat").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        read_folders(tmp_path)
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / "cat" / name).touch()
    assert read_folders(tmp_path) == [("cat", tmp_path / "cat/a.JPG"), ("cat", tmp_path / "cat/b.png")]
    with pytest.raises(UsageError):
        read_folders(tmp_path / "nowhere")


def truth(**changes: Any) -> dict[str, Any]:
    """Two pictures, three cats, of which one is a crowd, and a category without any."""
    whole = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 100} for i in (5, 6)],
        "categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "bbox": [0, 0, 50, 50]},
            {"image_id": 6, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
            {"image_id": 6, "category_id": 1, "bbox": [60, 60, 40, 40], "iscrowd": 1},
        ],
    }
    return whole | changes


def judge(folder: Path) -> CocoJudge:
    file = folder / "truth.json"
    file.write_text(json.dumps(truth()))
    made = CocoJudge(read_coco(file), folder)
    tensor = TensorSpec("images", (1, 64, 64, 3), "float32", layout="NHWC")
    made.begin(
        ModelSpec("m", "1.0.0", "0", "detect", ("cat", "dog"), InputSpec((64, 64)), tensor, HeadSpec("yolo"), Thresholds(0.5, 0.45))
    )
    return made


def seen(*found: tuple[list[float], float, int]) -> Detections:
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([f[1] for f in found], np.float32), np.array([f[2] for f in found], np.int32))


def frame(size: tuple[int, int] = (100, 100)) -> FrameInfo:
    return FrameInfo("eval", "", 0, 0, 0, *size)


def test_figures_against_boxes_counted_by_hand(tmp_path: Path) -> None:
    """Right at .9, wrong at .6, a crowd that counts neither way, a second cat found too weakly for the threshold."""
    one = judge(tmp_path)
    one.add(0, frame(), seen(([0, 0, 50, 49], 0.9, 0), ([50, 50, 99, 99], 0.6, 0)))
    one.add(1, frame(), seen(([61, 61, 99, 99], 0.7, 0), ([10, 10, 50, 50], 0.3, 0)))
    figures = one.figures()
    assert figures["pictures"] == 2
    assert figures["boxes"] == 2
    cat, dog = figures["classes"]
    # Precision 1 up to half the recall, 2/3 from there on: 51 and 50 of COCO's 101 points of recall.
    assert cat["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-4)
    assert (cat["precision"], cat["recall"]) == (0.5, 0.5)
    assert dog == {"name": "dog", "boxes": 0, "ap": None, "ap50": None, "precision": None, "recall": None}
    assert figures["ap50"] == cat["ap50"]
    assert figures["ap_small"] is None
    assert any("cat" in line for line in one.lines())


def test_figures_of_a_model_that_sees_nothing(tmp_path: Path) -> None:
    one = judge(tmp_path)
    for i in range(2):
        one.add(i, frame(), seen())
    assert one.figures()["ap50"] == 0
    assert one.figures()["at_threshold"] == {"score": 0.5, "precision": None, "recall": 0.0}


def test_a_picture_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"6\.png: it is 20x10, .*truth\.json says 100x100"):
        judge(tmp_path).add(1, frame((20, 10)), seen())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "not JSON"),
        ("[]", "images: not in COCO format"),
        (json.dumps(truth(images=[])), "there are no images"),
        (json.dumps(truth(images=[{"id": 1, "file_name": "a.png", "width": 3}])), "images: .*no 'height'"),
        (json.dumps(truth(annotations=[{"image_id": 5, "category_id": 1, "bbox": [1, 2, 3]}])), "entry 1 has a bbox of 3 numbers"),
        (json.dumps(truth(annotations=[{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}])), "entry 1 names an image or"),
    ],
)
def test_files_that_are_no_truth(content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(DatasetError, match=line):
        read_coco(tmp_path / "truth.json")


def test_pixels_counted_by_hand() -> None:
    """Of 8 pixels that count: class 0 six, class 1 two; one of each is seen as the other, one of class 0 as nothing."""
    truth = np.array([[0, 0, 0, 0, 255], [0, 0, 1, 1, 255]], np.uint8)
    seen = np.array([[0, 0, 0, 1, 1], [0, -1, 1, 0, 1]], np.int16)
    confusion = Confusion(3)
    confusion.add(truth, seen)
    figures = confusion.figures(["nothing", "cat", "dog"])
    assert figures["pixel_accuracy"] == pytest.approx(5 / 8)
    assert figures["pixel_iou"] == pytest.approx(5 / 10, abs=1e-4)  # of 7 and 3 in the unions
    assert figures["classes"] == [
        {"name": "nothing", "class_id": 0, "pixels": 6, "iou": pytest.approx(4 / 7, abs=1e-4)},
        {"name": "cat", "class_id": 1, "pixels": 2, "iou": pytest.approx(1 / 3, abs=1e-4)},
    ]
    assert figures["mean_iou"] == pytest.approx((4 / 7 + 1 / 3) / 2, abs=1e-4)
    with pytest.raises(ValueError, match="class 9, but the model has 3 classes"):
        confusion.add(np.full((2, 2), 9, np.uint8), np.zeros((2, 2), np.int16))


def test_a_map_of_another_resolution_shows_the_same_picture() -> None:
    confusion = Confusion(2)
    truth = np.zeros((6, 8), np.uint8)
    truth[:3, 4:] = 1
    confusion.add(truth, np.array([[0, 1], [0, 0]], np.int16))
    assert confusion.figures(["a", "b"])["mean_iou"] == 1


def test_class_maps_gray_and_with_a_palette(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    cv2.imwrite(str(tmp_path / "gray.png"), ids)
    assert (read_mask(tmp_path / "gray.png") == ids).all()
    palette = bytes([0, 0, 0, 128, 0, 0, 0, 128, 0, *[7, 7, 7] * 252, 224, 224, 192])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 3, 2, 8, 3, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in ids)
    png = PNG + chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "palette.png").write_bytes(png)
    assert (read_mask(tmp_path / "palette.png") == ids).all()
    cv2.imwrite(str(tmp_path / "colours.png"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DatasetError, match="this one has colours"):
        read_mask(tmp_path / "colours.png")
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="no picture of 8 bits"):
        read_mask(tmp_path / "no.png")


def test_class_maps_and_their_pictures(tmp_path: Path) -> None:
    for folder in ("masks", "images", "hollow"):
        (tmp_path / folder).mkdir()
    for name in ("masks/b.png", "masks/a.bmp", "images/a.jpg", "images/b.jpg", "images/c.jpg"):
        (tmp_path / name).touch()
    masks, images = tmp_path / "masks", tmp_path / "images"
    assert read_pairs(masks, images) == [(masks / "a.bmp", images / "a.jpg"), (masks / "b.png", images / "b.jpg")]
    (masks / "d.png").touch()
    with pytest.raises(DatasetError, match=r"there is no picture for d\.png$"):
        read_pairs(masks, images)
    with pytest.raises(DatasetError, match="there are no class maps in it"):
        read_pairs(tmp_path / "hollow", images)
    with pytest.raises(UsageError, match="nowhere"):
        read_pairs(tmp_path / "nowhere", images)
