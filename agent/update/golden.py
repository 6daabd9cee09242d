"""Golden samples: whether a model finds in a picture what its bundle says that it finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.bundles.manifest import Golden
from agent.bundles.resolve import MAX_PIXELS
from agent.core.spec import ModelSpec
from agent.core.types import Classes, Detections, Poses
from agent.errors import VettingError
from agent.publish.messages import (
    ClassScore,
    Detection,
    Mask,
    Pose,
    Segment,
    classes_of,
    detections_of,
    poses_of,
    segments_of,
)
from agent.worker.inference import Answer

LISTS = {"detect": list[Detection], "classify": list[ClassScore], "keypoints": list[Pose], "segment": list[Segment]}
# The mean of COCO's constants for the 17 points of a person: how far a point may be off, in square roots of its object's area.
# Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py (kpt_oks_sigmas, computeOks).
POINT_SPREAD = 2 * 0.067

Thing = Detection | ClassScore | Segment


class Expected(NamedTuple):
    """What a model is to find in a picture."""

    sample: Golden
    things: Sequence[Thing]


def expected(sample: Golden, file: Path, spec: ModelSpec) -> Expected:
    """What a sample says in the file that is its `expect`. VettingError where that is not what a model of this task finds."""
    try:
        things: Sequence[Thing] = msgspec.json.decode(file.read_bytes(), type=LISTS[spec.task])
    except OSError as error:
        raise VettingError(f"{file}: {error.strerror}", "bundle_invalid") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise VettingError(f"{file}: it is no list of what a model for {spec.task} finds: {why}", "bundle_invalid") from None
    most = spec.thresholds.max_detections
    if len(things) > most:
        raise VettingError(
            f"{file}: it names {len(things)}, the model gives at most {most}: its nms.max_detections", "bundle_invalid"
        )
    return Expected(sample, things)


def difference(wanted: Expected, answer: Answer, spec: ModelSpec) -> str | None:
    """How what was found differs from what was expected, beyond the sample's tolerances; None where it does not.

    Each thing has one of its label, that overlaps it enough and scores nearly as much. Processors differ, so what scores so little
    that the same difference would have hidden it may be missing, or come in addition.
    """
    found, sample = _things(answer, spec), wanted.sample
    left = list(found)
    missing: list[Thing] = []
    for thing in wanted.things:
        alike = [other for other in left if other.label == thing.label and _apart(thing, other) <= sample.score]
        overlaps = [_overlap(thing, other, answer) for other in alike]
        if overlaps and max(overlaps) >= sample.iou:
            left.remove(alike[int(np.argmax(overlaps))])
        else:
            missing.append(thing)
    missing = [thing for thing in missing if not _doubtful(thing, sample, spec, found)]
    left = [thing for thing in left if not _doubtful(thing, sample, spec, wanted.things)]
    if not missing and not left:
        return None
    parts = [f"{what} {_named(things)}" for what, things in (("misses", missing), ("finds besides", left)) if things]
    return f"in {sample.input} it {' and '.join(parts)}, of {len(wanted.things)} that {sample.expect} names"


def _things(answer: Answer, spec: ModelSpec) -> Sequence[Thing]:
    width, height = answer.frame.width, answer.frame.height
    match answer.prediction:
        case None:
            return ()
        case Classes() as found:
            return classes_of(found, spec.label)
        case Detections() as found:
            return detections_of(found, width, height, spec.label)
        case Poses() as found:
            return poses_of(found, width, height, spec.label)
        case found:
            return segments_of(found, spec.label)


def _doubtful(thing: Thing, sample: Golden, spec: ModelSpec, others: Sequence[Thing]) -> bool:
    """Whether it may well be below the least score, or behind the last place, on the other side."""
    if isinstance(thing, Segment):
        return False
    least = spec.thresholds.score
    if len(others) >= spec.thresholds.max_detections:
        least = max(least, min(other.score for other in others if not isinstance(other, Segment)))
    return thing.score <= least + sample.score


def _apart(one: Thing, other: Thing) -> float:
    """How far their scores are apart; segments have none."""
    return 0.0 if isinstance(one, Segment) or isinstance(other, Segment) else abs(one.score - other.score)


def _overlap(one: Thing, other: Thing, answer: Answer) -> float:
    """From 0 to 1, as the task measures it: by boxes, the worse of box and points, masks; classes have no place."""
    if isinstance(one, Segment) and isinstance(other, Segment):
        return _mask_iou(one.mask, other.mask)
    if not (isinstance(one, Detection) and isinstance(other, Detection)):
        return 1.0
    iou = _box_iou(one.box, other.box)
    if isinstance(one, Pose) and isinstance(other, Pose):
        return min(iou, _point_similarity(one, other, np.array([answer.frame.width, answer.frame.height])))
    return iou


def _box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    x1, y1, x2, y2 = max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
    shared = max(0.0, x2 - x1) * max(0.0, y2 - y1)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared
    return shared / union if union > 0 else float(tuple(one) == tuple(other))


def _point_similarity(one: Pose, other: Pose, size: NDArray[np.int_]) -> float:
    """COCO's OKS, a point weighing as much as it scores. size: (width, height) of the picture, so that both axes count alike."""
    if len(one.points) != len(other.points):
        return 0.0
    a, b = (np.array(pose.points, np.float64).reshape(-1, 3) for pose in (one, other))
    if not a[:, 2].any():
        return 1.0
    area = float(np.prod((np.array(one.box[2:]) - one.box[:2]) * size))
    squared = (((a[:, :2] - b[:, :2]) * size) ** 2).sum(axis=1)
    return float(np.average(np.exp(-squared / (2 * max(area, 1.0) * POINT_SPREAD**2)), weights=a[:, 2]))


def _mask_iou(one: Mask, other: Mask) -> float:
    """Of an expected and a found mask of the same picture, as fine as the second is."""
    a, b = _pixels(one), _pixels(other)
    if a is None or b is None:
        return 0.0
    rows, columns = (np.arange(n) * m // n for n, m in zip(b.shape, a.shape, strict=True))
    a = a[np.ix_(rows, columns)]
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _pixels(mask: Mask) -> NDArray[np.bool_] | None:
    """(h, w); None where the runs do not fill its size, which is at most a model's input."""
    height, width = mask.size
    if sum(mask.rle) != height * width or not 0 < height * width <= MAX_PIXELS:
        return None
    return np.repeat(np.arange(len(mask.rle)) % 2 == 1, mask.rle).reshape(width, height).T


def _named(things: Sequence[Thing]) -> str:
    shown = [thing.label if isinstance(thing, Segment) else f"{thing.label} {thing.score:.2f}" for thing in things[:3]]
    return f"{', '.join(shown)}{f' and {len(things) - 3} more' if len(things) > 3 else ''}"
