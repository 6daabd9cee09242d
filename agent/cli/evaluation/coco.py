"""Detections against a file in COCO format."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from agent.cli.evaluation.names import in_words, plain
from agent.core.spec import ModelSpec, Task
from agent.core.types import Detections, Prediction
from agent.errors import DatasetError, UsageError
from agent.pipeline.config import PipelineConfig
from agent.worker.inference import FrameInfo

SCORE_FLOOR, IOU, MAX_DETECTIONS = 0.05, 0.45, 100
COCO_CLASSES = 80
NUMBERED = (90, 91)  # lengths of label lists that have a place for each of COCO's category numbers
SIZES = ("all", "small", "medium", "large")
PRECISION_RECALL_IOU = 0.5


@dataclass(frozen=True, slots=True)
class CocoFile:
    """What of the file is used. images: id, file name, (width, height). boxes: x, y, width, height. Categories by id."""

    path: Path
    images: list[tuple[int, str, tuple[int, int]]]
    annotations: list[dict[str, Any]]
    categories: dict[int, str]


def read_coco(path: Path) -> CocoFile:
    """UsageError where there is no such file, DatasetError where it is not in COCO format."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--coco {path}: {error.strerror}") from None
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from None
    place = "images"
    try:
        images = [(int(i["id"]), str(i["file_name"]), (int(i["width"]), int(i["height"]))) for i in data["images"]]
        place = "categories"
        categories = {int(c["id"]): str(c["name"]) for c in sorted(data["categories"], key=lambda c: int(c["id"]))}
        place = "annotations"
        annotations = [_annotation(number, annotation) for number, annotation in enumerate(data["annotations"], 1)]
    except (KeyError, TypeError, ValueError) as error:
        missing = f"no {error} in it, or in one of its entries" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path}: {place}: not in COCO format: {missing}") from None
    if not images or not categories:
        raise DatasetError(f"{path}: there are no {'categories' if images else 'images'} in it")
    known = {image[0] for image in images}
    for annotation in annotations:
        if annotation["image_id"] not in known or annotation["category_id"] not in categories:
            raise DatasetError(f"{path}: annotations: entry {annotation['id']} names an image or a category that is not there")
    return CocoFile(path, images, annotations, categories)


def _annotation(number: int, given: Mapping[str, Any]) -> dict[str, Any]:
    box = [float(value) for value in given["bbox"]]
    if len(box) != 4:
        raise ValueError(f"entry {number} has a bbox of {len(box)} numbers")
    return {
        "id": number,  # 0 would count as no match
        "image_id": int(given["image_id"]),
        "category_id": int(given["category_id"]),
        "bbox": box,
        "area": float(given.get("area", box[2] * box[3])),
        "iscrowd": int(given.get("iscrowd", 0)),
    }


@dataclass(frozen=True, slots=True)
class Mapped:
    """categories: of each class, None where the file has none. how: in words."""

    categories: list[int | None]
    how: str


def map_classes(labels: Sequence[str], categories: Mapping[int, str]) -> Mapped:
    """The file's category of each of a model's classes: by name; where no name fits, by COCO's order or numbers.

    labels: by class id, empty where no list is known. categories: names by id. ValueError where neither tells.
    """
    ids = sorted(categories)
    by_name = {plain(name): category for category, name in categories.items()}
    named = [by_name.get(plain(label)) for label in labels]
    if any(category is not None for category in named):
        return Mapped(named, "by name")
    if len(ids) == COCO_CLASSES and len(labels) in (0, COCO_CLASSES):
        return Mapped(list(ids), "in the order of the file's categories")
    if len(labels) in NUMBERED and max(ids) <= len(labels):
        return Mapped([c + 1 if c + 1 in categories else None for c in range(len(labels))], "class c is category c + 1")
    if labels:
        raise ValueError(f"none of the model's labels is a category: {_some(labels)}, but {_some(list(categories.values()))}")
    raise ValueError("the model has no labels; name its label list with --labels FILE or in bundle.yaml")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


