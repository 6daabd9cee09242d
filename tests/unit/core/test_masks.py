"""Class maps and their runs, against COCO's own decoder and a plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from agent.core.masks import run_lengths, segments_in

maps = arrays(np.int16, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(-1, 3))


def decoded(runs: list[int], height: int, width: int) -> NDArray[np.bool_]:
    """As docs/mqtt.md tells a consumer to do it."""
    on = np.arange(len(runs)) % 2 == 1
    return np.repeat(on, runs).reshape(width, height).T


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, for numpy 2
@given(maps)
def test_runs_are_what_coco_reads(class_map: NDArray[np.int16]) -> None:
    height, width = class_map.shape
    class_ids = np.arange(4, dtype=np.int32)
    for class_id, runs in zip(class_ids, run_lengths(class_map, class_ids), strict=True):
        assert sum(runs) == height * width
        assert all(run > 0 for run in runs[1:])
        np.testing.assert_array_equal(decoded(runs, height, width), class_map == class_id)
        packed = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
        np.testing.assert_array_equal(coco.decode(packed), class_map == class_id)


@given(maps)
def test_segments_are_all_classes_of_a_map_largest_first(class_map: NDArray[np.int16]) -> None:
    found = segments_in(class_map)
    areas = {int(class_id): float((class_map == class_id).mean()) for class_id in np.unique(class_map) if class_id >= 0}
    assert found.class_ids.tolist() == sorted(areas, key=lambda class_id: (-areas[class_id], class_id))
    np.testing.assert_allclose(found.areas, [areas[class_id] for class_id in found.class_ids.tolist()], rtol=1e-6)
    assert [part.dtype.name for part in (found.class_map, found.class_ids, found.areas)] == ["int16", "int32", "float32"]


@pytest.mark.parametrize("which", [slice(1, None), np.array([False, True]), np.array([1])])
def test_segments_are_picked(which: NDArray[np.bool_] | slice) -> None:
    class_map = np.array([[2, 2, 5]], np.int16)
    found = segments_in(class_map)[which]
    assert len(found) == 1
    assert (found.class_ids.tolist(), found.class_map is class_map) == ([5], True)
    np.testing.assert_allclose(found.areas, [1 / 3], rtol=1e-6)


def test_nothing_there() -> None:
    assert len(segments_in(np.full((3, 4), -1, np.int16))) == 0
    assert run_lengths(np.full((3, 4), -1, np.int16), np.array([7], np.int32)) == [[12]]
    assert run_lengths(np.full((3, 4), 7, np.int16), np.array([7], np.int32)) == [[0, 12]]
