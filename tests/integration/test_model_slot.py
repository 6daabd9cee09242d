"""Switches between real workers, under pipelines: every frame has one result of one model, in order."""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agent.bundles.load import open_variants
from agent.errors import WorkerError
from agent.pipeline.config import ModelConfig, PipelineConfig
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.models import make_worker
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.results import Origin
from agent.pipeline.shadow import EVERY
from agent.publish.messages import ClassifyResult
from agent.runtimes import Delegate
from agent.worker.model import ModelWorker, Outcome
from agent.worker.slot import Lease, ModelSlot
from agent.worker.spawner import Spawner
from agent.worker.watch import Pair, Switch
from tests.fakes import RecordingPublisher
from tests.faulty import THRESHOLDS, faulty_worker
from tests.faulty_runtime import PICTURE, SEGFAULT
from tests.frames import make_frame
from tests.processes import children, open_descriptors, wait_for_end
from tests.waiting import wait_until

MODELS = Path(__file__).parents[2] / "models"
OLD, NEW = "1.0.0", "2.0.0"
CRASHING = (Delegate("crashing"),)  # at each PICTURE
LONG_S = 20.0


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    with closing(Spawner()) as spawner:
        yield spawner


@pytest.fixture
def slot(spawner: Spawner) -> Iterator[ModelSlot]:
    """A slot whose model, OLD, runs."""
    with closing(ModelSlot("faulty")) as slot:
        slot.serve(faulty_worker(spawner, version=OLD))
        assert slot.spec(LONG_S) is not None
        yield slot


def candidate(spawner: Spawner, delegates: tuple[Delegate, ...] = (Delegate("cpu"),), version: str = NEW) -> ModelWorker:
    """A worker as vetting leaves it: warm, and not restarted."""
    worker = faulty_worker(spawner, restart=False, delegates=delegates, version=version)
    wait_until(lambda: worker.state == "running", "the candidate")
    return worker


def crashed(worker: ModelWorker | None) -> None:
    """End a worker's process, and wait until that is seen."""
    assert worker is not None
    worker.stop()
    assert worker.pid is not None
    wait_for_end(worker.pid)
    wait_until(lambda: worker.state in ("failed", "stopped"), "its end")


class Lane:
    """A pipeline on a slot; its source gives each frame once. faults: frame number to what it provokes."""

    def __init__(self, slot: ModelSlot, name: str = "main", in_flight: int = 2) -> None:
        self.publisher = RecordingPublisher()
        self.mailbox = Mailbox(live=False)
        self.pipeline = Pipeline(
            Origin("test", "1-0000", name, slot.name),
            PipelineConfig(source=name, model=slot.name),
            self.mailbox,
            slot,
            in_flight,
            self.publisher,
            name,
            lambda: True,
            lambda _found, _mono_ns: None,
        )
        self._next = 0
        self.pipeline.start()

    def feed(self, frames: int, fault: int = PICTURE) -> None:
        """Hand over so many frames; all but the last are taken when it returns."""
        for _ in range(frames):
            self.mailbox.put(make_frame(self._next, value=fault))
            self._next += 1

    def results(self) -> list[tuple[int, str]]:
        """Frame number and the model's version, in the order in which they came."""
        decoded = [msgspec.json.decode(message.payload, type=ClassifyResult) for message in self.publisher.messages]
        return [(result.frame_seq, result.model.version) for result in decoded]

    def answered(self, frames: int) -> None:
        """Wait until so many are answered."""
        wait_until(lambda: len(self.publisher.messages) >= frames, f"{frames} results")

    def end(self) -> list[tuple[int, str]]:
        """Let what is under way be answered; returns all results."""
        self.mailbox.end()
        self.pipeline.join()
        return self.results()


@pytest.fixture
def lane(slot: ModelSlot) -> Iterator[Lane]:
    lane = Lane(slot)
    yield lane
    lane.end()


def footprint() -> tuple[int, int, int]:
    gc.collect()
    return open_descriptors(), len(children(os.getpid())), threading.active_count()


