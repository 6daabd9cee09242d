"""Non-maximum suppression in numpy."""

import numpy as np
from numpy.typing import NDArray

WINDOW = 1024  # candidates that are compared with the kept ones at a time
BLOCK = 128  # the best of them, settled among themselves; BLOCK x WINDOW floats stay in a core's cache


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
    another. Stops at `max_detections`. Memory grows with n, never with n x n.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = np.empty((6, len(order)), np.float32)  # x1, y1, x2, y2, area, class (exact below 2**24)
    ranked[:4] = boxes[order].T
    np.multiply(ranked[2] - ranked[0], ranked[3] - ranked[1], out=ranked[4])
    ranked[5] = 0 if class_agnostic else class_ids[order]

    kept: list[NDArray[np.intp]] = []
    room = max_detections
    for start in range(0, len(order), WINDOW):
        window = np.arange(start, min(start + WINDOW, len(order)))
        for better in kept:
            window = window[_apart(ranked[:, better], ranked[:, window], iou).all(axis=0)]
        while len(window):
            block, window = window[:BLOCK], window[BLOCK:]
            rows = ranked[:, block]
            best = block[_greedy(_apart(rows, rows, iou))[:room]]
            kept.append(best)
            room -= len(best)
            if room == 0:
                return order[np.concatenate(kept)]
            if len(window):
                window = window[_apart(ranked[:, best], ranked[:, window], iou).all(axis=0)]
    return order[np.concatenate(kept)] if kept else order


def _apart(a: NDArray[np.float32], b: NDArray[np.float32], iou: float) -> NDArray[np.bool_]:
    """(n, m): whether n boxes leave m others alone: intersection <= iou * union, or another class. a, b: columns of `ranked`."""
    overlap = np.minimum(a[2, :, None], b[2])
    overlap -= np.maximum(a[0, :, None], b[0])
    np.maximum(overlap, 0, out=overlap)
    height = np.minimum(a[3, :, None], b[3])
    height -= np.maximum(a[1, :, None], b[1])
    overlap *= height  # at most 0 where they are apart, which is below any union
    union = np.add(a[4, :, None], b[4], out=height)
    union -= overlap
    union *= iou
    apart: NDArray[np.bool_] = overlap <= union
    apart |= a[5, :, None] != b[5]
    return apart


def _greedy(apart: NDArray[np.bool_]) -> list[int]:
    """Which of n ranked boxes stay, given the (n, n) matrix of who leaves whom alone."""
    alive = np.ones(len(apart), np.bool_)
    stay = []
    for i, row in enumerate(apart):
        if alive[i]:
            stay.append(i)
            alive &= row
    return stay
