"""Vetting: a model is tried in a worker of its own, while the one before it serves."""

import queue
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

import numpy as np

from agent.bundles.load import Bundle
from agent.core.preprocess import Preprocessor
from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Classes, Frame, Poses, Prediction, Segments
from agent.errors import AgentError, BundleError, DeviceUnfitError, VettingError, VettingFailure, WorkerError
from agent.update.golden import difference, expected
from agent.update.limits import Limits
from agent.update.pictures import golden_pictures, patterns
from agent.worker.inference import Answer, Inference
from agent.worker.memory import own_memory_bytes
from agent.worker.model import ModelWorker, Outcome

LOOK_S = 0.1
ANSWER_S = 600.0  # the worker's own deadlines come first
END_S = 10.0  # for a worker that has failed to be gone
FEWEST_RUNS = 5
FEWEST_PAIRS = 3  # of runs beside the model that serves
SERVING_S = 1.0  # for a slot of the model that serves: its pipelines come first
EVERYTHING = Thresholds(score=0.0, iou=None)


class Effort(NamedTuple):
    """How long to try. load_s: for the model to be loaded and warm. runs, longest_s: of which latency is measured."""

    load_s: float = 300.0
    runs: int = 30
    longest_s: float = 20.0


EFFORT = Effort()


class Vetted(NamedTuple):
    """A model that is fit to serve. limits: those that were applied, which hold in probation too. memory_bytes: see
    `agent.worker.memory`.
    """

    spec: ModelSpec
    variant: str | None
    p50_ms: float
    p99_ms: float
    memory_bytes: int
    limits: Limits


def vet(
    candidate: ModelWorker,
    bundles: Sequence[Bundle],
    serving: ModelWorker | None,
    limits: Limits,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda _fraction: None,
    *,
    effort: Effort = EFFORT,
    passed: Callable[[str, str], None] = lambda _check, _result: None,
) -> Vetted | None:
    """Start a candidate and try it; None where that was cancelled. It is left running and warm where it is fit to serve;
    in any case to close it is for who made it, with restart=False.

    bundles: those of its variants. limits: what they leave open is decided by the variant that serves. cancelled: asked between
    runs. progress: told fractions from 0 to 1. passed: told each check, and what it has shown.

    VettingError, in one line, at the first check that fails:

    - load: the worker's own failure (load, crashed, deadline, memory, protocol), bundle_invalid for a model, tensors or labels that
      do not fit its manifest, device_unfit where no variant serves here
    - golden: golden_mismatch where a sample's picture shows something else; bundle_invalid where picture or sample cannot be read
    - output: constant_output where pictures that have nothing in common get the same answer to the last bit, however low it scores.
      A model that finds nothing in any of them, as it may if it suppresses by itself, is left to its golden samples
    - latency: beyond `max_latency_ms`; or too slow for the sources, where the model that serves, asked at the same instants, is not
    - memory: the candidate's own, after all those runs, beyond 1.25 times `memory_mb`

    Numbers that are not finite, or cannot be, are `protocol`, whichever run gives them; bundle_invalid where its head refuses them
    as early as in the warm-up.
    """
    try:
        return _Vetting(candidate, serving, limits, cancelled, progress, effort, passed).run(bundles)
    except _CancelledError:
        return None
    except WorkerError as error:
        if cancelled():  # and closed by who made it
            return None
        raise refusal(error) from None
    except BundleError as error:
        raise refusal(error) from None


def refusal(error: BundleError | WorkerError) -> VettingError:
    """What a model is refused for that cannot be opened, planned for or loaded; its message in one line."""
    code: VettingFailure = "device_unfit" if isinstance(error, DeviceUnfitError) else "bundle_invalid"
    return VettingError("; ".join(str(error).splitlines()), error.kind if isinstance(error, WorkerError) else code)


class _CancelledError(Exception):
    """Nobody wants to know any more."""


