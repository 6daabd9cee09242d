"""During probation some frames also go to the standby: what it finds is compared with what the candidate finds, no more."""

import threading

from agent.core.types import Frame
from agent.pipeline.config import PipelineConfig
from agent.pipeline.use import Use
from agent.worker.inference import Answer
from agent.worker.model import ModelWorker
from agent.worker.slot import Lease, ModelSlot

EVERY = 20  # frames, of which the standby sees one


class Shadow:
    """One frame that both models are asked about; told of their answers on two threads, in any order."""

    def __init__(self, model: ModelSlot, use: Use, lease: Lease) -> None:
        self._model = model
        self._use = use
        self._lease = lease
        self._lock = threading.Lock()
        self._serving: tuple[ModelWorker, int] | None = None
        self._standby: int | None = None

    def submit(self, frame: Frame) -> None:
        """Ask the standby."""
        self._use.inference.submit(self._lease.slot, frame, self._answered)

    def serving_found(self, worker: ModelWorker, things: int) -> None:
        """What serves has answered."""
        with self._lock:
            self._serving = worker, things
        self._compare()

    def _answered(self, answer: Answer) -> None:
        if answer.prediction is not None:
            with self._lock:
                self._standby = len(self._use.keep(answer.prediction).class_ids)
            self._compare()

    def _compare(self) -> None:
        with self._lock:
            serving, standby = self._serving, self._standby
            if serving is None or standby is None:
                return
            self._serving = None  # told once
        self._model.compared(*serving, standby)


class Shadows:
    """Of one pipeline, on its thread."""

    def __init__(self, model: ModelSlot, config: PipelineConfig) -> None:
        self._model = model
        self._config = config
        self._use: Use | None = None  # of the standby
        self._frames = 0

    def next(self) -> Shadow | None:
        """For the next frame, if it is one that the standby sees, and the standby has a slot free."""
        if self._model.standby is None:
            self._use, self._frames = None, 0
            return None
        self._frames += 1
        lease = self._model.shadow() if self._frames % EVERY == 0 else None
        if lease is None:
            return None
        if self._use is None or not self._use.fits(lease):
            self._use = Use.of(lease, self._config)
        return Shadow(self._model, self._use, lease)
