"""What is believed of a worker that starts."""

import time
from contextlib import closing

from agent.runtimes import Delegate
from agent.worker.spawner import Spawner
from agent.worker.starting import DEADLINE_P99S, LEAST_DEADLINE_S, Start
from tests.faulty import faulty_plan, faulty_variant


def test_a_worker_cannot_give_itself_more_time_than_its_warm_up_took() -> None:
    plan = faulty_plan(faulty_variant((Delegate("boasting"),)))
    with closing(Spawner()) as spawner:
        start = time.monotonic()
        serving = Start(spawner, "faulty", plan).serve(plan.rungs(), 2, None)
        took_s = time.monotonic() - start
        serving.loaded.process.end()
        serving.pool.shared.close()
    assert serving.deadline_ns <= max(LEAST_DEADLINE_S, DEADLINE_P99S * took_s) * 1e9
