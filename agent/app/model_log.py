"""What the log says of a model slot."""

import logging
import time
from typing import Literal

from agent.errors import AgentError, WorkerError, WorkerFailure
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot

log = logging.getLogger(__name__)

QUIET_S = 60.0


class ModelLog:
    """Says a model's failure once and its recovery once; the same failure again after `QUIET_S`."""

    def __init__(self) -> None:
        self.fallen: AgentError | None = None  # that was told
        self._kind = ""
        self._told_at = -QUIET_S
        self._tell_recovery = True
        self._rung: int | None = None  # on which it was last seen to run
        self._model = ""  # its digest

    def tell(self, model: ModelSlot) -> None:
        """Called at each change of a slot's state."""
        worker = model.worker
        if model.fallen is not None and model.fallen is not self.fallen:
            log.error("%s; the model before serves again", model.fallen)
        self.fallen = model.fallen
        if worker is None:
            return
        if worker.failure is not None:
            self._tell_failure(worker.failure)
        elif worker.state == "running":
            self._tell_running(worker)

    def moved(self, worker: ModelWorker) -> Literal["moved_down", "moved_up"] | None:
        """Whether a worker that runs does so elsewhere on its chain than before, with the same model."""
        if self._rung is None or worker.rung == self._rung or _digest(worker) != self._model:
            return None
        return "moved_down" if worker.rung > self._rung else "moved_up"

    def _tell_failure(self, failure: AgentError) -> None:
        kind = kind_of(failure)
        if kind != self._kind or time.monotonic() - self._told_at >= QUIET_S:
            log.error("%s", failure)
            self._kind, self._told_at, self._tell_recovery = kind, time.monotonic(), True

    def _tell_running(self, worker: ModelWorker) -> None:
        if self._tell_recovery or worker.rung != self._rung or _digest(worker) != self._model:
            self._tell_recovery = False
            for delegate, why in worker.refused.items():
                log.warning("model %s: delegate %s is not to be had: %s", worker.name, delegate, why)
            moved = self.moved(worker)
            level = logging.WARNING if moved == "moved_down" else logging.INFO
            log.log(level, "model %s %s %s", worker.name, MOVES[moved], place_of(worker))
        self._rung, self._model = worker.rung, _digest(worker)


MOVES = {None: "runs on", "moved_down": "has moved down to", "moved_up": "has moved up again, to"}


def place_of(worker: ModelWorker) -> str:
    """Where on its chain a model runs: its delegate, and the variant of its bundle."""
    spec, report = worker.known_spec, worker.report
    delegate = report.delegate if report else ""
    return f"{delegate}, variant {spec.variant}" if spec and spec.variant else delegate


def _digest(worker: ModelWorker) -> str:
    spec = worker.known_spec
    return spec.digest if spec else ""


def kind_of(failure: AgentError) -> WorkerFailure:
    """How a model failed; what its bundle is guilty of shows when it is loaded."""
    return failure.kind if isinstance(failure, WorkerError) else "load"
