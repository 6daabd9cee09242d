"""The last minute of the demo as an annotated video: the belt is drawn once more, with what the messages said of it and by which
model.
"""

from collections.abc import Sequence
from contextlib import closing

import cv2
import numpy as np

from agent.cli.album import Album
from agent.core.types import Detections, Frame
from agent.progress import Progress
from agent.publish.messages import DetectResult
from agent.sources.belt import Belt

SOURCE = "belt"
CORNER, BLACK = (12, 30), (0, 0, 0)  # of the model's version, on the upper rail
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
    cv2.putText(pixels, f"{result.model.name} {result.model.version}", CORNER, cv2.FONT_HERSHEY_SIMPLEX, 0.8, BLACK, 2, cv2.LINE_AA)
    return Frame(pixels, "bgr24", width, height, result.frame_seq, 0, 0, SOURCE)


def _detections(result: DetectResult) -> Detections:
    size = np.array([result.frame.width, result.frame.height] * 2, np.float32)
    found = result.detections
    return Detections(
        np.array([one.box for one in found], np.float32).reshape(-1, 4) * size,
        np.array([one.score for one in found], np.float32),
        np.array([one.class_id for one in found], np.int32),
    )
