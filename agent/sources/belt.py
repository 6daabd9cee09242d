"""A conveyor belt with metal parts on it, drawn: every picture, and what is in it, follows from a few settings and its number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.sources.config import PartLabel
from agent.sources.parts import Box, Sprite, draw_part

IN_VIEW = 0.5  # a part counts as in view with at least so much of its box in the picture
RAIL = 0.085  # height of each rail, of the picture's
RADIUS = (0.085, 0.115)  # of the parts, of the belt's scale
SPEED = 0.2  # of the picture's width in a second
ATTEMPTS = 60  # to find places for parts on a stretch of the belt
CLEARANCE = 0.95  # of two parts' radii together: round ones never touch
KEPT = 4  # stretches that are remembered; two at most are in view


@dataclass(frozen=True, slots=True)
class Part:
    """box: x1 y1 x2 y2 of what is in the picture, in pixels. shown: how much of its whole box that is."""

    label: PartLabel
    box: Box
    shown: float


class _Placed:
    """A part on a stretch of the belt. x, y: its centre, in pixels from the stretch's left end and the picture's top."""

    def __init__(self, label: PartLabel, radius: float, x: int, y: int, seed: tuple[int, ...]) -> None:
        self.label = label
        self.radius = radius
        self.x = x
        self.y = y
        self._seed = seed

    @cached_property
    def sprite(self) -> Sprite:
        """Drawn when it first comes into view."""
        return draw_part(self.label, self.radius, np.random.default_rng(self._seed))


class Belt:
    """Moves to the left without end. The same arguments give the same pictures. Parts may touch, but none hides another."""

    def __init__(self, size: tuple[int, int], fps: float, seed: int, parts: Sequence[PartLabel]) -> None:
        """size: width, height. parts: the kinds on the belt, each equally often."""
        self._width, self._height = size
        self._labels = parts
        self._seed = seed
        self._scale = min(self._height, self._width)
        self._rail = round(self._height * RAIL)
        self._step = max(1, round(SPEED * self._width / fps))  # pixels a frame
        rng = np.random.default_rng((seed, 0))
        self._rubber = _rubber(self._width, self._height, self._rail, rng)
        self._rails = [_rail(self._width, self._rail, rng, top=top) for top in (True, False)]
        self._lamp = _lamp(self._width, self._height)
        self._stretches: dict[int, list[_Placed]] = {}

    def draw(self, seq: int, out: NDArray[np.uint8]) -> None:
        """Picture `seq`, counted from 0, into (h, w, 3) uint8, BGR."""
        offset = seq * self._step % self._width
        out[:, : self._width - offset] = self._rubber[:, offset:]
        out[:, self._width - offset :] = self._rubber[:, :offset]
        for placed, x in self._near(seq):
            placed.sprite.put(out, x, placed.y)
        out[: self._rail] = self._rails[0]
        out[self._height - self._rail :] = self._rails[1]
        cv2.multiply(out, self._lamp, dst=out, scale=1 / 255)

    def truth(self, seq: int, least_shown: float = IN_VIEW) -> list[Part]:
        """The parts in picture `seq` of which at least `least_shown` is in it."""
        parts = []
        for placed, x in self._near(seq):
            x1, y1, x2, y2 = placed.sprite.box
            left, right = max(0.0, x + x1), min(float(self._width), x + x2)
            shown = (right - left) / (x2 - x1)
            if shown > 0 and shown >= least_shown:
                parts.append(Part(placed.label, (left, placed.y + y1, right, placed.y + y2), shown))
        return parts

    def _near(self, seq: int) -> Iterator[tuple[_Placed, int]]:
        """The parts in view or next to it, and where the centre of each is from the picture's left edge."""
        first, offset = divmod(seq * self._step, self._width)
        reach = 2 * RADIUS[1] * self._scale
        for i in (-1, 0, 1):
            for placed in self._stretch(first + i):
                x = placed.x + i * self._width - offset
                if -reach < x < self._width + reach:
                    yield placed, x

    def _stretch(self, index: int) -> list[_Placed]:
        """The parts on a piece of the belt as long as the picture is wide."""
        if index < 0:
            return []
        if index not in self._stretches:
            self._stretches[index] = self._laid(index)
            if len(self._stretches) > KEPT:
                del self._stretches[next(iter(self._stretches))]
        return self._stretches[index]

    def _laid(self, index: int) -> list[_Placed]:
        """Parts thrown one after the other; one that would lie on another is taken away again."""
        rng = np.random.default_rng((self._seed, 1, index))
        labels = [self._labels[i] for _ in range(ATTEMPTS) for i in rng.permutation(len(self._labels))]
        laid: list[_Placed] = []
        for attempt in range(ATTEMPTS):
            radius = self._scale * rng.uniform(*RADIUS)
            x = round(rng.uniform(0.9 * radius, self._width - 0.9 * radius))
            y = round(rng.uniform(self._rail + 1.1 * radius, self._height - self._rail - 1.1 * radius))
            if all((x - other.x) ** 2 + (y - other.y) ** 2 > (CLEARANCE * (radius + other.radius)) ** 2 for other in laid):
                laid.append(_Placed(labels[len(laid)], radius, x, y, (self._seed, 2, index, attempt)))
        return laid


