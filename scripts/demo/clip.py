"""The last minute of the demo as an annotated video: the belt is drawn once more, with what the messages said of it."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from agent.cli.album import Album
from agent.core.types import Detections, Frame
from agent.progress import Progress
from agent.publish.messages import DetectResult
from agent.sources.belt import Belt

SOURCE = "belt"
CLIP = f"{SOURCE}.annotated.mp4"


def save_clip(album: Album, belt: Belt, fps: float, results: Sequence[DetectResult]) -> None:
    """Write it into an album, as `CLIP`, and close that. OutputError where that fails."""
    labels = {one.class_id: one.label for result in results for one in result.detections}
    with closing(album), closing(Progress(len(results), "frames of the clip")) as progress:
        for done, result in enumerate(results, 1):
            album.add(0, _frame(belt, result), _detections(result), labels.__getitem__, fps)
            progress.show(done)


def _frame(belt: Belt, result: DetectResult) -> Frame:
    width, height = result.frame.width, result.frame.height
    pixels = np.empty((height, width, 3), np.uint8)
    belt.draw(result.frame_seq, pixels)
    return Frame(pixels, "bgr24", width, height, result.frame_seq, 0, 0, SOURCE)


def _detections(result: DetectResult) -> Detections:
    size = np.array([result.frame.width, result.frame.height] * 2, np.float32)
    found = result.detections
    return Detections(
        np.array([one.box for one in found], np.float32).reshape(-1, 4) * size,
        np.array([one.score for one in found], np.float32),
        np.array([one.class_id for one in found], np.int32),
    )