class ClassFigures(NamedTuple):
    """Of one category. ap, ap50, recall: None where the file has no box of it; precision: where nothing was seen."""

    name: str
    boxes: int
    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None


@dataclass(slots=True)
class CocoJudge:
    """Mean average precision by pycocotools, over every picture and category of the file, at most 100 boxes a picture."""

    task: ClassVar[Task] = "detect"
    file: CocoFile
    folder: Path
    _mapped: Mapped = field(init=False)
    _labels: tuple[str, ...] = field(init=False)
    _score: float = field(init=False)
    _found: list[dict[str, Any]] = field(init=False, default_factory=list)
    _result: dict[str, Any] | None = field(init=False, default=None)

    @property
    def pictures(self) -> Sequence[Path]:
        """In the order of the file."""
        return [self.folder / name for _, name, _ in self.file.images]

    def thresholds(self, spec: ModelSpec) -> PipelineConfig:
        """A low floor, so that the whole curve of precision over recall is seen."""
        iou = None if spec.thresholds.iou is None else IOU
        return PipelineConfig(source="", model="", score=SCORE_FLOOR, iou=iou, max_detections=MAX_DETECTIONS)

    def begin(self, spec: ModelSpec) -> None:
        """See Judge."""
        _pycocotools()  # to know now, and not after the last picture
        try:
            self._mapped = map_classes(spec.labels, self.file.categories)
        except ValueError as error:
            raise DatasetError(f"{self.file.path}: {error}") from None
        self._labels, self._score = spec.labels, spec.thresholds.score

    def add(self, number: int, frame: FrameInfo, prediction: Prediction) -> None:
        """See Judge."""
        image, name, size = self.file.images[number]
        if (frame.width, frame.height) != size:
            told = f"{size[0]}x{size[1]}"
            raise DatasetError(f"{self.folder / name}: it is {frame.width}x{frame.height}, {self.file.path} says {told}")
        assert isinstance(prediction, Detections)  # noqa: S101  as `task` says
        for box, score, class_id in zip(
            prediction.boxes.tolist(), prediction.scores.tolist(), prediction.class_ids.tolist(), strict=True
        ):
            category = self._category(class_id)
            if category is not None:
                x1, y1, x2, y2 = box
                sides = [x1, y1, x2 - x1, y2 - y1]
                found = {"image_id": image, "category_id": category, "bbox": sides, "score": score, "area": sides[2] * sides[3]}
                self._found.append(found | {"id": len(self._found) + 1, "iscrowd": 0})

    def _category(self, class_id: int) -> int | None:
        if class_id >= len(self._mapped.categories):
            raise DatasetError(
                f"{self.file.path}: the model sees class {class_id}, the file has {len(self.file.categories)} categories; "
                "name the model's label list with --labels FILE or in bundle.yaml"
            )
        return self._mapped.categories[class_id]

    def figures(self) -> Mapping[str, Any]:
        """See Judge. Figures that do not exist, of categories without a box, say, are None."""
        if self._result is None:
            self._result = self._evaluated()
        return self._result

    def _evaluated(self) -> dict[str, Any]:
        images = [{"id": image, "width": size[0], "height": size[1]} for image, _, size in self.file.images]
        categories = [{"id": category, "name": name} for category, name in self.file.categories.items()]
        evaluation = _evaluate(images, categories, self.file.annotations, self._found)
        precision = evaluation.eval["precision"]  # (IoU, recall, category, size, cap), -1 where there is no truth
        best = precision[..., -1]
        ap = {size: _mean(best[..., i]) for i, size in enumerate(SIZES)}
        seen = [_seen(evaluation, i, self._score) for i in range(len(categories))]
        rows = [
            ClassFigures(str(c["name"]), seen[i][2], _mean(best[:, :, i, 0]), _mean(best[0, :, i, 0]), *_rates(*seen[i]))
            for i, c in enumerate(categories)
        ]
        overall = _rates(*(sum(column) for column in zip(*seen, strict=True)))
        used = {category for category in self._mapped.categories if category is not None}
        return {
            "pictures": len(images),
            "boxes": sum(boxes for _, _, boxes in seen),
            "ap": ap["all"],
            "ap50": _mean(best[0, :, :, 0]),
            "ap75": _mean(best[5, :, :, 0]),
            "ap_small": ap["small"],
            "ap_medium": ap["medium"],
            "ap_large": ap["large"],
            "at_threshold": {"score": self._score, "precision": overall[0], "recall": overall[1]},
            "classes_mapped": self._mapped.how,
            "labels_without_category": sorted(
                label
                for label, c in zip(self._labels, self._mapped.categories, strict=False)
                if c is None and plain(label) != "n/a"
            ),
            "categories_without_label": [name for category, name in self.file.categories.items() if category not in used],
            "classes": [row._asdict() for row in rows],
        }

    def lines(self) -> Iterator[str]:
        """See Judge."""
        found = self.figures()
        yield f"{found['pictures']} pictures, {found['boxes']} boxes; classes mapped {found['classes_mapped']}"
        for key, word in (
            ("labels_without_category", "labels of no category"),
            ("categories_without_label", "categories of no label"),
        ):
            if found[key]:
                yield f"{word}: {', '.join(found[key])}"
        yield ""
        yield f"{'class':24} {'boxes':>6} {'AP50:95':>8} {'AP50':>6} {'precision':>10} {'recall':>7}"
        at = found["at_threshold"]
        for row in (ClassFigures(**row) for row in found["classes"]):
            if row.boxes or row.precision is not None:
                yield _row(row)
        yield _row(ClassFigures("all", found["boxes"], found["ap"], found["ap50"], at["precision"], at["recall"]))
        yield ""
        yield f"AP50:95 {in_words(found['ap'])}  AP50 {in_words(found['ap50'])}  AP75 {in_words(found['ap75'])}"
        yield "  ".join(f"{size} {in_words(found[f'ap_{size}'])}" for size in SIZES[1:])
        yield f"precision and recall at score {at['score']:g}, IoU {PRECISION_RECALL_IOU:g}"


