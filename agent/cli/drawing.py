"""Draws predictions onto pictures."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.types import Classes, Detections, Frame, Poses, Prediction, Segments

TO_BGR = {
    "rgb24": cv2.COLOR_RGB2BGR,
    "gray8": cv2.COLOR_GRAY2BGR,
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "yuv420p": cv2.COLOR_YUV2BGR_I420,
}
U8 = NDArray[np.uint8]
Label = Callable[[int], str]  # of a class id
FONT = cv2.FONT_HERSHEY_SIMPLEX
OPACITY = 0.45  # of a segment
LIKELY_POINT = 0.3  # least score of a key point that is drawn
COCO_BONES = (  # pairs of COCO's 17 points of a person: head, arms, trunk, legs
    *((0, 1), (0, 2), (1, 3), (2, 4)),
    *((5, 7), (7, 9), (6, 8), (8, 10)),
    *((5, 6), (5, 11), (6, 12), (11, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
)
GOLDEN_ANGLE = 0.381966  # of a full turn: neighbouring class ids get colours far apart


def annotated(frame: Frame, prediction: Prediction, label: Label) -> NDArray[np.uint8]:
    """A copy of the frame, bgr24 (h, w, 3), with what was found in it, and the labels of that."""
    bgr = cv2.cvtColor(frame.pixels, TO_BGR[frame.format]) if frame.format in TO_BGR else frame.pixels.copy()
    picture = np.asarray(bgr, np.uint8)
    unit = max(1, round(min(frame.width, frame.height) / 400))  # line width in pixels
    match prediction:
        case Classes():
            _draw_classes(picture, prediction, label, unit)
        case Segments():
            _draw_segments(picture, prediction, label, unit)
        case _:
            _draw_objects(picture, prediction, label, unit)
    return picture


def _draw_classes(picture: U8, found: Classes, label: Label, unit: int) -> None:
    for line, (class_id, score) in enumerate(zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)):
        _text(picture, f"{label(class_id)} {score:.2f}", (4 * unit, 16 * unit * (line + 1)), _color(class_id), unit)


def _draw_objects(picture: U8, found: Detections | Poses, label: Label, unit: int) -> None:
    boxes = found.boxes.round().astype(int).tolist()
    for i in reversed(range(len(found))):  # the best on top
        box, class_id, score = boxes[i], int(found.class_ids[i]), float(found.scores[i])
        cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:]), _color(class_id), 2 * unit, cv2.LINE_AA)
        if isinstance(found, Poses):
            _draw_points(picture, found.points[i], unit)
        _text(picture, f"{label(class_id)} {score:.2f}", (box[0], max(box[1], 14 * unit)), _color(class_id), unit)


def _draw_points(picture: U8, points: NDArray[np.float32], unit: int) -> None:
    """The likely ones of an object's points, each in a colour of its own, and what joins them where they are a person's in COCO."""
    places = points[:, :2].round().astype(int).tolist()
    likely = points[:, 2] >= LIKELY_POINT
    for a, b in COCO_BONES if len(points) == 17 else ():
        if likely[a] and likely[b]:
            cv2.line(picture, places[a], places[b], (255, 255, 255), 2 * unit, cv2.LINE_AA)
    for i in np.flatnonzero(likely).tolist():
        cv2.circle(picture, places[i], 3 * unit, _color(i), cv2.FILLED, cv2.LINE_AA)


def _draw_segments(picture: U8, found: Segments, label: Label, unit: int) -> None:
    """Each class as a translucent area with an outline, its label where the area is widest."""
    height, width = picture.shape[:2]
    for class_id in found.class_ids.tolist():
        on = (found.class_map == class_id).astype(np.uint8)
        smooth = cv2.resize(on * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 127
        picture[smooth] = (picture[smooth] * (1 - OPACITY) + np.array(_color(class_id)) * OPACITY).astype(np.uint8)
        outlines, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, outlines, -1, _color(class_id), unit, cv2.LINE_AA)
    for class_id, area in reversed(list(zip(found.class_ids.tolist(), found.areas.tolist(), strict=True))):
        row, column = _widest(found.class_map == class_id)
        corner = round(column * width), max(round(row * height), 14 * unit)
        _text(picture, f"{label(class_id)} {area * 100:.1f} %", corner, _color(class_id), unit)


def _widest(on: NDArray[np.bool_]) -> tuple[float, float]:
    """Where a mask is farthest from its edge: row and column, as fractions of its height and width."""
    inside = cv2.distanceTransform(np.pad(on, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(inside.argmax(), on.shape)
    return (int(row) + 0.5) / on.shape[0], (int(column) + 0.5) / on.shape[1]


def _text(picture: U8, text: str, corner: tuple[int, int], color: tuple[int, int, int], unit: int) -> None:
    """Black on a filled box whose lower left corner is `corner`, or as far to the left as it takes to be seen."""
    scale = 0.45 * unit
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, unit)
    x, y = max(0, min(corner[0], picture.shape[1] - width - 2 * unit)), corner[1]
    cv2.rectangle(picture, (x, y - height - baseline - unit), (x + width + 2 * unit, y), color, cv2.FILLED)
    cv2.putText(picture, text, (x + unit, y - baseline), FONT, scale, (0, 0, 0), unit, cv2.LINE_AA)


def _color(class_id: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb((class_id * GOLDEN_ANGLE) % 1.0, 0.6, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)
