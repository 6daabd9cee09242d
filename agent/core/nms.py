"""Non-maximum suppression in numpy."""

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # boxes that are settled among themselves at a time; of several classes, if these are small
WINDOW = 1024  # boxes that are compared with the kept ones at a time: BLOCK x WINDOW floats stay in a core's cache
BEST = 8  # times the boxes that are asked for: with so many of the best, there are mostly enough that stay


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    iou: float,
    class_agnostic: bool,
    max_detections: int,
) -> NDArray[np.intp]:
    """Indices of the boxes to keep, best first: greedily, each one unless a better kept one overlaps it by more than `iou`.

    boxes: (n, 4) float32, x1 y1 x2 y2, finite. scores: (n,) float32; of equals the lower index goes first. class_ids: (n,) int32;
    boxes of different classes leave one another alone unless `class_agnostic`. Boxes without area overlap nothing, not even one
    another. At most `max_detections`. Memory grows with n, never with n x n.
    """
    order = np.argsort(-scores, kind="stable")
    if class_agnostic:
        class_ids = np.zeros_like(class_ids)
    best = max(BLOCK, BEST * max_detections)
    while True:  # what stays of the best does not depend on the others
        ranked = order[:best]
        stay = ranked[_survivors(boxes.take(ranked, 0), class_ids.take(ranked), iou, max_detections)]
        if len(stay) >= max_detections or best >= len(order):
            return stay[:max_detections]
        best *= 4


def _survivors(boxes: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float, room: int) -> NDArray[np.intp]:
    """Which of n ranked boxes stay, in their order; of a large class its `room` best."""
    n = len(boxes)
    overlaps = _Overlaps(iou, min(n, BLOCK) * min(n, WINDOW))
    if n <= BLOCK:
        return np.array(_greedy(overlaps.apart_within(_columns(boxes), class_ids)), np.intp)
    by_class = np.argsort(class_ids, kind="stable")
    columns, class_ids = _columns(boxes[by_class]), class_ids[by_class]
    stay = []
    for start, end in _groups(class_ids):
        group = columns[:, start:end]
        if end - start <= BLOCK:
            found = np.array(_greedy(overlaps.apart_within(group, class_ids[start:end])), np.intp)
        else:
            found = _survivors_of_one_class(group, overlaps, room)
        stay.append(by_class[start + found])
    return np.sort(np.concatenate(stay))


def _groups(class_ids: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Sorted class ids cut into ranges of whole classes: one class, or several that have at most `BLOCK` boxes together."""
    ends = [*(np.flatnonzero(np.diff(class_ids)) + 1).tolist(), len(class_ids)]
    groups = []
    start = last = 0
    for end in ends:
        if end - start > BLOCK and last > start:
            groups.append((start, last))
            start = last
        last = end
    return [*groups, (start, last)]


def _survivors_of_one_class(columns: NDArray[np.float32], overlaps: "_Overlaps", room: int) -> NDArray[np.intp]:
    """Which of n ranked boxes stay, at most `room`."""
    n = columns.shape[1]
    kept: list[NDArray[np.intp]] = []
    for start in range(0, n, WINDOW):
        window = np.arange(start, min(start + WINDOW, n))
        for better in kept:
            window = window[overlaps.apart(columns.take(better, 1), columns.take(window, 1)).all(axis=0)]
        while len(window):
            block, window = window[:BLOCK], window[BLOCK:]
            rows = columns.take(block, 1)
            stay = _greedy(overlaps.apart(rows, rows))[:room]
            kept.append(block[stay])
            room -= len(stay)
            if room == 0:
                return np.concatenate(kept)
            if len(window):
                window = window[overlaps.apart(rows.take(stay, 1), columns.take(window, 1)).all(axis=0)]
    return np.concatenate(kept)


def _columns(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, n): x1, y1, x2, y2 and area of n boxes."""
    columns = np.empty((5, len(boxes)), np.float32)
    columns[:4] = boxes.T
    np.multiply(columns[2] - columns[0], columns[3] - columns[1], out=columns[4])
    return columns


class _Overlaps:
    """Compares boxes with boxes, in memory of its own that is used again and again: fresh memory costs more than the arithmetic."""

    def __init__(self, iou: float, most: int) -> None:
        """most: pairs at a time."""
        self._iou = iou
        self._a, self._b, self._c = np.empty((3, most), np.float32)
        self._apart = np.empty(most, np.bool_)

    def apart(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(n, m): whether n boxes leave m others alone: intersection <= iou * union. Columns in; valid until the next call."""
        shape = (a.shape[1], b.shape[1])
        pairs = shape[0] * shape[1]
        left, width, height = (memory[:pairs].reshape(shape) for memory in (self._a, self._b, self._c))
        np.minimum(a[2, :, None], b[2], out=width)
        np.maximum(a[0, :, None], b[0], out=left)
        np.maximum(width, left, out=width)
        width -= left  # 0 where they are apart
        np.minimum(a[3, :, None], b[3], out=height)
        height -= np.maximum(a[1, :, None], b[1], out=left)
        width *= height  # the intersection, at most 0 where they are apart, which is below any union
        union = np.add(a[4, :, None], b[4], out=height)
        union -= width
        union *= self._iou
        apart = self._apart[:pairs].reshape(shape)
        np.less_equal(width, union, out=apart)
        return apart

    def apart_within(self, columns: NDArray[np.float32], class_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n, n): whether n boxes leave one another alone, as those of different classes do."""
        apart = self.apart(columns, columns)
        apart |= class_ids[:, None] != class_ids
        return apart


def _greedy(apart: NDArray[np.bool_]) -> list[int]:
    """Which of n ranked boxes stay, given the (n, n) matrix of who leaves whom alone. Sets of boxes are integers, a bit a box."""
    n, width = len(apart), (len(apart) + 7) // 8
    rows = np.packbits(apart, axis=1, bitorder="little").tobytes()
    left = (1 << n) - 1
    stay = []
    while left:
        best = left & -left
        i = best.bit_length() - 1
        stay.append(i)
        left = (left ^ best) & int.from_bytes(rows[i * width : (i + 1) * width], "little")
    return stay
