"""Non-maximum suppression in numpy."""

import numpy as np
from numpy.typing import NDArray

BLOCK = 128  # boxes that are settled among themselves at a time; of several classes, if these are small
WINDOW = 1024  # boxes that are compared with the kept ones at a time: four floats a pair stay in a core's cache
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
    if len(order) < 2:  # as in most pictures of most cameras
        return order
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
    memory = np.empty((2, 2 * min(n, BLOCK) * min(n, WINDOW)), np.float32)
    if n <= BLOCK:
        return _survivors_of_few(_columns(boxes), class_ids, iou, memory)
    by_class = np.argsort(class_ids, kind="stable")
    columns, class_ids = _columns(boxes[by_class]), class_ids[by_class]
    stay = []
    for start, end in _groups(class_ids):
        group = columns[:, start:end]
        if end - start <= BLOCK:
            found = _survivors_of_few(group, class_ids[start:end], iou, memory)
        else:
            found = _survivors_of_one_class(group, iou, room, memory)
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


def _survivors_of_few(
    columns: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float, memory: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Which of at most `BLOCK` ranked boxes stay, whatever their classes."""
    clash = _clash(columns, columns, iou, memory)
    clash &= class_ids[:, None] == class_ids
    return np.array(_greedy(clash), np.intp)


def _survivors_of_one_class(columns: NDArray[np.float32], iou: float, room: int, memory: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which of n ranked boxes stay, at most `room`."""
    n = columns.shape[1]
    kept: list[NDArray[np.intp]] = []
    for start in range(0, n, WINDOW):
        window = np.arange(start, min(start + WINDOW, n))
        for better in kept:
            window = window[~_clash(columns.take(better, 1), columns.take(window, 1), iou, memory).any(axis=0)]
        while len(window):
            block, window = window[:BLOCK], window[BLOCK:]
            rows = columns.take(block, 1)
            stay = _greedy(_clash(rows, rows, iou, memory))[:room]
            kept.append(block[stay])
            room -= len(stay)
            if room == 0:
                return np.concatenate(kept)
            if len(window):
                window = window[~_clash(rows.take(stay, 1), columns.take(window, 1), iou, memory).any(axis=0)]
    return np.concatenate(kept)


def _columns(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(5, n): x1, y1, x2, y2 and area of n boxes."""
    columns = np.empty((5, len(boxes)), np.float32)
    columns[:4] = boxes.T
    sides = columns[2:4] - columns[:2]
    np.maximum(sides, 0, out=sides)  # a box that ends before it begins has no area
    np.multiply(sides[0], sides[1], out=columns[4])
    return columns


def _clash(columns: NDArray[np.float32], others: NDArray[np.float32], iou: float, memory: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n, m): whether n boxes suppress m others: intersection > iou * union, which no NaN is.

    memory: (2, at least 2 * n * m), for what lies between; fresh memory would cost more than the arithmetic.
    """
    a, b = columns[:, :, None], others[:, None]
    pairs = (a.shape[1], b.shape[2])
    ends, starts = (part[: 2 * pairs[0] * pairs[1]].reshape(2, *pairs) for part in memory)
    np.minimum(a[2:4], b[2:4], out=ends)
    np.maximum(a[:2], b[:2], out=starts)
    np.maximum(ends, starts, out=ends)
    ends -= starts  # width and height, 0 where they are apart
    overlap, union = ends[0], starts[0]
    overlap *= ends[1]
    np.add(a[4], b[4], out=union)
    union -= overlap
    union *= iou
    clash: NDArray[np.bool_] = overlap > union
    return clash


def _greedy(clash: NDArray[np.bool_]) -> list[int]:
    """Which of n ranked boxes stay, given the (n, n) matrix of who suppresses whom. Sets of boxes are integers, a bit a box."""
    n, width = len(clash), (len(clash) + 7) // 8
    apart = np.packbits(~clash, axis=1, bitorder="little").tobytes()
    left = (1 << n) - 1
    stay = []
    while left:
        best = left & -left
        i = best.bit_length() - 1
        stay.append(i)
        left = (left ^ best) & int.from_bytes(apart[i * width : (i + 1) * width], "little")
    return stay