class _Model:
    """Asks one worker about one picture at a time, and rests after each for as long as it took: the model that serves needs the
    processor, too. AgentError where its worker has given up.
    """

    def __init__(self, worker: ModelWorker, spec: ModelSpec) -> None:
        self.spec = spec
        self._worker = worker
        self._inference = Inference(worker, spec, spec.thresholds)
        self._preprocess = Preprocessor(spec.input, spec.tensor)

    def ask(self, frame: Frame) -> Answer:
        """What it sees, with the bundle's thresholds."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        answer = answers.get(timeout=ANSWER_S) if self.submit(frame, answers.put, ANSWER_S) else None
        if answer is None or answer.prediction is None:
            raise self._failure()
        time.sleep(answer.inference_ms / 1000)
        return answer

    def submit(self, frame: Frame, done: Callable[[Answer], None], timeout_s: float) -> bool:
        """As `Inference.submit`; False where there is no slot in time."""
        slot = self._worker.acquire(timeout_s)
        if slot is None or slot.spec is not self.spec:
            if slot is not None:
                self._worker.give_back(slot)
            return False
        self._inference.submit(slot, frame, done)
        return True

    def everything(self, frame: Frame) -> Prediction:
        """What it sees with scores of 0 and no suppression, in pixels of its input; a class map as it is.

        What scores 0 is left out: models that suppress by themselves fill up with it.
        """
        slot = self._worker.acquire(ANSWER_S)
        if slot is None:
            raise self._failure()
        self._preprocess(frame, slot.input)
        outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._worker.submit(slot, self.spec.thresholds if self.spec.task == "segment" else EVERYTHING, outcomes.put)
        outcome = outcomes.get(timeout=ANSWER_S)
        if outcome.prediction is None:
            raise self._failure()
        time.sleep(outcome.inference_ms / 1000)
        found = outcome.prediction
        return found if isinstance(found, Segments) else found[found.scores > 0]

    def _failure(self) -> AgentError:
        """What its worker has ended of."""
        try:
            slot = self._worker.acquire(END_S)
        except AgentError as error:
            return error
        if slot is not None:
            self._worker.give_back(slot)
        return WorkerError(f"{self._worker.name}: the worker failed", "crashed")


class _Vetting:
    def __init__(
        self,
        candidate: ModelWorker,
        serving: ModelWorker | None,
        limits: Limits,
        cancelled: Callable[[], bool],
        progress: Callable[[float], None],
        effort: Effort,
        passed: Callable[[str, str], None],
    ) -> None:
        self._candidate = candidate
        self._serving = serving
        self._limits = limits
        self._cancelled = cancelled
        self._progress = progress
        self._effort = effort
        self._passed = passed
        self._steps_done, self._steps = 0, 1

    def run(self, bundles: Sequence[Bundle]) -> Vetted:
        """Every check in turn."""
        spec = self._load()
        bundle = next(bundle for bundle in bundles if bundle.variant == spec.variant)
        limits = self._limits.of(bundle)
        model = _Model(self._candidate, spec)
        frames = patterns(spec.input.size)
        self._steps = 1 + len(bundle.manifest.golden) + len(frames) + self._effort.runs
        self._step()
        answers = self._golden(model, bundle)
        self._output(model, frames, answers)
        p50_ms, p99_ms = self._latency(model, frames, limits)
        memory_bytes = self._memory(spec, limits)
        self._progress(1.0)
        return Vetted(spec, spec.variant, p50_ms, p99_ms, memory_bytes, limits)

    def _load(self) -> ModelSpec:
        self._candidate.start()
        end = time.monotonic() + self._effort.load_s
        while (spec := self._candidate.spec(LOOK_S)) is None:
            self._look()
            if time.monotonic() > end:
                raise VettingError(f"{self._candidate.name}: not loaded within {self._effort.load_s:.0f} s", "deadline")
        report = self._candidate.report
        variant = f"variant {spec.variant}, " if spec.variant else ""
        self._passed("load", f"{variant}{spec.task} by {spec.head.type}, on {report.delegate if report else '?'}")
        return spec

    def _golden(self, model: _Model, bundle: Bundle) -> list[Prediction]:
        """Try the bundle's own pictures; returns all that the model sees in them."""
        files, samples = bundle.files, bundle.manifest.golden
        wanted = [expected(sample, files[sample.expect], model.spec) for sample in samples]
        seen = []
        with closing(golden_pictures([files[sample.input] for sample in samples])) as pictures:
            for one, frame in zip(wanted, pictures, strict=True):
                if what := difference(one, model.ask(frame), model.spec):
                    raise VettingError(_about(model.spec, what), "golden_mismatch")
                seen.append(model.everything(frame))
                self._step()
        self._passed("golden", f"{len(samples)} samples, each as expected" if samples else "the bundle has no golden samples")
        return seen

    def _output(self, model: _Model, frames: Sequence[Frame], seen: list[Prediction]) -> None:
        for frame in frames:
            seen.append(model.everything(frame))
            self._step()
        if not any(map(len, seen)):
            self._passed("output", f"finite; nothing at all is found in {len(seen)} pictures")
        elif len(set(map(_bits, seen))) == 1:
            what = f"gives the same answer for {len(seen)} pictures that have nothing in common"
            raise VettingError(_about(model.spec, what), "constant_output")
        else:
            self._passed("output", f"finite, and not the same for {len(seen)} different pictures")

    def _latency(self, model: _Model, frames: Sequence[Frame], limits: Limits) -> tuple[float, float]:
        """Returns the median and the 99th percentile of an inference, in ms."""
        runs_ms: list[float] = []
        end = time.monotonic() + self._effort.longest_s
        while len(runs_ms) < self._effort.runs and (len(runs_ms) < FEWEST_RUNS or time.monotonic() < end):
            runs_ms.append(model.ask(frames[len(runs_ms) % len(frames)]).inference_ms)
            self._step()
        p50_ms, p99_ms = (float(value) for value in np.percentile(runs_ms, (50, 99)))
        why = limits.too_late(p50_ms)
        if why is None and limits.demand_hz * p50_ms > 1000:
            why = self._beside_serving(model, frames, limits)
        if why is not None:
            raise VettingError(_about(model.spec, why), "latency")
        self._passed("latency", f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")
        return p50_ms, p99_ms

    def _beside_serving(self, model: _Model, frames: Sequence[Frame], limits: Limits) -> str | None:
        """Whether the sources could be kept up with no more, both models being asked at the same instants: alone, or beside
        another that works, a model takes quite different times. The one that serves is asked where nothing else tells, and rarely.
        """
        pairs_ms: list[tuple[float, float]] = []
        serving = self._serving_model()
        if serving is None:
            return None
        for frame in frames:
            self._look()
            theirs: queue.SimpleQueue[Answer] = queue.SimpleQueue()
            asked = False
            with suppress(AgentError):
                asked = serving.submit(frame, theirs.put, SERVING_S)
            ours = model.ask(frame)
            if asked and (other := theirs.get(timeout=ANSWER_S)).prediction is not None:
                pairs_ms.append((ours.inference_ms, other.inference_ms))
        if len(pairs_ms) < FEWEST_PAIRS:
            return None
        ours_ms, theirs_ms = np.median(np.array(pairs_ms), axis=0)
        return limits.falls_behind(float(ours_ms), float(theirs_ms))

    def _serving_model(self) -> _Model | None:
        """None where nothing serves."""
        spec = self._serving.known_spec if self._serving and self._serving.state == "running" else None
        return _Model(self._serving, spec) if self._serving and spec else None

    def _memory(self, spec: ModelSpec, limits: Limits) -> int:
        pid = self._candidate.pid
        try:
            used = own_memory_bytes(pid) if pid else 0
        except OSError:
            raise WorkerError(f"{self._candidate.name}: the worker has ended", "crashed") from None
        if why := limits.too_much_memory(used):
            raise VettingError(_about(spec, why), "memory")
        self._passed("memory", f"{used / (1 << 20):.0f} MB of its own")
        return used

    def _step(self) -> None:
        self._steps_done += 1
        self._progress(min(1.0, self._steps_done / self._steps))
        self._look()

    def _look(self) -> None:
        if self._cancelled():
            raise _CancelledError


def _about(spec: ModelSpec, what: str) -> str:
    return f"{spec.name} {spec.version}: {what}"


def _bits(found: Prediction) -> bytes:
    """Everything of a prediction."""
    if isinstance(found, Segments):
        return found.class_map.tobytes()
    places = b"" if isinstance(found, Classes) else found.boxes.tobytes()
    points = found.points.tobytes() if isinstance(found, Poses) else b""
    return found.class_ids.tobytes() + found.scores.tobytes() + places + points
