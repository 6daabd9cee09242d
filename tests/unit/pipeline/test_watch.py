import numpy as np

from agent.core.types import Frame
from agent.pipeline.watch import PictureWatch
from tests.frames import make_frame


def noise(seq: int, level: int, mono_s: float) -> Frame:
    pixels = np.random.default_rng(seq).integers(level, level + 3, (48, 64, 3), np.uint8)
    return Frame(pixels, "bgr24", 64, 48, seq, int(mono_s * 1e9), 0, "main")


def test_the_same_picture_for_long_is_frozen_until_another_comes() -> None:
    watch = PictureWatch(frozen_after_s=10, black_after_s=10)
    assert watch.look(make_frame(0, mono_s=0, value=100)) == "running"
    assert watch.look(make_frame(1, mono_s=9, value=100)) == "running"
    assert watch.look(make_frame(2, mono_s=10, value=100)) == "frozen"
    assert watch.look(make_frame(3, mono_s=11, value=101)) == "running"


def test_dark_noise_is_black_and_not_frozen() -> None:
    watch = PictureWatch(frozen_after_s=1, black_after_s=10)
    looks = [watch.look(noise(second, 2, mono_s=second)) for second in range(12)]
    assert looks == ["running"] * 10 + ["black"] * 2
    assert watch.look(noise(12, 60, mono_s=12)) == "running"


def test_only_the_luma_of_planar_formats_counts() -> None:
    watch = PictureWatch(frozen_after_s=1, black_after_s=1)
    pixels = np.full((72, 64), 128, np.uint8)
    pixels[:48] = 16  # black luma; the chroma planes are 128
    looks = [watch.look(Frame(pixels, "yuv420p", 64, 48, i, i * 10**9, 0, "main")) for i in range(3)]
    assert looks[-1] == "black"


def test_a_one_pixel_picture() -> None:
    watch = PictureWatch(1, 1)
    assert watch.look(Frame(np.full((1, 1, 3), 90, np.uint8), "bgr24", 1, 1, 0, 0, 0, "main")) == "running"
