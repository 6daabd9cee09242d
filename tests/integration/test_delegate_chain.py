"""A model whose delegates crash, or come and go, in real workers: it moves down its chain and up again."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import pytest

from agent.errors import BundleError
from agent.runtimes import Delegate, ModelReport
from agent.worker.chain import ChainPolicy
from agent.worker.model import ModelWorker
from agent.worker.spawner import Spawner
from tests.faulty import ask, faulty_plan, faulty_variant, faulty_worker, submit
from tests.faulty_runtime import FINE, PICTURE
from tests.processes import children
from tests.waiting import wait_until

CRASHING, CPU, ABSENT = Delegate("crashing"), Delegate("cpu"), Delegate("absent")
SOON = ChainPolicy(strikes=2, within_s=600.0, clean_s=1.0)
LATE = ChainPolicy(strikes=2, within_s=600.0, clean_s=600.0)


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


@dataclass
class Places:
    """On what a worker has been seen to run, in order: the app's view of it."""

    seen: list[str] = field(default_factory=list)

    def note(self, worker: ModelWorker) -> None:
        if worker.state == "running" and worker.report is not None:
            self.seen.append(worker.report.delegate)


def test_strikes_move_it_down_and_frames_go_on(spawner: Spawner) -> None:
    places = Places()
    worker = faulty_worker(spawner, places.note, delegates=(CRASHING, CPU), policy=LATE)
    try:
        assert [ask(worker, PICTURE).prediction is not None for _ in range(4)] == [False, False, True, True]
        assert places.seen == ["crashing", "crashing", "cpu"]
        assert [rung.delegate.name for rung in worker.fallen] == ["crashing"]
        assert (worker.restarts, worker.rung) == (2, 1)
    finally:
        worker.close()


def test_what_no_head_takes_is_a_strike_too(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, delegates=(CRASHING, Delegate("wrong"), CPU), policy=LATE)
    try:
        assert [ask(worker, PICTURE).prediction is not None for _ in range(6)] == [False] * 4 + [True] * 2
        assert [rung.delegate.name for rung in worker.fallen] == ["crashing", "wrong"]
    finally:
        worker.close()


def test_a_delegate_whose_warm_up_no_head_takes_is_passed_over(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, delegates=(Delegate("useless"), CPU))
    try:
        assert ask(worker, PICTURE).prediction is not None
        assert (worker.rung, worker.restarts) == (1, 0)
        assert worker.refused == {"useless": "the scores are upside down"}
    finally:
        worker.close()
    assert children(os.getpid()) == []


def test_without_an_alternative_it_is_restarted_for_ever(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, delegates=(CRASHING,), policy=LATE)
    try:
        assert [ask(worker, PICTURE).prediction for _ in range(5)] == [None] * 5
        assert ask(worker, FINE).prediction is not None
        assert worker.fallen == ()
    finally:
        worker.close()


