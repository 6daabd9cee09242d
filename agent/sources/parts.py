"""Drawings of small metal parts, lit from the side: what lies on the belt, and what the demo's models are trained on."""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.sources.config import PartLabel

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

FINER = 2  # drawn at so many times the resolution, then averaged
MARGIN = 1.3  # of the drawing around the part, for its shadow
LIGHT = (-0.5, -0.6, 0.62)  # to the right, down, towards the viewer: where the light comes from
STEEL, ZINC, BRASS, BLACKENED = (188, 184, 178), (205, 196, 180), (96, 172, 208), (92, 84, 80)  # blue, green, red
METALS = (STEEL, STEEL, ZINC, BRASS, BLACKENED)
RUST = np.array((38, 74, 132), np.float32)


class Sprite(NamedTuple):
    """A drawn part, its centre in the middle.

    color: (n, n, 3) uint8, BGR, already multiplied by its opacity. keep: (n, n, 3) uint8, how much of what is below stays, of 255:
    less where the part or its shadow is. box: x1 y1 x2 y2 of the part without its shadow, in pixels from its centre.
    """

    color: NDArray[np.uint8]
    keep: NDArray[np.uint8]
    box: Box

    def put(self, out: NDArray[np.uint8], x: int, y: int) -> None:
        """Lay the part onto a picture (h, w, 3), its centre at (x, y), which may be outside."""
        n, (height, width) = len(self.color), out.shape[:2]
        left, top = x - n // 2, y - n // 2
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + n, width), min(top + n, height)
        if x1 >= x2 or y1 >= y2:
            return
        below = out[y1:y2, x1:x2]
        part = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
        cv2.multiply(below, self.keep[part], dst=below, scale=1 / 255)
        cv2.add(below, self.color[part], dst=below)


def draw_part(label: PartLabel, radius: float, rng: Generator, light: tuple[float, float, float] = LIGHT) -> Sprite:
    """A part that fits into a circle of `radius` pixels, turned, made and worn as `rng` has it."""
    n = 2 * math.ceil(radius * MARGIN) * FINER  # rows and columns of the fine drawing
    angle = rng.uniform(0, 2 * math.pi)
    axis = (np.arange(n, dtype=np.float32) + 0.5 - n / 2) / (radius * FINER)
    x, y = axis[None, :], axis[:, None]
    u = x * math.cos(angle) + y * math.sin(angle)
    v = y * math.cos(angle) - x * math.sin(angle)
    height = _HEIGHTS[label](u, v, rng).astype(np.float32)
    rust = _rust(u, v, rng) if label == "defect" else None
    color = _lit(height, radius * FINER, rng, light, rust)
    return _finished(color, height, radius, light)