def test_each_frame_has_one_result_in_order_whatever_is_switched(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    ended = threading.Event()

    def feed() -> None:
        while not ended.is_set():
            lane.feed(1)

    source = threading.Thread(target=feed)
    source.start()
    workers = [slot.worker]
    for turn in range(4):
        before = len(lane.publisher.messages)
        slot.switch(candidate(spawner, version=f"2.0.{turn}"), keep_standby=turn % 2 == 0, timeout_s=LONG_S)
        workers.append(slot.worker)
        lane.answered(before + 10)
        if turn % 2 == 0:
            slot.commit()
            slot.drop_standby()
    ended.set()
    source.join()
    results = lane.end()
    assert [worker.restarts for worker in workers if worker] == [0] * 5  # none was starved until its deadline
    assert [seq for seq, _ in results] == list(range(len(results)))
    versions = [version for _, version in results]
    assert versions == sorted(versions)
    assert len(set(versions)) == 5
    assert lane.mailbox.frames_in == len(results)
    assert lane.pipeline.counters.report().failed == 0
    switch = slot.last_switch()
    assert switch is not None
    assert switch.frames_lost == 0
    assert switch.gap_ms > 0


def test_what_a_crashing_candidate_had_is_answered_by_the_standby_in_order(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    lane.feed(3)
    lane.answered(3)
    before = footprint()
    slot.switch(candidate(spawner, CRASHING), keep_standby=True, timeout_s=LONG_S)
    assert slot.standby is not None
    lane.feed(10)
    lane.answered(13)
    assert lane.results() == [(seq, OLD) for seq in range(13)]
    assert isinstance(slot.fallen, WorkerError)
    assert slot.fallen.kind == "crashed"
    assert slot.state == "running"
    assert slot.watch.failures == ()  # of what serves now
    assert slot.watch.invoked > 0
    switch = slot.last_switch()
    assert switch is not None
    assert switch.frames_lost == 0
    with pytest.raises(WorkerError, match="SIGSEGV"):
        slot.commit()
    wait_until(lambda: footprint() == before, "the candidate's end")


def test_a_candidate_that_dies_while_nothing_is_asked_is_left_too(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
    lane.feed(1)
    lane.answered(1)
    assert slot.worker is not None
    assert slot.worker.pid is not None
    os.kill(slot.worker.pid, 9)
    wait_until(lambda: slot.fallen is not None, "the fall")
    lane.feed(1)
    lane.answered(2)
    assert lane.end() == [(0, NEW), (1, OLD)]


def test_a_frame_that_kills_both_is_lost_once(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
    lane.feed(1, SEGFAULT)
    wait_until(lambda: slot.fallen is not None, "the fall")
    lane.feed(2)
    lane.answered(1)
    results = lane.end()
    failed = lane.pipeline.counters.report().failed
    assert failed + len(results) == 3
    assert failed >= 1
    assert 0 not in [seq for seq, _ in results]


def test_the_last_frame_of_a_source_is_given_to_the_standby_too(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    slot.switch(candidate(spawner, CRASHING), keep_standby=True, timeout_s=LONG_S)
    lane.feed(2)
    assert lane.end() == [(0, OLD), (1, OLD)]


def test_without_a_standby_the_candidate_is_restarted_and_its_failures_are_counted(
    slot: ModelSlot, lane: Lane, spawner: Spawner
) -> None:
    slot.switch(candidate(spawner), keep_standby=False, timeout_s=LONG_S)
    lane.feed(1, SEGFAULT)
    wait_until(lambda: len(slot.watch.failures) == 1, "the crash")
    lane.feed(1)
    lane.answered(1)
    assert lane.end() == [(1, NEW)]
    assert lane.pipeline.counters.report().failed == 1
    assert slot.fallen is None


def test_a_committed_model_is_restarted_and_not_left(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
    slot.commit()
    lane.feed(1, SEGFAULT)
    wait_until(lambda: len(slot.watch.failures) == 1, "the crash")
    lane.feed(1)
    lane.answered(1)
    assert lane.end() == [(1, NEW)]
    assert slot.standby is not None


def test_the_former_model_comes_back_when_it_is_told_to(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    before = footprint()
    assert not slot.fall_back()
    slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
    lane.feed(5)
    assert slot.fall_back()
    lane.feed(5)
    lane.answered(10)
    results = lane.results()
    assert [seq for seq, _ in results] == list(range(10))
    assert (results[0][1], results[-1][1]) == (NEW, OLD)
    assert slot.fallen is None
    assert footprint() == before


def test_while_a_slot_is_vacant_its_pipelines_wait(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    lane.feed(3)
    lane.answered(3)
    former = slot.worker
    slot.vacate()
    assert former is not None
    assert slot.worker is None
    assert (slot.state, former.state) == ("absent", "stopped")
    assert slot.acquire(0) is None
    assert slot.spec(0) is None
    lane.feed(1)
    assert len(lane.results()) == 3
    slot.serve(faulty_worker(spawner, version=NEW))
    lane.feed(2)
    lane.answered(6)
    assert lane.results() == [(seq, OLD if seq < 3 else NEW) for seq in range(6)]
    switch = slot.last_switch()
    assert switch is not None
    assert switch.frames_lost == 0


def test_a_slot_may_begin_without_a_model(spawner: Spawner) -> None:
    with closing(ModelSlot("faulty")) as slot:
        lane = Lane(slot)
        lane.feed(1)
        assert slot.state == "absent"
        slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
        lane.answered(1)
        assert lane.end() == [(0, NEW)]
        assert slot.standby is None
        assert slot.last_switch() is None


def test_a_source_that_stands_still_holds_nothing_up(spawner: Spawner) -> None:
    with closing(ModelSlot("faulty")) as slot:
        slot.serve(faulty_worker(spawner, version=OLD))
        still, moving = Lane(slot, "still", in_flight=1), Lane(slot, "moving", in_flight=1)
        moving.feed(5)
        moving.answered(5)
        slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
        moving.feed(5)
        moving.answered(10)
        still.feed(1)
        still.answered(1)
        assert moving.end() == [(seq, OLD if seq < 5 else NEW) for seq in range(10)]
        assert still.end() == [(0, NEW)]


def test_pipelines_that_share_a_crashing_candidate_both_get_their_frames_back(spawner: Spawner) -> None:
    with closing(ModelSlot("faulty")) as slot:
        slot.serve(faulty_worker(spawner, version=OLD))
        lanes = [Lane(slot, name, in_flight=1) for name in ("one", "two")]
        slot.switch(candidate(spawner, CRASHING), keep_standby=True, timeout_s=LONG_S)
        feeding = [threading.Thread(target=lane.feed, args=(20,)) for lane in lanes]
        for thread in feeding:
            thread.start()
        for thread in feeding:
            thread.join()
        assert [lane.end() for lane in lanes] == [[(seq, OLD) for seq in range(20)]] * 2
        assert all(lane.pipeline.counters.report().failed == 0 for lane in lanes)


def test_one_frame_in_twenty_is_shown_to_the_standby(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
    lane.feed(2 * EVERY + 1)
    lane.answered(2 * EVERY)
    wait_until(lambda: len(slot.watch.pairs) == 2, "the standby's answers")
    figures = slot.watch
    assert figures.pairs == (Pair(1, 1), Pair(1, 1))
    assert figures.invoked >= 2 * EVERY
    assert figures.p50_ms is not None
    assert figures.memory_bytes > 1 << 20
    assert figures.fps > 0


def asked(lease: Lease, fault: int, done: Callable[[Outcome], None]) -> None:
    lease.slot.input.fill(fault)
    lease.worker.submit(lease.slot, THRESHOLDS, done)


def test_who_does_not_run_does_not_take_over(slot: ModelSlot, lane: Lane, spawner: Spawner) -> None:
    with closing(candidate(spawner)) as dead:
        crashed(dead)
        for keep_standby in (True, False):
            with pytest.raises(WorkerError, match="the candidate does not run"):
                slot.switch(dead, keep_standby=keep_standby, timeout_s=LONG_S)
    lane.feed(1)
    lane.answered(1)
    assert lane.end() == [(0, OLD)]
    assert slot.last_switch() is None


def test_who_has_given_up_does_not_serve(spawner: Spawner) -> None:
    with closing(ModelSlot("faulty")) as slot, closing(candidate(spawner)) as dead:
        assert dead.pid is not None
        os.kill(dead.pid, 9)
        wait_until(lambda: dead.given_up is not None, "its end")
        with pytest.raises(WorkerError, match=r"the candidate does not run: .*SIGKILL"):
            slot.serve(dead)
        assert slot.state == "absent"


def test_who_has_given_up_is_no_standby(spawner: Spawner) -> None:
    with closing(ModelSlot("faulty")) as slot:
        broken = faulty_worker(spawner, path="broken")
        slot.serve(broken)
        wait_until(lambda: slot.state == "failed", "its end")
        slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
        assert slot.standby is None
        assert broken.state == "failed"
        crashed_once = slot.worker
        assert crashed_once is not None
        assert crashed_once.pid is not None
        os.kill(crashed_once.pid, 9)
        wait_until(lambda: crashed_once.restarts == 1 and slot.state == "running", "the candidate again")


def test_what_does_not_come_to_rest_goes_on_serving(slot: ModelSlot, spawner: Spawner) -> None:
    lease = slot.acquire(LONG_S)
    assert lease is not None
    with closing(candidate(spawner)) as waiting:
        with pytest.raises(WorkerError, match="has not come to rest"):
            slot.switch(waiting, keep_standby=True, timeout_s=0.01)
        lease.worker.give_back(lease.slot)
        again = slot.acquire(LONG_S)
        assert again is not None
        assert again.worker is lease.worker
        again.worker.give_back(again.slot)


def test_a_model_that_is_being_restarted_is_left_at_once(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    plug.touch()
    plugged = (Delegate("plugged", options={"file": str(plug)}),)
    with closing(ModelSlot("faulty")) as slot:
        slot.serve(faulty_worker(spawner, delegates=plugged, version=OLD))
        lane = Lane(slot)
        lane.feed(1)
        lane.answered(1)
        lease = slot.acquire(LONG_S)
        assert lease is not None
        plug.unlink()
        assert lease.worker.pid is not None
        os.kill(lease.worker.pid, 9)
        wait_until(lambda: slot.state == "restarting", "the crash")
        outcomes: list[Outcome] = []
        asked(lease, PICTURE, outcomes.append)  # waits for a process that does not come
        slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
        assert outcomes == [Outcome(None)]
        lane.feed(1)
        lane.answered(2)
        assert lane.end() == [(0, OLD), (1, NEW)]


def test_a_candidate_that_dies_while_it_is_being_left(slot: ModelSlot, spawner: Spawner) -> None:
    slot.switch(candidate(spawner, CRASHING), keep_standby=True, timeout_s=LONG_S)
    lease = slot.acquire(LONG_S)
    assert lease is not None
    once_more: list[bool] = []

    def done(outcome: Outcome) -> None:
        assert outcome.prediction is None
        once_more.append(slot.settle(lease.worker, None, held=True))

    falling = threading.Thread(target=slot.fall_back)
    falling.start()
    asked(lease, PICTURE, done)
    falling.join(LONG_S)
    assert not falling.is_alive()
    assert once_more == [True]
    serves = slot.acquire(LONG_S)
    assert serves is not None
    assert serves.slot.spec.version == OLD
    serves.worker.give_back(serves.slot)


def test_a_slot_that_is_closed_during_a_switch_ends(spawner: Spawner) -> None:
    slot = ModelSlot("faulty")
    slot.serve(faulty_worker(spawner))
    lease = slot.acquire(LONG_S)
    assert lease is not None
    late = candidate(spawner)
    errors: list[WorkerError] = []

    def switch() -> None:
        try:
            slot.switch(late, keep_standby=True, timeout_s=LONG_S)
        except WorkerError as error:
            errors.append(error)
            late.close()

    switching = threading.Thread(target=switch)
    switching.start()
    slot.close()
    lease.worker.give_back(lease.slot)
    switching.join(LONG_S)
    assert [str(error) for error in errors] == ["faulty: the slot is closed"]
    with pytest.raises(WorkerError, match="the slot is closed"):
        slot.serve(late)
    assert not children(os.getpid())


def test_who_watches_is_told(spawner: Spawner) -> None:
    states: list[tuple[str, str]] = []

    def note(slot: ModelSlot) -> None:
        worker = slot.worker
        states.append((slot.state, worker.known_spec.version if worker and worker.known_spec else ""))

    with closing(ModelSlot("faulty", note)) as slot:
        slot.serve(faulty_worker(spawner, version=OLD))
        wait_until(lambda: ("running", OLD) in states, "the first model")
        slot.switch(candidate(spawner), keep_standby=True, timeout_s=LONG_S)
        assert states[-1] == ("running", NEW)
        assert slot.worker is not None
        assert slot.worker.pid is not None
        os.kill(slot.worker.pid, 9)
        wait_until(lambda: states[-1] == ("running", OLD), "the fall")
        slot.vacate()
        assert states[-1] == ("absent", "")
    assert "failed" not in [state for state, _ in states]


def test_another_shape_labels_and_runtime(spawner: Spawner) -> None:
    def worker(version: str, *, restart: bool) -> ModelWorker:
        place = MODELS / f"parts-{version}"
        made = make_worker("parts", ModelConfig(bundle=str(place)), open_variants(place), 2, spawner, restart=restart)
        made.start()
        return made

    with closing(ModelSlot("parts")) as slot:
        slot.serve(worker("1.0.0", restart=True))
        first = slot.acquire(LONG_S)
        assert first is not None
        first.worker.give_back(first.slot)
        coming = worker("1.1.0", restart=False)
        assert coming.spec(LONG_S) is not None
        wait_until(lambda: coming.state == "running", "the other model")
        slot.switch(coming, keep_standby=True, timeout_s=LONG_S)
        second = slot.acquire(LONG_S)
        assert second is not None
        second.worker.give_back(second.slot)
        assert first.slot.input.shape != second.slot.input.shape
        assert set(first.slot.spec.labels) < set(second.slot.spec.labels)
        assert first.worker.report != second.worker.report
        assert slot.last_switch() != Switch(0.0, 0)
