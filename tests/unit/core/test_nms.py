"""NMS against the greedy loop as it is usually told."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.core.nms import BEST, BLOCK, WINDOW, nms

Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


def greedy(candidates: Candidates, iou: float, class_agnostic: bool, max_detections: int) -> list[int]:
    boxes, scores, class_ids = candidates
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        for j in kept:
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            overlap = max(width, np.float32(0)) * max(height, np.float32(0))
            if overlap > np.float32(iou) * (areas[i] + areas[j] - overlap) and (class_agnostic or class_ids[i] == class_ids[j]):
                break
        else:
            kept.append(i)
    return kept[:max_detections]


def crowd(n: int, seed: int, classes: int = 3) -> Candidates:
    """Candidates around a few objects, some boxes and scores equal, some boxes without area."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, max(1, n // 15), n)
    centers = rng.uniform(0, 300, (n, 2))[which] + rng.normal(0, 5, (n, 2))
    sizes = np.maximum(rng.uniform(-5, 80, (n, 2))[which] + rng.normal(0, 5, (n, 2)), 0)
    boxes = np.concatenate((centers - sizes / 2, centers + sizes / 2), axis=1).round().astype(np.float32)
    scores = (rng.integers(1, 100, n) / 100).astype(np.float32)
    return boxes, scores, rng.integers(0, classes, n).astype(np.int32)


sizes = st.one_of(st.integers(0, 40), st.sampled_from([BLOCK, BLOCK + 1, 3 * BLOCK]))


@given(
    sizes,
    st.integers(0, 999),
    st.sampled_from([1, 3, 40]),
    st.sampled_from([0.0, 0.3, 0.45, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from([1, 5, 100, 5000]),
)
@settings(max_examples=200, deadline=None)
def test_equals_the_greedy_loop(n: int, seed: int, classes: int, iou: float, class_agnostic: bool, max_detections: int) -> None:
    candidates = crowd(n, seed, classes)
    kept = nms(*candidates, iou, class_agnostic, max_detections)
    assert kept.dtype == np.intp
    assert kept.tolist() == greedy(candidates, iou, class_agnostic, max_detections)


@pytest.mark.parametrize("classes", [1, 2, 80])
def test_equals_the_greedy_loop_over_several_windows(classes: int) -> None:
    candidates = crowd(2 * WINDOW + 10, 1, classes)
    assert nms(*candidates, 0.45, False, 5000).tolist() == greedy(candidates, 0.45, False, 5000)


@pytest.mark.parametrize("other", [BLOCK + 5, 300, 4 * BEST * 20 + 5])
def test_the_best_hide_one_another_and_others_are_asked_for(other: int) -> None:
    """Of the best, which are looked at first, too few stay."""
    boxes, scores, class_ids = crowd(4 * BEST * 20 + 200, seed=3)
    boxes[:other] = [0, 0, 100, 100]
    scores[:other] = 1
    candidates = boxes, scores, class_ids
    assert nms(*candidates, 0.45, False, 20).tolist() == greedy(candidates, 0.45, False, 20)


def test_no_candidates() -> None:
    kept = nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32), 0.5, False, 100)
    assert kept.shape == (0,)
    assert kept.dtype == np.intp


def test_equals_keep_the_lower_index_and_its_order() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32)
    scores = np.full(3, 0.5, np.float32)
    assert nms(boxes, scores, np.zeros(3, np.int32), 0.5, False, 100).tolist() == [0, 1]


def test_an_overlap_of_exactly_iou_is_kept() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32), 0.5, False, 100).tolist() == [0, 1]


def test_classes_leave_one_another_alone_even_far_from_the_origin() -> None:
    """Boxes are not moved apart by their class, which would cost them their precision."""
    boxes = np.array([[16000, 16000, 16010, 16010]] * 3, np.float32)
    scores = np.array([0.7, 0.8, 0.9], np.float32)
    class_ids = np.array([1, 1000, 1], np.int32)
    assert nms(boxes, scores, class_ids, 0.5, False, 100).tolist() == [2, 1]
    assert nms(boxes, scores, class_ids, 0.5, True, 100).tolist() == [2]


@pytest.mark.parametrize("odd", [(100, 100, 0, 200), (100, 200, 200, 100), (np.nan, 0, 10, 10)])
def test_a_box_that_is_none_suppresses_nothing_and_stays(odd: tuple[float, ...]) -> None:
    boxes = np.array([odd, (300, 300, 310, 310), (0, 0, 400, 400)], np.float32)
    kept = nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32), 0.5, class_agnostic=False, max_detections=9)
    assert kept.tolist() == [0, 1, 2]


def test_boxes_without_area_suppress_nothing() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 5, 10, 5], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert nms(boxes, scores, np.zeros(4, np.int32), 0.0, True, 100).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("max_detections", [100, 30_000])
def test_thirty_thousand_candidates_stay_far_below_a_matrix_of_them(max_detections: int) -> None:
    candidates = crowd(30_000, seed=2, classes=80)
    tracemalloc.start()
    try:
        kept = nms(*candidates, 0.45, False, max_detections)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < len(kept) <= max_detections
    assert peak < 32e6
    boxes, scores, class_ids = candidates
    assert (np.diff(scores[kept]) <= 0).all()
    assert len(nms(boxes[kept], scores[kept], class_ids[kept], 0.45, False, max_detections)) == len(kept)
