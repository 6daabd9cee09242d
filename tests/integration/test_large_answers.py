"""What is too large for a packet, through a real worker process."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Task, Thresholds
from agent.core.types import Poses, Prediction, Segments
from agent.errors import BundleError
from agent.runtimes import Delegate, ModelReport
from agent.worker.model import ModelWorker, Outcome
from agent.worker.spawner import Spawner
from agent.worker.starting import ModelPlan, Variant
from tests.large_runtime import PEOPLE, SIDE

TASKS: dict[str, Task] = {"segment": "segment", "yolo_pose": "keypoints"}
THRESHOLDS = Thresholds(score=0.2, iou=None, max_detections=PEOPLE)
DEADLINE_S = 60


@contextmanager
def worker(path: str, head: str) -> Iterator[ModelWorker]:
    def resolve(report: ModelReport) -> ModelSpec:
        picture = InputSpec((SIDE, SIDE), resize="stretch")
        return ModelSpec("m", "1.0.0", "0" * 64, TASKS[head], (), picture, report.inputs[0], HeadSpec(head), THRESHOLDS)

    variant = Variant("", path, "tests.large_runtime:LargeRuntime", resolve, (Delegate("cpu"),))
    plan = ModelPlan("large", (variant,), {}, 1, "all", 300 << 20)
    with closing(Spawner()) as spawner, closing(ModelWorker("large", plan, 2, spawner, restart=False)) as made:
        made.start()
        yield made


def ask(made: ModelWorker) -> Prediction | None:
    slot = made.acquire(DEADLINE_S)
    assert slot is not None
    outcomes: list[Outcome] = []
    answered = threading.Event()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        answered.set()

    made.submit(slot, THRESHOLDS, done)
    assert answered.wait(DEADLINE_S)
    return outcomes[0].prediction


def test_a_class_map_as_large_as_the_input() -> None:
    with worker(str(SIDE), "segment") as made:
        for _ in range(3):  # in both slots
            found = ask(made)
            assert isinstance(found, Segments)
            np.testing.assert_array_equal(found.class_map, np.ones((SIDE, SIDE)))


def test_a_class_map_larger_than_the_input_is_the_models_fault() -> None:
    with (
        worker(str(SIDE + 1), "segment") as made,
        pytest.raises(BundleError, match="a class map of 65x65, which is larger than its"),
    ):
        made.spec(DEADLINE_S)


def test_of_too_many_poses_the_best_come() -> None:
    with worker("people", "yolo_pose") as made:
        found = ask(made)
    assert isinstance(found, Poses)
    assert 800 < len(found) < PEOPLE
    assert found.points.shape == (len(found), 17, 3)
