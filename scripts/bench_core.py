#!/usr/bin/env python3
"""The core beside OpenCV's own and naive ways: preprocessing, heads, NMS.

usage: scripts/bench_core.py [--rounds N] [--json]

All on one thread, by turns in one process: a round runs every way once after the other. Prints the medians over the rounds, in
microseconds of wall-clock and of CPU time, and how many times as long as ours each takes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.cli.benchmark.noise import Noise, processor
from agent.core.heads import ModelOutputs
from agent.core.heads.yolo import Yolo, YoloOptions
from agent.core.heads.yolox import YoloX, YoloXOptions
from agent.core.nms import nms
from agent.core.preprocess import Preprocessor
from agent.core.spec import InputSpec, Thresholds
from agent.core.types import Frame, Layout, TensorSpec

ROUND_S = 0.004  # the least that a way runs before its time is taken
SCORE, IOU = 0.25, 0.45
CLASSES = 80
OURS = "edge-agent"

Floats = NDArray[np.float32]
Way = Callable[[], Any]


class Case(NamedTuple):
    """One job, and ways to do it, ours first."""

    name: str
    ways: dict[str, Way]


class Timing(NamedTuple):
    """Medians, of one run. us: wall clock."""

    us: float
    cpu_us: float


# --- preprocessing


def preprocessing() -> Iterator[Case]:
    """768 x 432 BGR to what common models take."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (432, 768, 3), np.uint8)
    frame = Frame(picture, "bgr24", 768, 432, 0, 0, 0, "bench")
    unit: dict[str, Any] = {"mean": (0.0,), "std": (255.0,)}
    for size, dtype, layout, spec in (
        (416, "float32", "NCHW", InputSpec((416, 416), **unit)),
        (640, "float32", "NCHW", InputSpec((640, 640), **unit)),
        (416, "float32", "NHWC", InputSpec((416, 416), **unit)),
        (416, "int8", "NHWC", InputSpec((416, 416), **unit)),
        (300, "uint8", "NHWC", InputSpec((300, 300), resize="stretch")),
    ):
        yield preprocess_case(frame, spec, _tensor(size, dtype, layout))


def _tensor(size: int, dtype: str, layout: str) -> TensorSpec:
    shape = (1, 3, size, size) if layout == "NCHW" else (1, size, size, 3)
    scale, zero_point = (1 / 255, -128) if dtype == "int8" else (0.0, 0)
    known: Layout = "NCHW" if layout == "NCHW" else "NHWC"
    return TensorSpec("images", shape, dtype, scale, zero_point, known)


def preprocess_case(frame: Frame, spec: InputSpec, tensor: TensorSpec) -> Case:
    """cv2.dnn makes the blob whole; numpy takes the picture that cv2.resize made through float32."""
    ours, out = Preprocessor(spec, tensor), np.empty(tensor.shape, tensor.dtype)
    params = cv2.dnn.Image2BlobParams()
    params.scalefactor = (1 / 255,) * 4 if tensor.dtype == "float32" else (1.0,) * 4
    params.size = spec.size
    params.swapRB = True
    params.ddepth = cv2.CV_32F if tensor.dtype == "float32" else cv2.CV_8U
    params.datalayout = getattr(cv2, f"DATA_LAYOUT_{tensor.layout}")
    params.paddingmode = cv2.dnn.DNN_PMODE_LETTERBOX if spec.resize == "letterbox" else cv2.dnn.DNN_PMODE_NULL
    params.borderValue = (spec.pad,) * 4

    def blob() -> NDArray[Any]:
        made: NDArray[Any] = cv2.dnn.blobFromImageWithParams(frame.pixels, params)
        return (made ^ 0x80).view(np.int8) if tensor.dtype == "int8" else made

    return Case(
        f"preprocess {spec.size[0]} {tensor.dtype} {tensor.layout}",
        {
            OURS: lambda: ours(frame, out),
            "cv2.dnn.blobFromImageWithParams": blob,
            "numpy": lambda: naive_preprocess(frame.pixels, spec, tensor),
        },
    )


