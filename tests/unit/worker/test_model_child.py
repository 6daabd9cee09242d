"""What a model's process does with a model, without the process."""

import os
from contextlib import closing

import msgspec
import numpy as np
import pytest

from agent.core.spec import HeadSpec
from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import ModelReport, RuntimeOptions
from agent.worker import protocol
from agent.worker.model_child import Model, sendable
from agent.worker.protocol import Load, Loaded, Prepare, Slots, TensorView
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


def report(outputs: int, metadata: dict[str, str]) -> ModelReport:
    return ModelReport((), tuple(TensorSpec(f"output {i}", (1, 4), "float32") for i in range(outputs)), "cpu", {}, metadata)


@pytest.mark.parametrize("text", ["x" * 200_000, "é" * 70_000])
def test_of_too_much_metadata_the_longest_is_left_out(text: str) -> None:
    sent = sendable(report(2, {"names": "{0: 'a'}", "comment": text, "task": "detect"}))
    assert sent.metadata == {"names": "{0: 'a'}", "task": "detect"}
    assert len(sent.outputs) == 2


def test_what_fits_is_sent_whole() -> None:
    whole = report(2, {"names": "n" * 60_000, "comment": "c" * 60_000})
    assert sendable(whole) == whole
    assert len(msgspec.msgpack.encode(Loaded(0, whole))) < protocol.MAX_PACKET


def test_a_model_of_too_many_tensors_is_refused() -> None:
    with pytest.raises(BundleError, match="the model has 0 inputs and 5000 outputs, more than can be told"):
        sendable(report(5000, {}))
