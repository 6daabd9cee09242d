import struct
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.config import ImagesConfig
from agent.sources.images import MOST_PIXELS, ImagesSource
from tests.media import RED, cut, plain, write_picture

SIZE = (64, 48)


def read(path: str | list[str], most: int = 100, *, loop: bool = False) -> list[tuple[Picture, NDArray[np.uint8]]]:
    """Its pictures until the end, or so many."""
    pictures: list[tuple[Picture, NDArray[np.uint8]]] = []
    with closing(ImagesSource(ImagesConfig(path=path, loop=loop))) as source:
        source.open()
        while len(pictures) < most and (picture := source.grab()):
            out = np.empty((picture.height, picture.width, 3), np.uint8)
            source.retrieve(out)
            pictures.append((picture, out))
    return pictures


def failure(path: Path) -> SourceError:
    with pytest.raises(SourceError) as raised:
        read(str(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    return raised.value


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF segment that holds this one tag (0x0112, a short), by Exif 2.3, section 4.5."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def test_a_folder_by_name_and_without_what_is_no_picture(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.bmp"):
        write_picture(tmp_path / name, plain(SIZE))
    (tmp_path / "labels.txt").write_text("person")
    (tmp_path / "z.png").mkdir()
    assert [picture.name for picture, _ in read(str(tmp_path))] == ["a.JPG", "b.png", "c.bmp"]


def test_a_list_in_its_order_and_a_loop(tmp_path: Path) -> None:
    paths = [str(write_picture(tmp_path / name, plain(SIZE))) for name in ("b.png", "a.png")]
    assert [picture.name for picture, _ in read(paths)] == ["b.png", "a.png"]
    assert [picture.name for picture, _ in read(paths, 3, loop=True)] == ["b.png", "a.png", "b.png"]


def test_pictures_of_any_size_and_depth_become_bgr24(tmp_path: Path) -> None:
    write_picture(tmp_path / "1-gray.png", np.full((5, 7), 200, np.uint8))
    cv2.imwrite(str(tmp_path / "2-deep.png"), np.full((1, 1, 3), 200 << 8, np.uint16))
    cv2.imwrite(str(tmp_path / "3-alpha.png"), np.full((8, 9, 4), 200, np.uint8))
    pictures = read(str(tmp_path))
    assert [(picture.format, picture.width, picture.height) for picture, _ in pictures] == [
        ("bgr24", 7, 5),
        ("bgr24", 1, 1),
        ("bgr24", 9, 8),
    ]
    assert all((pixels == 200).all() for _, pixels in pictures)


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path: Path) -> None:
    pixels = plain(SIZE, (0, 0, 0))
    pixels[:, :32] = RED  # left; turned clockwise by a quarter it is the top
    jpeg = write_picture(tmp_path / "a.jpg", pixels).read_bytes()
    (tmp_path / "a.jpg").write_bytes(with_orientation(jpeg, 6))
    ((picture, turned),) = read(str(tmp_path / "a.jpg"))
    assert (picture.width, picture.height) == (48, 64)
    assert turned[:28, :, 2].min() > 200
    assert turned[36:].max() < 50


def test_what_is_not_there(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.png").reason == "not_found"
    assert failure(tmp_path).reason == "not_found"
    with pytest.raises(SourceError, match="empty"):
        read([])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_picture_that_was_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    whole = write_picture(tmp_path / f"a{suffix}", pixels)
    assert failure(cut(whole, 0.5)).reason == "corrupt"


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture at all")
    assert failure(tmp_path / "a.jpg").reason == "corrupt"


def test_a_small_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    side = int(MOST_PIXELS**0.5) + 1
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    program = """
import sys
from agent.sources.images import ImagesConfig, ImagesSource
source = ImagesSource(ImagesConfig(path=sys.argv[1]))
source.open()
source.grab()
"""
    # in a process of its own, as in a camera worker: OpenCV reads the limit once, when it is loaded
    result = subprocess.run([sys.executable, "-c", program, tmp_path / "bomb.png"], capture_output=True, text=True, check=False)
    assert "million pixels" in result.stderr
