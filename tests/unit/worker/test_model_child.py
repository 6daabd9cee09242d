"""What a model's process does with a model, without the process."""

import os
from contextlib import closing

import numpy as np

from agent.core.spec import HeadSpec
from agent.runtimes import RuntimeOptions
from agent.worker.model_child import Model
from agent.worker.protocol import Load, Prepare, Slots, TensorView
from agent.worker.slots import SharedSlots
from tests.large_runtime import SIDE

INPUT_BYTES, MAP_BYTES = SIDE * SIDE * 3, SIDE * SIDE * 2


def test_a_warm_up_leaves_the_slots_alone() -> None:
    """They may be those of a worker that serves, while a better one is tried beside it."""
    model = Model(Load(0, "tests.large_runtime:LargeRuntime", str(SIDE), RuntimeOptions()))
    with closing(SharedSlots.create("test", 2, INPUT_BYTES + MAP_BYTES)) as shared:
        slots = [shared.array(slot, (shared.slot_bytes,)) for slot in range(2)]
        for memory in slots:
            memory.fill(7)
        picture = TensorView(0, "uint8", (1, SIDE, SIDE, 3))
        prepare = Prepare(0, HeadSpec("segment"), (SIDE, SIDE), 0, [picture], INPUT_BYTES, Slots(0, 2, shared.slot_bytes))
        model.prepare(prepare, os.dup(shared.descriptor))
        assert all(np.all(memory == 7) for memory in slots)
