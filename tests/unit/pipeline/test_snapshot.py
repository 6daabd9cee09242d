"""A frame becomes a JPEG that fits into a message, with its colours."""

import cv2
import numpy as np
import pytest

from agent.core.types import Frame, PixelFormat, picture_shape
from agent.pipeline.snapshot import MAX_JPEG_BYTES, Snapshot, jpeg
from tests.frames import make_frame


def picture(data: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded)


RED = np.full((48, 64, 3), (20, 30, 200), np.uint8)  # bgr
CONVERTED = {
    "bgr24": RED,
    "rgb24": RED[:, :, ::-1],
    "yuv420p": np.asarray(cv2.cvtColor(RED, cv2.COLOR_BGR2YUV_I420)),
}


@pytest.mark.parametrize("pixel_format", ["bgr24", "rgb24", "yuv420p"])
def test_colours(pixel_format: PixelFormat) -> None:
    pixels = np.ascontiguousarray(CONVERTED[pixel_format], np.uint8)
    shown = picture(jpeg(Frame(pixels, pixel_format, 64, 48, 0, 0, 0, "gate")))
    assert shown.shape == (48, 64, 3)
    assert np.abs(shown.astype(int) - RED).max() < 12


@pytest.mark.parametrize("pixel_format", ["gray8", "nv12"])
def test_grey(pixel_format: PixelFormat) -> None:
    pixels = np.full(picture_shape(pixel_format, 64, 48), 128, np.uint8)
    shown = picture(jpeg(Frame(pixels, pixel_format, 64, 48, 0, 0, 0, "gate")))
    assert np.ptp(shown) < 8


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (3840, 2160), (4000, 2)])
def test_the_worst_picture_fits(width: int, height: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    data = jpeg(Frame(noise, "bgr24", width, height, 0, 0, 0, "gate"))
    assert len(data) <= MAX_JPEG_BYTES
    shown = picture(data)
    assert shown.shape[1] * height == pytest.approx(shown.shape[0] * width, rel=0.01)


def test_nobody_waits() -> None:
    snapshot = Snapshot()
    snapshot.offer(make_frame(1))
    assert snapshot.take(0.0) is None  # only frames that come later