def _rubber(width: int, height: int, rail: int, rng: Generator) -> NDArray[np.uint8]:
    """(height, width, 3), BGR: woven, worn along its way, with a joint, darker beside the rails; its ends fit together."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    weave = 2.5 * np.where((rows // 2 + columns // 2) % 2, 1, -1)
    wear = cv2.GaussianBlur(rng.normal(0, 1, (height, 1)).astype(np.float32), (1, 0), sigmaX=1, sigmaY=height / 120) * 9
    endless = np.tile(rng.normal(0, height / 8, (height, width)).astype(np.float32), (1, 3))
    spots = cv2.GaussianBlur(endless, (0, 0), height / 40)[:, width : 2 * width]
    grain = rng.normal(0, 2, (height, width))
    joint = np.where(np.abs((columns - width // 2) + rows // 6 - height // 12) < max(1, width // 250), -16, 0)
    edge = np.minimum(rows - rail, height - rail - 1 - rows) / (height * 0.05)
    shade = 0.45 + 0.55 * np.clip(edge, 0, 1) ** 0.5
    light = (66 + weave + wear + spots + grain + joint) * shade
    return _tinted(light, (1.0, 1.03, 0.95))


def _rail(width: int, height: int, rng: Generator, *, top: bool) -> NDArray[np.uint8]:
    """(height, width, 3), BGR: brushed metal, rounded, with screws."""
    across = (np.arange(height) + 0.5)[:, None] / height
    if not top:
        across = 1 - across
    profile = 105 + 75 * np.sin(np.pi * across) - 60 * (across > 0.88)
    brushed = cv2.blur(rng.normal(0, 14, (height, width)), (max(3, width // 16), 1))
    pixels = _tinted(profile + brushed, (1.0, 0.98, 0.94))
    radius = max(1, height // 6)
    for x in range(width // 12, width, max(1, width // 6)):
        centre = (x, height // 2)
        cv2.circle(pixels, centre, radius, (70, 68, 66), -1, cv2.LINE_AA)
        cv2.circle(pixels, centre, max(1, radius - 1), (150, 148, 143), -1, cv2.LINE_AA)
        slot = radius // 2
        cv2.line(pixels, (x - slot, height // 2 - slot), (x + slot, height // 2 + slot), (60, 58, 56), 1)
    return pixels


def _lamp(width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3), of 255: bright in the middle, less towards the corners."""
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = 255 * (1 - 0.16 * (x + 0.15) ** 2 - 0.16 * (y + 0.2) ** 2)
    return _tinted(light, (1.0, 1.0, 1.0))


def _tinted(light: NDArray[np.floating], color: tuple[float, float, float]) -> NDArray[np.uint8]:
    """(h, w) of 0 to 255, as (h, w, 3) in a colour, BGR."""
    tinted: NDArray[np.uint8] = np.clip(light[..., None] * np.array(color), 0, 255).astype(np.uint8)
    return tinted
