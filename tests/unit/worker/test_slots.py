import os

import numpy as np
import pytest

from agent.worker.slots import SharedSlots


def test_both_ends_see_the_same_memory() -> None:
    ours = SharedSlots.create("test", 2, 100)
    theirs = SharedSlots(os.dup(ours.descriptor), 2, ours.slot_bytes)
    ours.array(1, (4, 5), "float32")[:] = 7.5
    assert np.array_equal(theirs.array(1, (4, 5), "float32"), np.full((4, 5), 7.5, np.float32))
    assert not theirs.array(0, (100,)).any()
    ours.close()
    theirs.close()


def test_nobody_can_change_its_size() -> None:
    slots = SharedSlots.create("test", 1, 4096)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(slots.descriptor, size)
    slots.close()


def test_a_descriptor_of_another_size_is_refused() -> None:
    slots = SharedSlots.create("test", 1, 4096)
    with pytest.raises(ValueError, match="4096 bytes instead of 8192"):
        SharedSlots(slots.descriptor, 2, 4096)
    slots.close()


@pytest.mark.parametrize(
    ("slot", "shape", "offset"),
    [(2, (1,), 0), (-1, (1,), 0), (0, (129,), 0), (0, (1,), 128), (0, (1,), -1), (0, (-1,), 0), (0, (2**40,), 0)],
)
def test_arrays_stay_inside_their_slot(slot: int, shape: tuple[int, ...], offset: int) -> None:
    slots = SharedSlots.create("test", 2, 128)
    with pytest.raises(ValueError, match="outside"):
        slots.array(slot, shape, offset=offset)
    slots.close()


def test_arrays_outlive_the_descriptor() -> None:
    slots = SharedSlots.create("test", 1, 64)
    array = slots.array(0, (64,))
    slots.close()
    del slots
    array[:] = 3
    assert array.sum() == 192
