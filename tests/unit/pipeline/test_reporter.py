"""The health message, from parts that do not run."""

import msgspec

from agent.health.host import HostReading
from agent.pipeline.reporter import HealthReporter, Parts
from agent.publish.messages import Health, Status
from agent.worker.slot import ModelSlot
from tests.fakes import RecordingPublisher


def test_a_slot_without_a_model_is_told() -> None:
    publisher = RecordingPublisher()
    statuses: list[Status] = []
    host = HostReading(cpu_pct=0.0, memory_bytes=0, disk_free_bytes=None, temperature_c=None, throttled=None)
    parts = Parts({}, {"people": ModelSlot("people")}, {}, lambda: host, lambda: True, lambda: 0)
    reporter = HealthReporter(parts, "gate", "1-0000", publisher, "health", statuses.append)
    reporter.start()
    reporter.stop()
    health = msgspec.json.decode(publisher.payloads("health")[-1], type=Health)
    assert [(problem.code, problem.subject) for problem in health.problems] == [("model_absent", "people")]
    model = health.models["people"]
    assert (model.state, model.restarts, model.delegate, model.delegate_requested) == ("absent", 0, None, None)
