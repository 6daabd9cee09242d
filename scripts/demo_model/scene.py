"""Training pictures: the belt's parts under any light, from any side, on anything, in a heap, blurred and noisy."""

import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple, get_args

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.sources.belt import Belt
from agent.sources.config import PartLabel
from agent.sources.parts import Sprite, draw_part

LABELS: tuple[PartLabel, ...] = get_args(PartLabel)
SIZE = 256
LEAST_SHOWN = 0.5  # of a part, for it to be asked for; of one that shows less, nothing is asked
MOST_PARTS = 32
CHUNK = 40  # pictures at a time to a process


class Scenes(NamedTuple):
    """Pictures with what is in them.

    pixels: (n, SIZE, SIZE, 3) uint8, RGB. boxes: (n, MOST_PARTS, 4) float32, x1 y1 x2 y2 in pixels. classes: (n, MOST_PARTS) int64,
    in LABELS; -1 where there is no part, -2 for one of which too little shows.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


class Found(NamedTuple):
    """A part in a picture. box: x1 y1 x2 y2, clipped. shown: how much of the part can be seen, 0 to 1."""

    label: int
    box: tuple[float, float, float, float]
    shown: float


def render(count: int, seed: int, processes: int, *, kinds: int = len(LABELS), belt_share: float = 0.35) -> Scenes:
    """`count` pictures of the first `kinds` of LABELS, of which a share are views of the belt; the same for the same arguments."""
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        chunks = []
        for done, chunk in enumerate(pool.map(partial(_chunk, seed=seed, kinds=kinds, belt_share=belt_share), starts), 1):
            chunks.append(chunk)
            print(f"\rrendering: {min(done * CHUNK, count)} of {count} pictures", end="", flush=True)
        print()
    return Scenes(*(np.concatenate(parts)[:count] for parts in zip(*chunks, strict=True)))


def _chunk(start: int, seed: int, kinds: int, belt_share: float) -> Scenes:
    pixels = np.zeros((CHUNK, SIZE, SIZE, 3), np.uint8)
    boxes = np.zeros((CHUNK, MOST_PARTS, 4), np.float32)
    classes = np.full((CHUNK, MOST_PARTS), -1, np.int64)
    views = round(CHUNK * belt_share)
    rng = np.random.default_rng((seed, start))
    for i in range(CHUNK):
        if i < views:
            if i % 4 == 0:
                belt = Belt((640, 480), 30, int(rng.integers(1, 1 << 30)), LABELS[:kinds])
            picture, parts = _belt_view(belt, rng)
        else:
            picture, parts = _heap(rng, kinds)
        pixels[i] = cv2.cvtColor(_camera(picture, rng, strength=0.4 if i < views else 1.0), cv2.COLOR_BGR2RGB)
        for j, part in enumerate(parts[:MOST_PARTS]):
            boxes[i, j] = part.box
            classes[i, j] = part.label if part.shown >= LEAST_SHOWN else -2
    return Scenes(pixels, boxes, classes)


def _belt_view(belt: Belt, rng: Generator) -> tuple[NDArray[np.uint8], list[Found]]:
    """A piece of the belt's picture at the scale in which a model of 320 to 416 pixels sees it."""
    seq = int(rng.integers(160, 330))
    full = np.empty((480, 640, 3), np.uint8)
    belt.draw(seq, full)
    scale = rng.uniform(0.46, 0.68)
    small = cv2.resize(full, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    small = cv2.copyMakeBorder(small, 40, 40, 0, 0, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    left, top = int(rng.integers(0, small.shape[1] - SIZE + 1)), int(rng.integers(0, small.shape[0] - SIZE + 1))
    parts = []
    for part in belt.truth(seq, 0):
        x1, y1, x2, y2 = np.array(part.box) * scale + np.array((0, 40, 0, 40)) - np.array((left, top, left, top))
        area = (x2 - x1) * (y2 - y1) / part.shown
        box = (max(x1, 0), max(y1, 0), min(x2, SIZE), min(y2, SIZE))
        if box[0] < box[2] and box[1] < box[3]:
            parts.append(Found(LABELS.index(part.label), box, (box[2] - box[0]) * (box[3] - box[1]) / area))
    return np.ascontiguousarray(small[top : top + SIZE, left : left + SIZE]), parts


def _heap(rng: Generator, kinds: int) -> tuple[NDArray[np.uint8], list[Found]]:
    """Parts on top of one another, on some background, seen from aslant."""
    picture = _background(rng)
    light = (rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0.45, 0.9))
    squash, turn = rng.uniform(0.72, 1), rng.uniform(0, math.pi)
    turned = np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))))
    tilt = turned @ np.diag((1, squash)) @ turned.T
    middle, nearer = rng.uniform(17, 34), rng.uniform(-0.25, 0.25)  # parts grow down the picture, as in perspective
    owner = np.full((SIZE, SIZE), -1, np.int16)  # which part is on top
    drawn: list[tuple[int, tuple[float, float, float, float], int]] = []
    clearance = rng.uniform(0.55, 1.05)
    laid: list[tuple[float, float, float]] = []
    for _ in range(int(rng.integers(2, 28))):
        x, y = rng.uniform(-8, SIZE + 8), rng.uniform(-8, SIZE + 8)
        radius = max(11.0, middle * rng.uniform(0.8, 1.25) * (1 + nearer * (y / SIZE * 2 - 1)))
        if any(math.hypot(x - a, y - b) < clearance * (radius + c) for a, b, c in laid):
            continue
        laid.append((x, y, radius))
        label = int(rng.integers(kinds))
        sprite = _aslant(draw_part(LABELS[label], radius, rng, light), tilt)
        sprite.put(picture, round(x), round(y))
        n = len(sprite.keep)
        solid = np.zeros((SIZE + 4 * n, SIZE + 4 * n), bool)
        at = (round(y) - n // 2 + 2 * n, round(x) - n // 2 + 2 * n)
        solid[at[0] : at[0] + n, at[1] : at[1] + n] = sprite.keep[..., 0] < 80
        owner[solid[2 * n : -2 * n, 2 * n : -2 * n]] = len(drawn)
        x1, y1, x2, y2 = sprite.box
        box = (max(x + x1, 0), max(y + y1, 0), min(x + x2, SIZE), min(y + y2, SIZE))
        drawn.append((label, box, int(solid.sum())))
    found = []
    for i, (label, box, whole) in enumerate(drawn):
        if box[0] < box[2] and box[1] < box[3] and whole:
            found.append(Found(label, box, float((owner == i).sum() / whole)))
    return picture, found


def _aslant(sprite: Sprite, tilt: NDArray[np.float64]) -> Sprite:
    n = len(sprite.keep)
    centre = np.full(2, n / 2 - 0.5)
    matrix = np.hstack((tilt, (centre - tilt @ centre)[:, None]))
    color = cv2.warpAffine(sprite.color, matrix, (n, n), flags=cv2.INTER_LINEAR)
    keep = cv2.warpAffine(sprite.keep, matrix, (n, n), flags=cv2.INTER_LINEAR, borderValue=(255, 255, 255))
    solid = keep[..., 0] < 80
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    half = n / 2
    box = (columns[0] - half, rows[0] - half, columns[-1] + 1 - half, rows[-1] + 1 - half)
    return Sprite(color.astype(np.uint8), keep.astype(np.uint8), box)


def _background(rng: Generator) -> NDArray[np.uint8]:
    """A surface of any colour, rough, striped or woven, with clutter that is no part."""
    color = np.clip(rng.normal(rng.uniform(30, 210), 18, 3), 5, 250)
    surface = np.zeros((SIZE, SIZE), np.float32)
    for cells in (3, 9, 40, SIZE):
        noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        surface += cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) * np.float32(rng.uniform(0, 12))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    if rng.random() < 0.4:
        surface += rng.uniform(2, 16) * np.sin((rows * rng.uniform(-1, 1) + columns * rng.uniform(-1, 1)) * rng.uniform(0.1, 1.5))
    picture = np.ascontiguousarray(np.clip(color + surface[..., None], 0, 255).astype(np.uint8))
    for _ in range(int(rng.integers(0, 9))):
        shade = tuple(int(c) for c in rng.integers(0, 255, 3))
        at = [int(p) for p in rng.integers(0, SIZE, 4)]
        kind = rng.integers(5)
        if kind == 0:
            cv2.line(picture, (at[0], at[1]), (at[2], at[3]), shade, int(rng.integers(1, 9)), cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(picture, (at[0], at[1]), (at[0] + at[2] // 3 + 4, at[1] + at[3] // 3 + 4), shade, -1)
        elif kind == 2:
            cv2.circle(picture, (at[0], at[1]), 2 + at[2] // 12, shade, -1, cv2.LINE_AA)
        elif kind == 3:
            points = (rng.normal(0, 22, (5, 2)) + at[:2]).astype(np.int32)
            cv2.fillPoly(picture, [points], shade, cv2.LINE_AA)
        else:
            cv2.putText(picture, f"{at[2]}-{at[3]}", (at[0], at[1]), 0, rng.uniform(0.3, 1), shade, 1, cv2.LINE_AA)
    return picture


def _camera(picture: NDArray[np.uint8], rng: Generator, strength: float) -> NDArray[np.uint8]:
    """Uneven light, a shadow's edge, the wrong exposure and white balance, blur, noise, compression."""
    light = cv2.resize(rng.normal(1, 0.16 * strength, (2, 2)).astype(np.float32), (SIZE, SIZE))[..., None]
    light = light * rng.normal(1, 0.06 * strength, 3) * rng.uniform(1 - 0.45 * strength, 1 + 0.45 * strength)
    if rng.random() < 0.25 * strength:
        rows, columns = np.mgrid[:SIZE, :SIZE]
        a = rng.uniform(0, 2 * math.pi)
        beyond = (columns - SIZE / 2) * math.cos(a) + (rows - SIZE / 2) * math.sin(a) > rng.uniform(-80, 80)
        light = light * np.where(beyond, rng.uniform(0.45, 0.8), 1)[..., None]
    pixels = np.clip(picture * light, 0, 255).astype(np.uint8)
    chance = rng.random()
    if chance < 0.3 * strength:
        length = int(rng.integers(2, 6))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0)
        pixels = cv2.filter2D(pixels, -1, kernel / kernel.sum()).astype(np.uint8)
    elif chance < 0.65 * strength:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.3)).astype(np.uint8)
    if rng.random() < 0.8:
        noise = rng.normal(0, rng.uniform(1, 11) * strength, pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return pixels