def naive_preprocess(picture: NDArray[np.uint8], spec: InputSpec, tensor: TensorSpec) -> NDArray[Any]:
    """As tutorials do it."""
    width, height = spec.size
    whole = np.full((height, width, 3), spec.pad, np.uint8)
    ratio = min(width / picture.shape[1], height / picture.shape[0])
    fit = (round(picture.shape[1] * ratio), round(picture.shape[0] * ratio)) if spec.resize == "letterbox" else spec.size
    top, left = (height - fit[1]) // 2, (width - fit[0]) // 2
    whole[top : top + fit[1], left : left + fit[0]] = cv2.resize(picture, fit)
    if tensor.dtype == "uint8":
        return whole[None, ..., ::-1].copy()
    real = whole[..., ::-1].astype(np.float32) / 255
    if tensor.dtype == "int8":
        return np.clip(np.round(real / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)[None]
    return np.ascontiguousarray(real.transpose(2, 0, 1) if tensor.layout == "NCHW" else real)[None]


# --- heads


def heads() -> Iterator[Case]:
    """At input size 640: 8,400 cells, 100 of which see something."""
    n, size = 8400, (640, 640)
    rng = np.random.default_rng(0)
    scores = (rng.random((n, CLASSES)) * 0.05).astype(np.float32)
    scores[rng.choice(n, 100, replace=False), rng.integers(0, CLASSES, 100)] = rng.uniform(SCORE, 1, 100)
    boxes = np.concatenate((rng.uniform(0, 1, (n, 2)), rng.uniform(0.02, 0.3, (n, 2))), axis=1).astype(np.float32)

    columns = np.ascontiguousarray(np.concatenate((boxes, scores), axis=1).T)[None]
    yield _yolo_case("float32", columns, TensorSpec("output0", columns.shape, "float32"), size)
    spec = TensorSpec("output0", columns.shape, "int8", 1 / 255, -128)
    quantized = np.clip(np.rint(columns / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
    yield _yolo_case("int8", quantized, spec, size)

    objectness = np.minimum(1, scores.max(axis=1, keepdims=True) * 1.2)
    rows = np.concatenate((boxes, objectness, scores), axis=1)[None]
    spec = TensorSpec("output", rows.shape, "float32")
    yolox = YoloX(ModelOutputs((spec,), size, CLASSES), YoloXOptions())
    thresholds = Thresholds(SCORE, None)
    yield Case("head yolox 640 float32", {OURS: lambda: yolox([rows], thresholds), "numpy": lambda: naive_yolox(rows, size)})


def _yolo_case(dtype: str, columns: NDArray[Any], spec: TensorSpec, size: tuple[int, int]) -> Case:
    yolo = Yolo(ModelOutputs((spec,), size, CLASSES), YoloOptions(box="xywh_normalized"))
    thresholds = Thresholds(SCORE, None)
    return Case(
        f"head yolo 640 {dtype}", {OURS: lambda: yolo([columns], thresholds), "numpy": lambda: naive_yolo(columns, spec, size)}
    )


def naive_yolo(raw: NDArray[Any], spec: TensorSpec, size: tuple[int, int]) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """The whole tensor into float, by cells, then the filter."""
    rows = raw[0].astype(np.float32).T
    if spec.quantized:
        rows = (rows - spec.zero_point) * spec.scale
    class_ids = rows[:, 4:].argmax(axis=1)
    scores = rows[:, 4:].max(axis=1)
    keep = scores >= SCORE
    centered = rows[keep, :4] * [*size, *size]
    boxes = np.concatenate((centered[:, :2] - centered[:, 2:] / 2, centered[:, :2] + centered[:, 2:] / 2), axis=1)
    return boxes, scores[keep], class_ids[keep]


def naive_yolox(raw: Floats, size: tuple[int, int]) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Every cell decoded, the grids made each time, as YOLOX's own demo does."""
    places, strides = [], []
    for stride in (8, 16, 32):
        columns, rows = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        places.append(np.stack((columns, rows), 2).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    grid, step = np.concatenate(places), np.concatenate(strides)
    found = raw[0].copy()
    found[:, :2] = (found[:, :2] + grid) * step
    found[:, 2:4] = np.exp(found[:, 2:4]) * step
    all_scores = found[:, 4:5] * found[:, 5:]
    class_ids, scores = all_scores.argmax(axis=1), all_scores.max(axis=1)
    keep = scores >= SCORE
    centered = found[keep, :4]
    boxes = np.concatenate((centered[:, :2] - centered[:, 2:] / 2, centered[:, :2] + centered[:, 2:] / 2), axis=1)
    return boxes, scores[keep], class_ids[keep]


# --- NMS


def suppression() -> Iterator[Case]:
    """Without a cap, so that every way does all the work; and ours with the usual one."""
    for n in (100, 1000, 8400, 30_000):
        for classes in (CLASSES, 1):
            boxes, scores, class_ids = candidates(n, classes)
            yield Case(f"NMS {n} in {classes} class{'es' * (classes > 1)}", _nms_ways(boxes, scores, class_ids))


def _nms_ways(boxes: Floats, scores: Floats, class_ids: NDArray[np.int32]) -> dict[str, Way]:
    sides = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)  # x, y, width, height
    ways: dict[str, Way] = {
        OURS: lambda: nms(boxes, scores, class_ids, IOU, False, len(boxes)),
        f"{OURS}, at most 100": lambda: nms(boxes, scores, class_ids, IOU, False, 100),
        "cv2.dnn.NMSBoxesBatched": lambda: cv2.dnn.NMSBoxesBatched(sides, scores, class_ids, 0, IOU),  # type: ignore[arg-type]  # it takes arrays
        "greedy loop": lambda: greedy(boxes, scores, class_ids),
    }
    return ways


def candidates(n: int, classes: int, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """What a detector gives at a tiny threshold: three quarters lie around 50 objects of 12 to 300 pixels (at small n: 8 an
    object), most of them of the object's class, the rest anywhere. A third survives, as with yolox_nano's candidates.
    """
    rng = np.random.default_rng(seed)
    objects = max(2, min(50, n // 8))
    centers, sizes = rng.uniform(0, 640, (objects, 2)), np.exp(rng.uniform(np.log(12), np.log(300), (objects, 2)))
    weight = np.sqrt(sizes.prod(axis=1))  # a large object covers more cells
    which = rng.choice(objects, n, p=weight / weight.sum())
    stray = rng.random(n) < 0.25
    center = np.where(stray[:, None], rng.uniform(0, 640, (n, 2)), centers[which] + rng.normal(0, 0.12, (n, 2)) * sizes[which])
    size = np.where(
        stray[:, None], np.exp(rng.uniform(np.log(8), np.log(200), (n, 2))), sizes[which] * np.exp(rng.normal(0, 0.15, (n, 2)))
    )
    wrong = stray | (rng.random(n) < 0.1)
    class_ids = np.where(wrong, rng.integers(0, classes, n), rng.integers(0, classes, objects)[which])
    scores = np.where(stray, rng.beta(1, 20, n), rng.beta(1.2, 5, n))
    order = np.argsort(-scores)
    boxes = np.concatenate((center - size / 2, center + size / 2), axis=1)
    return boxes[order].astype(np.float32), scores[order].astype(np.float32), class_ids[order].astype(np.int32)


def greedy(boxes: Floats, scores: Floats, class_ids: NDArray[np.int32]) -> list[int]:
    """As tutorials do it: the best box, against all that are left."""
    left = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        width = np.minimum(boxes[best, 2], boxes[left, 2]) - np.maximum(boxes[best, 0], boxes[left, 0])
        height = np.minimum(boxes[best, 3], boxes[left, 3]) - np.maximum(boxes[best, 1], boxes[left, 1])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[(overlap <= IOU * (areas[best] + areas[left] - overlap)) | (class_ids[left] != class_ids[best])]
    return kept


# --- measuring


def measure(case: Case, rounds: int) -> dict[str, Timing]:
    """Each way's medians."""
    repeats = {}
    for name, way in case.ways.items():
        way()
        start = time.perf_counter()
        way()
        repeats[name] = max(1, int(ROUND_S / (time.perf_counter() - start)))
    taken: dict[str, list[Timing]] = {name: [] for name in case.ways}
    for _ in range(rounds):
        for name, way in case.ways.items():
            start, cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                way()
            wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
            taken[name].append(Timing(wall_s / repeats[name] * 1e6, cpu_s / repeats[name] * 1e6))
    return {name: Timing(median(t.us for t in times), median(t.cpu_us for t in times)) for name, times in taken.items()}


def table(figures: dict[str, dict[str, Timing]]) -> Iterator[str]:
    """For people."""
    yield f"{'':54} {'µs':>9} {'CPU µs':>9}  times ours"
    for case, ways in figures.items():
        yield case
        for name, timing in ways.items():
            yield f"  {name:52} {timing.us:9.0f} {timing.cpu_us:9.0f}  {timing.us / ways[OURS].us:6.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    noise = Noise()
    figures = {case.name: measure(case, args.rounds) for part in (preprocessing, heads, suppression) for case in part()}
    problems = noise.problems()
    if args.json:
        cases = {case: {name: timing._asdict() for name, timing in ways.items()} for case, ways in figures.items()}
        print(json.dumps({"processor": processor(), "noise": problems, "cases": cases}))
    else:
        print(processor(), *table(figures), sep="\n")
    for problem in problems:
        print(f"not to be trusted: {problem}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
