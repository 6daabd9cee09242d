"""Annotated pictures and videos in a folder."""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.cli.drawing import Label, annotated
from agent.core.types import Frame, Prediction
from agent.errors import OutputError, UsageError
from agent.sources.capture import Capture
from agent.sources.stderr import captured_stderr

DEFAULT_FPS = 25.0
READ_S = 10.0


class Album:
    """Writes a picture for each picture, and one video for each stream. Names never clash with an input's.

    What is not yet whole has `.part` in its name.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder; UsageError where that cannot be done."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--save {folder}: {error.strerror}; name a folder that can be written") from None
        self._folder = folder
        self._videos: dict[tuple[int, int, int], _Video] = {}
        self._names: set[str] = set()

    def add(self, number: int, frame: Frame, prediction: Prediction, label: Label, fps: float) -> None:
        """Add a frame with what was seen in it. number: of its source, two of which may have one name.

        OutputError where it cannot be written.
        """
        picture = annotated(frame, prediction, label)
        if frame.name:
            self._write(self._new_name(Path(frame.name).stem, ".jpg"), picture)
            return
        key = (number, frame.width, frame.height)
        if key not in self._videos:
            name = self._new_name(Path(frame.source).stem, ".mp4")
            self._videos[key] = _Video(self._folder / name, fps or DEFAULT_FPS, (frame.width, frame.height))
        if not self._videos[key].add(picture):
            raise self._not_written(self._videos[key].path.name)

    def close(self) -> None:
        """Finish the videos. OutputError, after all of them, where one did not reach the disk."""
        broken = [video.path.name for video in self._videos.values() if not video.finish()]
        self._videos.clear()
        if broken:
            raise self._not_written(", ".join(broken))

    def _not_written(self, names: str) -> OutputError:
        return OutputError(f"--save {self._folder}: {names} cannot be written: is the disk full?")

    def _write(self, name: str, picture: NDArray[np.uint8]) -> None:
        part = self._folder / f"{name}.part"
        _, jpeg = cv2.imencode(".jpg", picture)
        try:
            part.write_bytes(jpeg.tobytes())
            part.rename(self._folder / name)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise OutputError(f"--save {self._folder}: {name} cannot be written: {error.strerror}") from None

    def _new_name(self, stem: str, suffix: str) -> str:
        name, number = f"{stem}.annotated{suffix}", 1
        while name in self._names:
            number += 1
            name = f"{stem}.annotated-{number}{suffix}"
        self._names.add(name)
        return name


class _Video:
    """A video that is written."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.path = path
        self._part = path.with_suffix(".part.mp4")
        self._frames = 0
        self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            raise OutputError(f"--save {path.parent}: {path.name} cannot be written")

    def add(self, picture: NDArray[np.uint8]) -> bool:
        """Add a frame; False where OpenCV complains, which only its words on stderr tell, and not those of every version."""
        with captured_stderr() as said:
            self._writer.write(picture)
        self._frames += 1
        return not any("Failed to write" in line for line in said)

    def finish(self) -> bool:
        """Give it its name; False, and no file, where it is not whole."""
        with captured_stderr():
            self._writer.release()
        written = Capture(str(self._part), READ_S)
        whole = written.open(str(self._part.absolute()), cv2.CAP_FFMPEG) and written.frame_count == self._frames
        written.close()
        with suppress(OSError):
            if whole:
                self._part.rename(self.path)
                return True
            self._part.unlink()
        return False
