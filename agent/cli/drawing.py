"""Draws predictions onto pictures."""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.spec import ModelSpec
from agent.core.types import Classes, Frame, Prediction

TO_BGR = {
    "rgb24": cv2.COLOR_RGB2BGR,
    "gray8": cv2.COLOR_GRAY2BGR,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "yuv420p": cv2.COLOR_YUV2BGR_I420,
}
FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN_ANGLE = 0.381966  # of a full turn: neighbouring class ids get colours far apart


def annotated(frame: Frame, prediction: Prediction, spec: ModelSpec) -> NDArray[np.uint8]:
    """A copy of the frame, bgr24 (h, w, 3), with its boxes and labels, or its classes."""
    bgr = cv2.cvtColor(frame.pixels, TO_BGR[frame.format]) if frame.format in TO_BGR else frame.pixels.copy()
    picture = np.asarray(bgr, np.uint8)
    unit = max(1, round(min(frame.width, frame.height) / 400))  # line width in pixels
    if isinstance(prediction, Classes):
        for line, (class_id, score) in enumerate(zip(prediction.class_ids.tolist(), prediction.scores.tolist(), strict=True)):
            _text(picture, f"{spec.label(class_id)} {score:.2f}", (4 * unit, 16 * unit * (line + 1)), _color(class_id), unit)
        return picture
    boxes = prediction.boxes.round().astype(int).tolist()
    found = list(zip(boxes, prediction.class_ids.tolist(), prediction.scores.tolist(), strict=True))
    for box, class_id, score in reversed(found):  # the best on top
        cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), _color(class_id), 2 * unit, cv2.LINE_AA)
        _text(picture, f"{spec.label(class_id)} {score:.2f}", (box[0], max(box[1], 14 * unit)), _color(class_id), unit)
    return picture


def _text(picture: NDArray[np.uint8], text: str, corner: tuple[int, int], color: tuple[int, int, int], unit: int) -> None:
    """Black on a filled box whose lower left corner is `corner`, or as far to the left as it takes to be seen."""
    scale = 0.45 * unit
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, unit)
    x, y = max(0, min(corner[0], picture.shape[1] - width - 2 * unit)), corner[1]
    cv2.rectangle(picture, (x, y - height - baseline - unit), (x + width + 2 * unit, y), color, cv2.FILLED)
    cv2.putText(picture, text, (x + unit, y - baseline), FONT, scale, (0, 0, 0), unit, cv2.LINE_AA)


def _color(class_id: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb((class_id * GOLDEN_ANGLE) % 1.0, 0.6, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)
