"""The health message: every minute, and soon after something changes."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from agent.health.host import HostReading
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.source import SourceLoop
from agent.publish import Publisher
from agent.publish.messages import (
    Health,
    Host,
    ModelHealth,
    Percentiles,
    PipelineHealth,
    Problem,
    ProblemCode,
    Status,
    encode,
    utc_text,
)
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot

NO_FAULT = ("ended", "stopped_by_agent")
PERIOD_S = 60.0
LEAST_S = 1.0


class Trouble(NamedTuple):
    """A problem without its beginning."""

    code: ProblemCode
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What health is read from. host, clock_synced, dropped: readings of the moment; dropped: messages since the start."""

    sources: Mapping[str, SourceLoop]
    models: Mapping[str, ModelSlot]
    pipelines: Mapping[str, Pipeline]
    host: Callable[[], HostReading]
    clock_synced: Callable[[], bool]
    dropped: Callable[[], int]


class HealthReporter:
    """Publishes the device's health from a thread of its own."""

    def __init__(
        self, parts: Parts, device: str, session: str, publisher: Publisher, topic: str, on_report: Callable[[Status], None]
    ) -> None:
        """on_report: told the status of each report."""
        self._parts = parts
        self._device = device
        self._session = session
        self._publisher = publisher
        self._topic = topic
        self._on_report = on_report
        self._started = self._reported = time.monotonic()
        self._dropped = 0
        self._since: dict[tuple[ProblemCode, str], int] = {}
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health")

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def poke(self) -> None:
        """Something has changed: report soon, at most once a second."""
        self._poked.set()

    def stop(self) -> None:
        """Report a last time."""
        self._stopping.set()
        self._poked.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._poked.wait(PERIOD_S)
            self._poked.clear()
            self._report()
            self._stopping.wait(LEAST_S)
        self._report()

    def _report(self) -> None:
        now, utc_ns = time.monotonic(), time.time_ns()
        elapsed_s, self._reported = now - self._reported, now
        problems = self._problems(utc_ns)
        message = Health(
            device=self._device,
            at=utc_text(utc_ns),
            session=self._session,
            status=self._status(problems),
            uptime_s=round(now - self._started, 1),
            clock_synced=self._parts.clock_synced(),
            problems=problems,
            host=Host(**asdict(self._parts.host())),
            pipelines={name: _pipeline_health(pipeline, elapsed_s) for name, pipeline in self._parts.pipelines.items()},
            models={name: _model_health(model) for name, model in self._parts.models.items()},
        )
        self._publisher.publish(self._topic, encode(message), qos=1, retain=True)
        self._on_report(message.status)

    def _problems(self, utc_ns: int) -> tuple[Problem, ...]:
        troubles = list(self._troubles())
        self._since = {(t.code, t.subject): self._since.get((t.code, t.subject), utc_ns) for t in troubles}
        return tuple(
            Problem(code=t.code, subject=t.subject, since_at=utc_text(self._since[t.code, t.subject]), detail=t.detail)
            for t in troubles
        )

    def _troubles(self) -> Iterator[Trouble]:
        for name, source in self._parts.sources.items():
            status = source.status
            if status.state != "running" and status.reason not in NO_FAULT:
                yield Trouble(SOURCE_PROBLEMS[status.state], name, status.detail or status.reason)
        for name, model in self._parts.models.items():
            state, worker = model.state, model.worker
            if state in MODEL_PROBLEMS:
                yield Trouble(MODEL_PROBLEMS[state], name, str((worker and worker.failure) or state))
            if worker is None:
                continue
            if worker.fallen:
                yield Trouble("delegate_fallback", name, _fallback(worker))
            for delegate, why in worker.refused.items():
                yield Trouble("delegate_unavailable", name, f"{delegate}: {why}")
        before, self._dropped = self._dropped, self._parts.dropped()
        if self._dropped > before:
            yield Trouble("messages_dropped", self._device, f"{self._dropped - before} since the last report")
        if not self._parts.clock_synced():
            yield Trouble("clock_not_synced", self._device, "the clock is not set from the network")

    def _status(self, problems: tuple[Problem, ...]) -> Status:
        """failing: no pipeline can give results; degraded: something is wrong."""
        alive = [pipeline for pipeline in self._parts.pipelines.values() if self._alive(pipeline)]
        if not alive:
            return "failing"
        return "degraded" if any(problem.code != "clock_not_synced" for problem in problems) else "ok"

    def _alive(self, pipeline: Pipeline) -> bool:
        config, parts = pipeline.config, self._parts
        source, model = parts.sources[config.source], parts.models[config.model]
        return (source.status.state == "running" or source.status.reason in NO_FAULT) and model.state == "running"


SOURCE_PROBLEMS: dict[str, ProblemCode] = {
    "connecting": "source_connecting",
    "frozen": "source_frozen",
    "black": "source_black",
    "lost": "source_lost",
    "stopped": "source_stopped",
}
MODEL_PROBLEMS: dict[str, ProblemCode] = {
    "absent": "model_absent",
    "loading": "model_loading",
    "restarting": "model_restarting",
    "failed": "model_failed",
}


def _pipeline_health(pipeline: Pipeline, elapsed_s: float) -> PipelineHealth:
    tally = pipeline.counters.report()
    p50, p95, p99 = tally.latency_ms or (0.0, 0.0, 0.0)
    return PipelineHealth(
        fps=round(tally.answered / max(elapsed_s, LEAST_S), 2),
        frames_in=pipeline.mailbox.frames_in,
        frames_dropped=pipeline.mailbox.frames_dropped + tally.failed,
        results=tally.results,
        latency_ms=Percentiles(p50=round(p50, 2), p95=round(p95, 2), p99=round(p99, 2)) if tally.latency_ms else None,
    )


def _fallback(worker: ModelWorker) -> str:
    left = ", ".join(dict.fromkeys(rung.delegate.name for rung in worker.fallen))
    return f"it failed again and again on {left}; that is tried again after ten clean minutes, then ever less often"


def _model_health(model: ModelSlot) -> ModelHealth:
    worker = model.worker
    report = worker.report if worker else None
    return ModelHealth(
        state=model.state,
        restarts=worker.restarts if worker else 0,
        delegate_requested=worker.rungs[0].delegate.name if worker else None,
        delegate=report.delegate if report else None,
    )