def test_a_delegate_that_comes_back_is_taken_without_losing_a_frame(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    places = Places()
    up = threading.Event()

    def changed(worker: ModelWorker) -> None:
        places.note(worker)
        if places.seen[-1:] == ["plugged"]:
            up.set()

    plugged = Delegate("plugged", options={"file": str(plug)})
    worker = faulty_worker(spawner, changed, delegates=(plugged, CPU), policy=SOON)
    try:
        assert ask(worker, PICTURE).prediction is not None
        assert list(worker.refused) == ["plugged"]
        plug.touch()
        while not up.is_set():  # a stream of frames, until the better worker has taken over
            assert ask(worker, PICTURE).prediction is not None
        assert ask(worker, PICTURE).prediction is not None
        assert places.seen == ["cpu", "plugged"]
        assert (worker.restarts, worker.rung, worker.refused) == (0, 0, {})
    finally:
        worker.close()


def test_a_better_worker_of_the_same_variant_takes_the_slots_that_are_out(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    worker = faulty_worker(spawner, delegates=(Delegate("plugged", options={"file": str(plug)}), CPU), policy=SOON)
    try:
        kept = worker.acquire(20)
        assert kept is not None
        plug.touch()
        wait_until(lambda: worker.rung == 0, "the change, beside a slot that is out")
        assert ask(worker, PICTURE).prediction is not None
        assert submit(worker, kept, PICTURE).prediction is not None
    finally:
        worker.close()


def coral_or_cpu(spawner: Spawner, folder: Path) -> tuple[ModelWorker, Path]:
    """A started worker with a variant for a delegate that is there once a file is, and one for the CPU; and that file."""
    plug = folder / "plug"
    plugged = Delegate("plugged", options={"file": str(plug)})
    plan = faulty_plan(faulty_variant((plugged,), "coral", strict=True), faulty_variant((CPU,), "cpu"))
    worker = ModelWorker("faulty", plan, 2, spawner, policy=SOON)
    worker.start()
    return worker, plug


def test_a_better_worker_of_another_variant_waits_for_the_slots_that_are_out(spawner: Spawner, tmp_path: Path) -> None:
    worker, plug = coral_or_cpu(spawner, tmp_path)
    try:
        first, second = worker.acquire(20), worker.acquire(20)
        assert first is not None
        assert second is not None
        plug.touch()
        worker.give_back(first)
        wait_until(lambda: not _may_take(worker), "the better worker")
        assert worker.rung == 1
        worker.give_back(second)
        wait_until(lambda: worker.rung == 0, "the change")
        assert ask(worker, PICTURE).prediction is not None
    finally:
        worker.close()


def _may_take(worker: ModelWorker) -> bool:
    slot = worker.acquire(0.01)
    if slot is not None:
        worker.give_back(slot)
    return slot is not None


def test_after_the_fall_the_way_up_is_tried_again(spawner: Spawner) -> None:
    places = Places()
    again = threading.Event()

    def changed(worker: ModelWorker) -> None:
        places.note(worker)
        if places.seen[-2:] == ["cpu", "crashing"]:
            again.set()

    worker = faulty_worker(spawner, changed, delegates=(CRASHING, CPU), policy=SOON)
    try:
        for _ in range(2):
            assert ask(worker, PICTURE).prediction is None
        assert again.wait(20)
        assert worker.fallen == ()
        assert ask(worker, FINE).prediction is not None
    finally:
        worker.close()


def test_a_delegate_that_crashes_does_not_hide_a_better_one_after_it(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    plugged = Delegate("plugged", options={"file": str(plug)})
    worker = faulty_worker(spawner, delegates=(Delegate("dying"), plugged, CPU), policy=SOON)
    try:
        assert ask(worker, PICTURE).prediction is not None
        assert worker.rung == 2
        plug.touch()
        wait_until(lambda: worker.rung == 1, "the way up past the one that crashes")
        assert ask(worker, PICTURE).prediction is not None
    finally:
        worker.close()
    assert children(os.getpid()) == []


def test_a_way_up_in_vain_leaves_nothing_behind(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, delegates=(ABSENT, CPU), policy=SOON)
    try:
        assert worker.spec(20) is not None
        pid = worker.pid
        wait_until(lambda: len(children(os.getpid())) == 2, "a try beside it")
        wait_until(lambda: len(children(os.getpid())) == 1, "its end")
        assert worker.pid == pid
        assert ask(worker, PICTURE).prediction is not None
    finally:
        worker.close()
    assert children(os.getpid()) == []


def test_the_chain_goes_on_to_another_variant(spawner: Spawner) -> None:
    coral = faulty_variant((CRASHING,), "coral", strict=True)
    plan = faulty_plan(coral, faulty_variant((CRASHING, CPU), "cpu"))
    specs = []
    worker = ModelWorker("faulty", plan, 2, spawner, lambda worker: specs.append(worker.known_spec), policy=LATE)
    worker.start()
    try:
        kept = worker.acquire(20)
        assert kept is not None
        assert kept.spec.variant == "coral"
        answers = [ask(worker, PICTURE).prediction is not None for _ in range(5)]
        assert answers == [False, False, False, False, True]
        slot = worker.acquire(20)
        assert slot is not None
        assert (slot.spec.variant, worker.known_spec) == ("cpu", slot.spec)
        outcomes: list[object] = []
        worker.submit(kept, slot.spec.thresholds, lambda outcome: outcomes.append(outcome.prediction))
        assert outcomes == [None]  # it was made for the other variant
        worker.give_back(slot)
        assert [rung.variant for rung in worker.fallen] == [0, 1]
    finally:
        worker.close()


def test_the_way_up_leads_back_to_the_better_variant(spawner: Spawner, tmp_path: Path) -> None:
    worker, plug = coral_or_cpu(spawner, tmp_path)
    try:
        assert ask(worker, PICTURE).prediction is not None
        assert worker.known_spec is not None
        assert worker.known_spec.variant == "cpu"
        plug.touch()
        while worker.rung:
            assert ask(worker, PICTURE).prediction is not None
        assert ask(worker, PICTURE).prediction is not None
        assert worker.known_spec.variant == "coral"
        slots = [worker.acquire(20), worker.acquire(20)]
        assert [slot.spec.variant for slot in slots if slot] == ["coral", "coral"]
    finally:
        worker.close()


def test_a_variant_whose_delegate_is_not_there_is_passed_over(spawner: Spawner) -> None:
    plan = faulty_plan(faulty_variant((ABSENT,), "coral", strict=True), faulty_variant((ABSENT, CPU), "cpu"))
    worker = ModelWorker("faulty", plan, 2, spawner)
    worker.start()
    try:
        spec = worker.spec(20)
        assert spec is not None
        assert spec.variant == "cpu"
        assert worker.refused == {
            "absent of variant coral": "none of the delegates is there",
            "absent of variant cpu": "it is not there",
        }
    finally:
        worker.close()


def test_each_variant_that_is_passed_over_is_told(spawner: Spawner) -> None:
    def unresolved(_report: ModelReport) -> NoReturn:
        raise BundleError("the bundle says otherwise")

    plan = faulty_plan(
        faulty_variant((CPU,), "fp16", path="broken"),
        replace(faulty_variant((CPU,), "int8"), resolve=unresolved),
        faulty_variant((CPU,), "fp32"),
    )
    worker = ModelWorker("faulty", plan, 2, spawner)
    worker.start()
    try:
        spec = worker.spec(20)
        assert spec is not None
        assert (spec.variant, worker.rung) == ("fp32", 2)
        assert worker.refused == {"cpu of variant fp16": "no model", "cpu of variant int8": "the bundle says otherwise"}
    finally:
        worker.close()


def test_where_no_variant_serves_each_is_named(spawner: Spawner) -> None:
    plan = faulty_plan(faulty_variant((ABSENT,), "coral", strict=True), faulty_variant((ABSENT,), "npu", strict=True))
    worker = ModelWorker("faulty", plan, 2, spawner)
    worker.start()
    try:
        with pytest.raises(BundleError, match=r"^faulty/bundle.yaml: no variant serves here: coral: .*; npu: .*$"):
            worker.spec(20)
    finally:
        worker.close()


def test_closing_ends_a_try_that_hangs(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    plugged = Delegate("plugged", options={"file": str(plug)})
    plan = faulty_plan(faulty_variant((plugged,), "slow", path="hang", strict=True), faulty_variant((CPU,), "cpu"))
    worker = ModelWorker("faulty", plan, 2, spawner, policy=SOON)
    worker.start()
    assert worker.spec(20) is not None
    plug.touch()
    wait_until(lambda: len(children(os.getpid())) == 2, "the try")
    worker.close()
    assert children(os.getpid()) == []