def _lit(height: Floats, scale: float, rng: Generator, light: tuple[float, float, float], rust: Floats | None) -> Floats:
    """(n, n, 3) BGR, 0 to 255: the surface of these heights in metal. scale: pixels in a unit of height."""
    smooth = cv2.GaussianBlur(height, (0, 0), max(0.4, scale / 60)) * scale
    slope_x, slope_y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    across = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    facing = np.maximum(0, (light[2] - slope_x * light[0] - slope_y * light[1]) * across)
    halfway = (light[0], light[1], light[2] + 1)
    half = [part / math.hypot(*halfway) for part in halfway]
    shine = np.maximum(0, (half[2] - slope_x * half[0] - slope_y * half[1]) * across)
    for _ in range(5):
        shine *= shine  # to the power of 32
    grain = cv2.resize(rng.normal(1, 0.05, (len(height) // 2, 8)).astype(np.float32), height.shape[::-1])
    metal = np.array(METALS[rng.integers(len(METALS))], np.float32) * rng.uniform(0.85, 1.1)
    brightness = (0.22 + 0.85 * facing) * grain
    if rust is None:
        color = brightness[..., None] * metal
    else:
        color = brightness[..., None] * (metal + rust[..., None] * (RUST - metal))
        shine *= 1 - rust
    lit: Floats = np.clip(color + (150 * shine)[..., None], 0, 255)
    return lit


def _finished(color: Floats, height: Floats, radius: float, light: tuple[float, float, float]) -> Sprite:
    """Averaged down to its size, with a shadow away from the light."""
    solid = (height > 0).astype(np.float32)
    n = len(height) // FINER
    small = cv2.resize(color * solid[..., None], (n, n), interpolation=cv2.INTER_AREA)
    opaque = cv2.resize(solid, (n, n), interpolation=cv2.INTER_AREA)
    away = -radius * 0.12 / light[2]
    shift = np.array(((1, 0, light[0] * away), (0, 1, light[1] * away)))
    shadow = cv2.GaussianBlur(cv2.warpAffine(opaque, shift, (n, n)), (0, 0), max(0.5, radius * 0.06))
    keep: NDArray[np.uint8] = ((1 - opaque) * (1 - 0.65 * shadow) * 255).astype(np.uint8)
    rows, columns = np.flatnonzero((opaque > 0.5).any(axis=1)), np.flatnonzero((opaque > 0.5).any(axis=0))
    box = (columns[0] - n / 2, rows[0] - n / 2, columns[-1] + 1 - n / 2, rows[-1] + 1 - n / 2)
    return Sprite(small.astype(np.uint8), np.stack([keep] * 3, axis=2), box)


# Heights above the belt, 0 where there is no part, at (u, v): fractions of the radius, along the part and across it.


def _bolt(u: Floats, v: Floats, rng: Generator, bend: float = 0.0) -> Floats:
    """Lying on its side. bend: how far its end is off, of the radius."""
    thick, head = rng.uniform(0.17, 0.22), rng.uniform(0.36, 0.44)
    neck = -0.98 + rng.uniform(0.26, 0.36)
    if bend:
        turned = np.maximum(0, u + 0.35)
        u, v = u + abs(bend) * 0.35 * turned, v - bend * turned * turned
    thread = 0.025 * np.abs((u * 9 + v * 0.8) % 1 - 0.5) * (u > neck + 0.25)
    shaft = np.sqrt(np.maximum(0, thick * thick - v * v)) + thread
    shaft *= (u > neck - 0.1) & (u < 0.98 - 0.12 * (np.abs(v) / thick) ** 4) & (np.abs(v) < thick)
    facets = np.minimum(head * 0.8, (head - np.abs(v)) * 1.6 + 0.1)
    facets = np.minimum(facets, 0.25 + 1.2 * np.minimum(u + 0.98, neck - u))
    height: Floats = np.maximum(shaft, facets * ((np.abs(v) < head) & (u > -0.98) & (u < neck)))
    return height


def _nut(u: Floats, v: Floats, rng: Generator) -> Floats:
    """Lying flat: a hexagon with chamfered corners and a thread in its hole."""
    hole = rng.uniform(0.44, 0.52)
    r = np.hypot(u, v)
    flats = np.maximum.reduce([np.abs(u * math.cos(a) + v * math.sin(a)) for a in (0, math.pi / 3, 2 * math.pi / 3)])
    edge = np.minimum(0.84 - flats, (1.02 - r) * 0.9)
    return _plate(np.minimum(edge, r - hole), 0.42, 0.12) + 0.04 * ((r < hole + 0.1) & (r > hole + 0.05))


def _washer(u: Floats, v: Floats, rng: Generator) -> Floats:
    """A flat ring."""
    r = np.hypot(u, v)
    return _plate(np.minimum(0.96 - r, r - rng.uniform(0.46, 0.56)), 0.1, 0.07)


def _gear(u: Floats, v: Floats, rng: Generator, broken: float = 0.0) -> Floats:
    """With teeth, a hub and sometimes holes. broken: the share of its teeth that is gone."""
    teeth = int(rng.integers(10, 15))
    r, a = np.hypot(u, v), np.arctan2(v, u) / (2 * math.pi)  # a: in turns
    tooth = np.clip((np.abs((a * teeth) % 1 - 0.5) - 0.17) * 5, 0, 1)  # 1 on a tooth, 0 between two
    rim = 0.76 + 0.22 * tooth
    if broken:
        rim = np.where(np.abs(a) < broken / 2, 0.66 + 0.05 * np.cos(a * 90), rim)
    hub = rng.uniform(0.2, 0.28)
    height = _plate(np.minimum(rim - r, r - hub), 0.22, 0.06) + 0.08 * _plate(np.minimum(hub + 0.16 - r, r - hub), 1, 0.05)
    if rng.random() < 0.6:
        number = int(rng.integers(3, 6))
        nearest = np.round(a * number) / number * 2 * math.pi
        height *= np.hypot(u - 0.56 * np.cos(nearest), v - 0.56 * np.sin(nearest)) > 0.12
    return height


def _spring(u: Floats, v: Floats, rng: Generator) -> Floats:
    """A coil lying on its side: strands in front, and strands the other way behind them."""
    wire, wide, turns = rng.uniform(0.075, 0.1), rng.uniform(0.32, 0.42), int(rng.integers(5, 8))
    pitch = 1.8 / turns
    clamped = np.clip(v, -wide, wide)
    height = np.zeros_like(u + v)
    for front in (1, -1):
        lean = front * pitch / (4 * wide)
        strand = np.clip(np.round((u - lean * clamped) / pitch + 0.5), -turns // 2 + 1, turns // 2) - 0.5
        aside = (u - lean * clamped - strand * pitch) / math.hypot(1, lean)
        tube = wire * wire - aside * aside - (v - clamped) ** 2
        height = np.maximum(height, np.where(tube > 0, np.sqrt(np.maximum(0, tube)) + 0.15 * (1 + front), 0))
    return height


def _defect(u: Floats, v: Floats, rng: Generator) -> Floats:
    """One of the others, visibly broken."""
    kind = rng.integers(4)
    if kind == 0:
        return _bolt(u, v, rng, bend=float(rng.choice((-1, 1)) * rng.uniform(0.36, 0.55)))
    if kind == 1:
        return _gear(u, v, rng, broken=rng.uniform(0.24, 0.36))
    whole = (_nut, _washer)[kind - 2](u, v, rng)
    if rng.random() < 0.5:  # cracked through
        gap = rng.uniform(0.09, 0.13) + 0.03 * np.sign(np.sin(u * 25))
        return whole * ((np.abs(v - 0.1 * np.sin(u * 6)) > gap) | (u < 0))
    jagged = 0.05 * np.sin(v * 17) + 0.03 * np.sin(v * 41)
    return whole * (u + jagged < rng.uniform(0.3, 0.45))  # a piece is gone


def _plate(inside: Floats, thick: float, bevel: float) -> Floats:
    """Flat, with rounded edges. inside: the distance from the edge, negative outside."""
    rounded = 1 - np.clip(1 - inside / bevel, 0, 1) ** 2
    return np.where(inside > 0, thick - bevel * (1 - np.sqrt(rounded)), 0)


def _rust(u: Floats, v: Floats, rng: Generator) -> Floats:
    """How rusty it is, 0 to 1, in blotches."""
    a, b, c = rng.uniform(0, 2 * math.pi, 3)
    blotches = np.sin(u * 5 + a) + np.sin(v * 6 + b) + 0.7 * np.sin((u + v) * 11 + c)
    rust: Floats = np.clip(blotches * 0.6 - 0.2, 0, rng.uniform(0.2, 0.8))
    return rust


_HEIGHTS: dict[PartLabel, Callable[[Floats, Floats, Generator], Floats]] = {
    "bolt": _bolt,
    "nut": _nut,
    "washer": _washer,
    "gear": _gear,
    "defect": _defect,
    "spring": _spring,
}
