"""Class maps of segmentation, and their run-length encoding."""

import numpy as np
from numpy.typing import NDArray

from agent.core.types import Segments

NOTHING = -1  # of no class that is looked for
LARGEST_CLASS = 32766  # one more than it must still be an int16


def segments_in(class_map: NDArray[np.int16]) -> Segments:
    """The classes in a map, of which the number is at most `LARGEST_CLASS` and at least `NOTHING`, largest first."""
    pixels = np.bincount((class_map + 1).ravel())[1:]
    present = np.flatnonzero(pixels)
    order = present[np.argsort(-pixels[present], kind="stable")]
    return Segments(class_map, order.astype(np.int32), (pixels[order] / class_map.size).astype(np.float32))


def run_lengths(class_map: NDArray[np.int16], class_ids: NDArray[np.int32]) -> list[list[int]]:
    """For each of some classes the runs of its mask, down one column after the other: off, on, off, …

    They sum to h * w; the first is 0 where the first pixel is on. Source: the uncompressed RLE of cocodataset/cocoapi,
    common/maskApi.c (rleEncode).
    """
    pixels = class_map.T.ravel()
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    ends = np.append(starts[1:], len(pixels))
    classes = pixels[starts]
    return [_alternating(starts[on], ends[on], len(pixels)) for on in (classes == class_id for class_id in class_ids)]


def _alternating(starts: NDArray[np.intp], ends: NDArray[np.intp], total: int) -> list[int]:
    """Lengths off, on, off, … up to `total`, from where the runs that are on start and end."""
    edges = np.stack((starts, ends), axis=1).ravel()
    runs: list[int] = np.diff(edges, prepend=0, append=total).tolist()
    return runs if runs[-1] or len(runs) == 1 else runs[:-1]
