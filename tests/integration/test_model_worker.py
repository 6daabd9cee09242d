"""A real worker process with a runtime that fails in every way a native library can."""

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.types import Classes
from agent.errors import WorkerError
from agent.runtimes import Delegate
from agent.worker.model import ModelWorker, Outcome
from agent.worker.spawner import Spawner
from tests import faulty_runtime
from tests.faulty import THRESHOLDS, ask, faulty_worker
from tests.processes import children, open_descriptors
from tests.waiting import wait_until


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


@pytest.fixture
def worker(spawner: Spawner) -> Iterator[ModelWorker]:
    worker = faulty_worker(spawner)
    yield worker
    worker.close()


def footprint() -> tuple[int, int]:
    """Descriptors and child processes of this process, without what other tests have left to be collected."""
    gc.collect()
    return open_descriptors(), len(children(os.getpid()))


def test_answers_a_request(worker: ModelWorker) -> None:
    prediction = ask(worker, faulty_runtime.FINE).prediction
    assert isinstance(prediction, Classes)
    assert prediction.class_ids.tolist() == [1]
    assert prediction.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faulty_runtime.SEGFAULT, "SIGSEGV"),
        (faulty_runtime.HANG, "no answer within 1.0 s"),
        (faulty_runtime.LEAK, "more than its limit of 200 MB"),
        (faulty_runtime.TRUNCATE, "failed: PermissionError"),
        (faulty_runtime.GARBAGE, "garbage"),
        (faulty_runtime.NAN, "a score is not finite"),
        (faulty_runtime.RAISE, "RuntimeError: the operator did not feel like it"),
        (faulty_runtime.CLOSE, "closed its channel"),
    ],
)
def test_a_failing_model_costs_one_frame(spawner: Spawner, fault: int, says: str) -> None:
    details: list[str] = []
    worker = faulty_worker(spawner, lambda worker: details.append(str(worker.failure or "")))
    try:
        assert ask(worker, faulty_runtime.FINE).prediction is not None
        assert ask(worker, fault).prediction is None
        assert ask(worker, faulty_runtime.FINE).prediction is not None
    finally:
        worker.close()
    assert worker.restarts == 1
    assert any(says in detail for detail in details), details
    assert not any("\n" in detail for detail in details)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_signals(worker: ModelWorker, number: signal.Signals) -> None:
    assert ask(worker, faulty_runtime.FINE).prediction is not None
    assert worker.pid is not None
    os.kill(worker.pid, number)
    if number is signal.SIGSTOP:
        assert ask(worker, faulty_runtime.FINE).prediction is None
    wait_until(lambda: worker.restarts == 1, "the restart")
    assert ask(worker, faulty_runtime.FINE).prediction is not None


def test_failures_leave_nothing_behind(spawner: Spawner) -> None:
    worker = faulty_worker(spawner)
    ask(worker, faulty_runtime.FINE)
    before = footprint()
    for _ in range(5):
        assert ask(worker, faulty_runtime.SEGFAULT).prediction is None
        assert ask(worker, faulty_runtime.FINE).prediction is not None
    assert footprint() == before
    worker.close()
    assert footprint() == (before[0] - 2, before[1] - 1)  # the channel, the slots' memory, the process


def test_a_request_made_while_the_worker_restarts_reaches_the_new_one(worker: ModelWorker) -> None:
    slot = worker.acquire(10)
    assert slot is not None
    assert ask(worker, faulty_runtime.SEGFAULT).prediction is None
    worker.give_back(slot)
    assert ask(worker, faulty_runtime.FINE).prediction is not None


def test_a_command_that_does_one_thing_gives_up(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, path="segfault", restart=False)
    try:
        with pytest.raises(WorkerError, match="SIGSEGV"):
            worker.spec(20)
    finally:
        worker.close()


def test_who_asks_one_that_has_given_up_again_and_again_holds_nothing(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, path="segfault", restart=False)
    depths: set[int] = set()
    try:
        for _ in range(5):
            with pytest.raises(WorkerError) as raised:
                worker.acquire(20)
            depths.add(len(traceback.extract_tb(raised.value.__traceback__)))
    finally:
        worker.close()
    assert len(depths) == 1


def test_a_drain_does_not_wait_for_a_worker_that_does_not_come(spawner: Spawner, tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    plug.touch()
    worker = faulty_worker(spawner, delegates=(Delegate("plugged", options={"file": str(plug)}),))
    outcomes: list[Outcome] = []
    drained: list[bool] = []
    try:
        slot = worker.acquire(20)
        assert slot is not None
        assert worker.pid is not None
        plug.unlink()
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: worker.restarts > 0, "its end")
        draining = threading.Thread(target=lambda: drained.append(worker.drain(20)))
        draining.start()
        worker.submit(slot, THRESHOLDS, outcomes.append)
        draining.join()
    finally:
        worker.close()
    assert drained == [True]
    assert outcomes == [Outcome(None)]


def test_close_does_not_wait_for_a_model_that_hangs_while_it_loads(spawner: Spawner) -> None:
    worker = faulty_worker(spawner, path="hang")
    wait_until(lambda: worker.pid is not None, "the worker's start")
    worker.close()
    assert (worker.state, worker.restarts) == ("stopped", 0)


def test_no_orphan_when_the_agent_is_killed() -> None:
    program = (
        "import sys\n"
        "from agent.worker.spawner import Spawner\n"
        "from tests.faulty import faulty_worker\n"
        "worker = faulty_worker(Spawner())\n"
        "worker.spec(20)\n"
        "print(worker.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        orphan = Path(f"/proc/{int(agent.stdout.readline())}")
        assert orphan.exists()
        agent.kill()
        agent.communicate()
    wait_until(lambda: not orphan.exists() or "State:\tZ" in (orphan / "status").read_text(), "the orphan's end", 1.0)
