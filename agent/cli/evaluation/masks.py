"""Segmentations against class maps: pictures whose pixels are class ids."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.cli.evaluation.names import in_words
from agent.core.masks import NOTHING
from agent.core.spec import ModelSpec, Task
from agent.core.types import Prediction, Segments
from agent.errors import DatasetError, UsageError
from agent.pipeline.config import PipelineConfig
from agent.sources.config import PICTURES
from agent.worker.inference import FrameInfo

MASKS = (".png", ".bmp")
IGNORED = 255
MOST_CLASSES = 255  # that a pixel of 8 bits can name
PNG = b"\x89PNG\r\n\x1a\n"


def read_pairs(masks: Path, images: Path) -> list[tuple[Path, Path]]:
    """Each class map with the picture of its stem. UsageError where there is no such folder, DatasetError where one is absent."""
    try:
        maps = sorted(path for path in masks.iterdir() if path.suffix.lower() in MASKS)
        pictures = {path.stem: path for path in images.iterdir() if path.suffix.lower() in PICTURES}
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    if not maps:
        raise DatasetError(f"{masks}: there are no class maps in it, {' or '.join(MASKS)}")
    absent = [path.name for path in maps if path.stem not in pictures]
    if absent:
        raise DatasetError(f"{images}: there is no picture for {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}")
    return [(path, pictures[path.stem]) for path in maps]


def read_mask(path: Path) -> NDArray[np.uint8]:
    """(h, w) class ids, of a gray picture or one with a palette. DatasetError where it is something else."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise DatasetError(f"{path}: no picture of 8 bits a pixel")
    if pixels.ndim == 2:
        return pixels.astype(np.uint8, copy=False)
    colors = _palette(path.read_bytes())
    if colors is None:
        raise DatasetError(f"{path}: a class map has class ids for pixels, gray or with a palette; this one has colours")
    codes = pixels[..., :3].astype(np.int32) @ (1, 1 << 8, 1 << 16)  # blue, green, red
    order = np.argsort(colors, kind="stable")  # of equal colours the first
    found: NDArray[np.uint8] = order[np.searchsorted(colors[order], codes)].astype(np.uint8)
    return found


def _palette(data: bytes) -> NDArray[np.int32] | None:
    """Of a PNG file: its colours, 0xRRGGBB, by index; None where it has none. Source: PNG specification, 5.3 and 11.2.2."""
    place = len(PNG)
    while data.startswith(PNG) and place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"PLTE":
            rgb = np.frombuffer(data, np.uint8, length, place + 8).reshape(-1, 3)
            colors: NDArray[np.int32] = rgb.astype(np.int32) @ (1 << 16, 1 << 8, 1)
            return colors
        place += 12 + length
    return None


class Confusion:
    """Counts the pixels of each true class that were seen as each class. `IGNORED` pixels of the truth do not count."""

    def __init__(self, classes: int) -> None:
        self._pixels = np.zeros((classes, classes + 1), np.int64)  # true class, class seen; the last column: none

    def add(self, truth: NDArray[np.uint8], seen: NDArray[np.int16]) -> None:
        """truth: (h, w). seen: of the same picture, any resolution, `NOTHING` for none. ValueError for a class too many."""
        rows, columns = (
            (np.arange(n) * 2 + 1) * m // (2 * n)
            for n, m in zip(truth.shape, seen.shape, strict=True)  # the nearest pixel
        )
        counted = truth != IGNORED
        true = truth[counted].astype(np.int64)
        found = seen[np.ix_(rows, columns)][counted].astype(np.int64)
        classes, wide = self._pixels.shape
        if true.size and (highest := int(true.max())) >= classes:
            raise ValueError(f"class {highest}, but the model has {classes} classes, from 0 on")
        found[(found < 0) | (found >= classes)] = classes
        self._pixels += np.bincount(true * wide + found, minlength=self._pixels.size).reshape(self._pixels.shape)

    def figures(self, names: Sequence[str]) -> dict[str, Any]:
        """IoU of each class that is in the truth or was seen, their mean, that of all pixels together; and how many are right."""
        right = np.diagonal(self._pixels)
        true, seen = self._pixels.sum(axis=1), self._pixels.sum(axis=0)[:-1]
        union = true + seen - right
        there = np.flatnonzero(union)
        ious = {int(i): round(float(right[i] / union[i]), 4) for i in there}
        return {
            "pixels": int(true.sum()),
            "mean_iou": round(float((right[there] / union[there]).mean()), 4) if len(there) else None,
            "pixel_iou": round(float(right.sum() / union.sum()), 4) if union.any() else None,
            "pixel_accuracy": round(float(right.sum() / true.sum()), 4) if true.any() else None,
            "classes": [{"name": names[i], "class_id": i, "pixels": int(true[i]), "iou": iou} for i, iou in ious.items()],
        }


@dataclass(slots=True)
class MasksJudge:
    """Intersection over union of each class, over the pixels of all pictures.

    What a model leaves out as background, as its head's option of that name says, counts as that class. A model of one class is
    right where the class map is not 0.
    """

    task: ClassVar[Task] = "segment"
    pairs: list[tuple[Path, Path]]
    _labels: tuple[str, ...] = field(init=False)
    _binary: bool = field(init=False)
    _background: int = field(init=False)
    _confusion: Confusion = field(init=False)

    @property
    def pictures(self) -> Sequence[Path]:
        """Those that have a class map."""
        return [picture for _, picture in self.pairs]

    def thresholds(self, spec: ModelSpec) -> PipelineConfig:  # noqa: ARG002  others need it
        """The bundle's own: a pixel has one class, whatever its score."""
        return PipelineConfig(source="", model="")

    def begin(self, spec: ModelSpec) -> None:
        """See Judge."""
        self._binary = spec.head.type == "mask"
        self._labels = ("nothing", spec.label(0)) if self._binary else spec.labels
        background = spec.head.options.get("background", 0)
        self._background = background if isinstance(background, int) else NOTHING
        self._confusion = Confusion(len(self._labels) or MOST_CLASSES)

    def add(self, number: int, frame: FrameInfo, prediction: Prediction) -> None:  # noqa: ARG002  a map has its own resolution
        """See Judge."""
        assert isinstance(prediction, Segments)  # noqa: S101  as `task` says
        path, _ = self.pairs[number]
        truth, seen = read_mask(path), prediction.class_map
        seen = np.where(np.isin(seen, prediction.class_ids), seen, NOTHING)
        if self._binary:
            truth, seen = (truth > 0).astype(np.uint8), seen + 1
        else:
            seen = np.where(seen == NOTHING, self._background, seen)
        try:
            self._confusion.add(truth, seen.astype(np.int16))
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from None

    def figures(self) -> Mapping[str, Any]:
        """See Judge."""
        names = self._labels or tuple(map(str, range(MOST_CLASSES)))
        return {"pictures": len(self.pairs), **self._confusion.figures(names)}

    def lines(self) -> Iterator[str]:
        """See Judge."""
        found = self.figures()
        yield f"{found['pictures']} pictures, {found['pixels']} pixels"
        yield ""
        yield f"{'class':24} {'pixels':>10} {'IoU':>6}"
        for row in found["classes"]:
            yield f"{row['name']:24} {row['pixels']:10} {row['iou']:6.3f}"
        yield ""
        for key in ("mean_iou", "pixel_iou", "pixel_accuracy"):
            yield f"{key.replace('_', ' ').replace('iou', 'IoU'):24} {in_words(found[key])}"
