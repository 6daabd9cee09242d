"""Pictures that models are tried on."""

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import VettingError
from agent.update.pictures import golden_pictures, patterns
from tests.media import plain


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 48), (640, 480)])
def test_patterns_have_the_size_that_is_asked_for(size: tuple[int, int]) -> None:
    for frame in patterns(size):
        assert (frame.width, frame.height) == size
        assert (frame.pixels.shape, frame.pixels.dtype.name) == ((size[1], size[0], 3), "uint8")


def test_patterns_for_a_huge_input_are_small() -> None:
    assert {(frame.width, frame.height) for frame in patterns((16384, 300))} == {(640, 300)}


def test_patterns_have_little_in_common() -> None:
    pixels = [frame.pixels.astype(np.float64).ravel() for frame in patterns((64, 48))]
    apart = [np.abs(one - other).mean() for i, one in enumerate(pixels) for other in pixels[:i]]
    assert min(apart) > 20
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(patterns((64, 48)), patterns((64, 48)), strict=True))


def test_pictures_of_a_bundle_come_in_turn(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("b.png", "a.png", "b.png")]
    sizes = {"a.png": (40, 30), "b.png": (64, 48)}
    for name, size in sizes.items():
        assert cv2.imwrite(str(tmp_path / name), plain(size))
    with closing(golden_pictures(files)) as pictures:
        assert [(frame.name, frame.width, frame.height) for frame in pictures] == [(f.name, *sizes[f.name]) for f in files]


def test_without_files_no_process_is_started() -> None:
    assert list(golden_pictures([])) == []


def test_one_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), plain((40, 30)))
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with closing(golden_pictures([tmp_path / "a.png", tmp_path / "b.jpg"])) as pictures:
        assert next(pictures).width == 40
        with pytest.raises(VettingError, match=r"b\.jpg cannot be decoded: it is damaged, or no picture") as caught:
            next(pictures)
    assert caught.value.code == "bundle_invalid"
