"""Runs a model on frame after frame: what `edge-agent predict` does, and what others that need predictions build on."""

import argparse
import os
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.bundles.load import name_for, open_variants
from agent.checked import suggest_file
from agent.cli.interruption import Interruption
from agent.cli.options import slot_config, store_for
from agent.config import source_from
from agent.core.spec import ModelSpec
from agent.core.types import Classes, Frame, Poses, Prediction, Segments
from agent.errors import SourceError, UsageError, WorkerError
from agent.health.host import clock_synced
from agent.pipeline.config import PipelineConfig
from agent.pipeline.filters import Filter, counts, thresholds_for
from agent.pipeline.models import make_worker
from agent.pipeline.results import Origin, make_result
from agent.pipeline.streams import FrameStream, open_stream
from agent.publish.messages import encode_result
from agent.sources.config import FileConfig, ImagesConfig, SourceConfig
from agent.worker.inference import Answer, Inference
from agent.worker.model import ModelWorker
from agent.worker.spawner import Spawner

if TYPE_CHECKING:
    from agent.cli.album import Album

LOOK_S = 0.2
ANSWER_S = 600.0  # the worker's own deadlines come first


def predict(args: argparse.Namespace) -> None:
    """Predict on every source in turn. args: as `agent.cli.predict` parses them.

    AgentError at the first failure, KeyboardInterrupt after Ctrl-C.
    """
    pipeline = PipelineConfig(source="", model="", score=args.score, iou=args.iou, max_detections=args.max_detections)
    sources = _sources(args.sources)
    with ExitStack() as stack:
        interruption = stack.enter_context(Interruption())
        model = stack.enter_context(started(args, interruption))
        predictor = Predictor(model.worker, model.spec, pipeline)
        album = stack.enter_context(closing(_album(args.save))) if args.save else None
        for number, (name, source) in enumerate(sources):
            with closing(open_stream(model.spawner, name, source, held=1, first_seq=0)) as stream:
                interruption.wake = stream.interrupt
                for frame, answer, prediction in predictor.run(stream, interruption):
                    print(predictor.json(answer, prediction) if args.json else predictor.line(answer, prediction), flush=True)
                    if album:
                        album.add(number, frame, prediction, model.spec.label, stream.fps)


class Started(NamedTuple):
    """A model that runs."""

    spawner: Spawner
    worker: ModelWorker
    spec: ModelSpec


@contextmanager
def started(args: argparse.Namespace, interruption: Interruption) -> Iterator[Started]:
    """Start a model, say which delegates it could not have, and end it. args: model, and what `add_model_options` adds.

    AgentError where it cannot be started, KeyboardInterrupt after Ctrl-C.
    """
    config = slot_config(args)
    with ExitStack() as stack:
        spawner = stack.enter_context(closing(Spawner()))
        bundles = open_variants(config.bundle, config.labels, store_for(config.bundle, args.state_dir))
        worker = stack.enter_context(closing(make_worker(name_for(Path(args.model)), config, bundles, 1, spawner, restart=False)))
        worker.start()
        while (spec := worker.spec(LOOK_S)) is None:
            interruption.check()
        for delegate, why in worker.refused.items():
            print(f"edge-agent: delegate {delegate} is not to be had: {why}", file=sys.stderr)
        yield Started(spawner, worker, spec)


class Predictor:
    """Asks a model about one frame after the other."""

    def __init__(self, worker: ModelWorker, spec: ModelSpec, config: PipelineConfig) -> None:
        self._worker = worker
        self._spec = spec
        self._inference = Inference(worker, spec, thresholds_for(spec, config))
        self._filter = Filter(spec, config)
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._seq = 0

    def run(self, stream: FrameStream, interruption: Interruption) -> Iterator[tuple[Frame, Answer, Prediction]]:
        """Every frame, what became of it, and what the filters leave of that. AgentError where source or worker fails."""
        while (frame := _next(stream, interruption)) is not None:
            slot = self._worker.acquire(ANSWER_S)
            if slot is None:
                raise WorkerError("the model's worker has no free slot", "deadline")
            self._inference.submit(slot, frame, self._answers.put)
            answer = self._answers.get(timeout=ANSWER_S)
            if answer.prediction is None:
                self._worker.acquire(ANSWER_S)  # raises what the worker died of
                raise WorkerError("the model's worker failed", "crashed")
            yield frame, answer, self._filter(answer.prediction)

    def line(self, answer: Answer, prediction: Prediction) -> str:
        """For people: the frame, how long the model took, and what it saw where, in pixels."""
        place = answer.frame.name or f"{answer.frame.source} {answer.frame.seq}"
        return f"{place}  {answer.inference_ms:.1f} ms  {', '.join(self._things(prediction)) or 'nothing'}"

    def json(self, answer: Answer, prediction: Prediction) -> str:
        """For programs: a line as D/results/P has it."""
        self._seq += 1
        origin = Origin("predict", "0", "predict", "predict")
        total_ms = (time.monotonic_ns() - answer.frame.mono_ns) / 1e6
        found = counts(prediction, self._spec)
        if answer.frame.name:  # the picture tells more than its folder
            answer = replace(answer, frame=replace(answer.frame, source=answer.frame.name))
        result = make_result(
            origin, self._spec, answer, prediction, found, seq=self._seq, total_ms=total_ms, clock_synced=clock_synced()
        )
        return encode_result(result).decode()

    def _things(self, prediction: Prediction) -> Iterator[str]:
        labels = [self._spec.label(class_id) for class_id in prediction.class_ids.tolist()]
        if isinstance(prediction, Segments):
            for label, area in zip(labels, prediction.areas.tolist(), strict=True):
                yield f"{label} {area * 100:.1f} %"
            return
        for i, (label, score) in enumerate(zip(labels, prediction.scores.tolist(), strict=True)):
            if isinstance(prediction, Classes):
                yield f"{label} {score:.2f}"
                continue
            x1, y1, x2, y2 = prediction.boxes[i].round().astype(int).tolist()
            points = f" {prediction.points.shape[1]} points" if isinstance(prediction, Poses) else ""
            yield f"{label} {score:.2f} [{x1} {y1} {x2} {y2}]{points}"


def _sources(texts: Sequence[str]) -> list[tuple[str, SourceConfig]]:
    """Each source with its name. UsageError with every one that makes no sense or is not there; cameras are asked later."""
    problems, sources = [], []
    for text in texts:
        try:
            source = source_from(text)
        except ValueError as error:
            problems.append(str(error))
            continue
        if isinstance(source, FileConfig | ImagesConfig) and not os.path.exists(text):  # noqa: PTH110  Path.exists may raise
            problems.append(f"{text}: there is no such file or folder{suggest_file(Path(text))}")
        name = Path(text).absolute().name if "://" not in text else text.partition("://")[0]  # a URL may hold a password
        sources.append((name, source))
    if problems:
        raise UsageError("\n".join(problems))
    return sources


def _next(stream: FrameStream, interruption: Interruption) -> Frame | None:
    try:
        interruption.check()
        return stream.read()
    except SourceError:
        interruption.check()  # which has ended the stream
        raise


def _album(folder: Path) -> "Album":
    from agent.cli.album import Album  # noqa: PLC0415  only where pictures are saved

    return Album(folder)
