"""Pictures in files."""

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.config import PICTURES, ImagesConfig
from agent.sources.stderr import captured_stderr

MOST_PIXELS = 1 << 27  # 400 MB decoded: a small file may claim to be any size
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))  # read once, when cv2 is loaded

import cv2  # noqa: E402  see above


class ImagesSource:
    """Each picture once and then the end, unless it loops; turned as its EXIF data says."""

    Config: ClassVar[type[ImagesConfig]] = ImagesConfig

    def __init__(self, config: ImagesConfig) -> None:
        self._config = config
        self._files: list[Path] = []
        self._next = 0
        self._pixels: NDArray[np.uint8] | None = None

    def open(self) -> None:
        """SourceError where a file or folder is not there or a folder has no pictures."""
        given = self._config.path
        self._files = [file for path in ([given] if isinstance(given, str) else given) for file in _files(Path(path))]
        if not self._files:
            raise SourceError("the list of pictures is empty", "not_found")

    def grab(self) -> Picture | None:
        """Decode the next picture."""
        if self._next == len(self._files):
            if not self._config.loop:
                return None
            self._next = 0
        file = self._files[self._next]
        self._next += 1
        self._pixels = _decode(file)
        height, width = self._pixels.shape[:2]
        return Picture("bgr24", width, height, os.fsencode(file.name).decode(errors="replace"))

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """(h, w, 3), BGR."""
        if self._pixels is not None:
            np.copyto(out, self._pixels)

    def close(self) -> None:
        """Free the last picture."""
        self._files = []
        self._next = 0
        self._pixels = None


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES and file.is_file())
        if not files:
            raise SourceError(f"folder {path} has no pictures", "not_found")
        return files
    if not path.is_file():
        raise SourceError(f"picture {path} is not there", "not_found")
    return [path]


def _decode(file: Path) -> NDArray[np.uint8]:
    """(h, w, 3) BGR. Of a cut-off JPEG the decoder fills in the rest; only its words on stderr tell."""
    with captured_stderr() as said:
        try:
            pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)
        except cv2.error:
            raise SourceError(
                f"picture {file} cannot be decoded, or has more than {MOST_PIXELS // 1_000_000} million pixels", "corrupt"
            ) from None
    if pixels is None or any("Premature end of JPEG" in line for line in said):
        problem = "is not there" if not file.is_file() else "cannot be decoded: it is damaged, or no picture"
        raise SourceError(f"picture {file} {problem}", "corrupt" if file.is_file() else "not_found")
    return pixels.astype(np.uint8, copy=False)
