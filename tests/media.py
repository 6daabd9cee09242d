"""Small pictures and videos for tests, made on the spot."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

RED = (0, 0, 255)  # in the order of the pixels: blue, green, red
GRAY_STEP = 10


def plain(size: tuple[int, int], color: tuple[int, int, int] = RED) -> NDArray[np.uint8]:
    """A picture of one colour, (h, w, 3) BGR; `size` is (width, height)."""
    return np.full((size[1], size[0], 3), color, np.uint8)


def numbered(count: int, size: tuple[int, int] = (64, 48)) -> list[NDArray[np.uint8]]:
    """Gray pictures, each brighter than the one before, so that `number` can tell them apart after any codec."""
    return [plain(size, (level, level, level)) for level in range(0, count * GRAY_STEP, GRAY_STEP)]


def number(pixels: NDArray[np.uint8]) -> int:
    """Which of `numbered` a decoded picture is."""
    return round(float(pixels.mean()) / GRAY_STEP)


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], fps: float = 10.0) -> Path:
    """A video, MJPEG in an .avi, MPEG-4 in anything else; OpenCV alone makes it."""
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, (width, height))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """A picture in the format of its suffix."""
    assert cv2.imwrite(str(path), pixels)
    return path


def cut(path: Path, share: float) -> Path:
    """A copy of a file that ends after `share` of its bytes."""
    whole = path.read_bytes()
    part = path.with_name(f"cut-{path.name}")
    part.write_bytes(whole[: int(len(whole) * share)])
    return part
