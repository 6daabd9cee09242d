"""Annotated pictures and videos in a folder."""

from pathlib import Path

import cv2

from agent.cli.drawing import annotated
from agent.core.spec import ModelSpec
from agent.core.types import Frame, Prediction
from agent.errors import UsageError

DEFAULT_FPS = 25.0


class Album:
    """Writes a picture for each picture, and one video for each stream. Names never clash with an input's."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; UsageError where that cannot be done."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--save {folder}: {error.strerror}") from None
        self._folder = folder
        self._videos: dict[tuple[str, int, int], cv2.VideoWriter] = {}
        self._names: set[str] = set()

    def add(self, frame: Frame, prediction: Prediction, spec: ModelSpec, fps: float) -> None:
        """Add a frame with what was seen in it. UsageError where it cannot be written."""
        picture = annotated(frame, prediction, spec)
        if not frame.name:
            self._video(frame, fps).write(picture)
            return
        path = self._new_name(Path(frame.name).stem, ".jpg")
        if not cv2.imwrite(str(path), picture):
            raise UsageError(f"--save {self._folder}: {path.name} cannot be written: is the disk full?")

    def close(self) -> None:
        """Finish the videos."""
        for video in self._videos.values():
            video.release()

    def _video(self, frame: Frame, fps: float) -> cv2.VideoWriter:
        key = (frame.source, frame.width, frame.height)
        if key not in self._videos:
            path = self._new_name(Path(frame.source).stem, ".mp4")
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            video = cv2.VideoWriter(str(path), codec, fps or DEFAULT_FPS, (frame.width, frame.height))
            if not video.isOpened():
                raise UsageError(f"--save {self._folder}: {path.name} cannot be written")
            self._videos[key] = video
        return self._videos[key]

    def _new_name(self, stem: str, suffix: str) -> Path:
        name, number = f"{stem}.annotated{suffix}", 1
        while name in self._names:
            number += 1
            name = f"{stem}.annotated-{number}{suffix}"
        self._names.add(name)
        return self._folder / name