def _row(row: ClassFigures) -> str:
    figures = f"{in_words(row.ap):>8} {in_words(row.ap50):>6} {in_words(row.precision):>10} {in_words(row.recall):>7}"
    return f"{row.name:24} {row.boxes:6} {figures}"


def _evaluate(images: list[Any], categories: list[Any], truth: list[Any], found: list[Any]) -> Any:
    """A pycocotools COCOeval that has done its work."""
    coco, evaluator = _pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        sides = []
        for annotations in (truth, found):
            side = coco()
            side.dataset = {"images": images, "categories": categories, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        evaluation = evaluator(*sides, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _pycocotools() -> tuple[Any, Any]:
    """Its classes COCO and COCOeval. UsageError where the package is not installed."""
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415  of an extra
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415
    except ImportError:
        raise UsageError("eval --coco needs pycocotools: pip install 'edge-agent[eval]'") from None
    return COCO, COCOeval


def _mean(precisions: Any) -> float | None:
    valid = precisions[precisions > -1]
    return round(float(valid.mean()), 4) if len(valid) else None


def _seen(evaluation: Any, category: int, score: float) -> tuple[int, int, int]:
    """Of the `category`-th: how many boxes scored at least `score` and were right, or wrong; and how many there are in truth."""
    count = len(evaluation.params.imgIds)
    start = category * len(evaluation.params.areaRng) * count  # by category, size and picture; the first size is all
    right = wrong = boxes = 0
    for picture in evaluation.evalImgs[start : start + count]:
        if picture is not None:
            counted = (np.array(picture["dtScores"]) >= score) & ~picture["dtIgnore"][0].astype(bool)
            matched = picture["dtMatches"][0] > 0
            right += int((counted & matched).sum())
            wrong += int((counted & ~matched).sum())
            boxes += int((np.array(picture["gtIgnore"]) == 0).sum())
    return right, wrong, boxes


def _rates(right: int, wrong: int, boxes: int) -> tuple[float | None, float | None]:
    """Precision and recall."""
    return round(right / (right + wrong), 4) if right + wrong else None, round(right / boxes, 4) if boxes else None
