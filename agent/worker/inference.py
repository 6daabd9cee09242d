"""A frame's way through a model: preprocessed into a slot of its worker, its prediction mapped back onto the picture."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.core.masks import segments_in
from agent.core.preprocess import Geometry, Preprocessor
from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Classes, Detections, Frame, Poses, Prediction
from agent.worker.model import ModelWorker, Outcome
from agent.worker.starting import InputSlot


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What is kept of a frame while its pixels' memory is used again."""

    source: str
    name: str
    seq: int
    mono_ns: int
    utc_ns: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model saw in a frame. prediction: boxes and points in pixels of the frame, a class map that shows exactly the frame;
    None where the worker failed. Durations in ms.
    """

    frame: FrameInfo
    prediction: Prediction | None
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float


class Inference:
    """One pipeline's access to a model; for one thread."""

    def __init__(self, worker: ModelWorker, spec: ModelSpec, thresholds: Thresholds) -> None:
        self._worker = worker
        self._thresholds = thresholds
        self._input_size = spec.input.size
        self._preprocess = Preprocessor(spec.input, spec.tensor)

    def submit(self, slot: InputSlot, frame: Frame, done: Callable[[Answer], None]) -> None:
        """Preprocess into an acquired slot and ask the model; `done` is called on the worker's thread."""
        start = time.perf_counter()
        try:
            geometry = self._preprocess(frame, slot.input)
        except BaseException:
            self._worker.give_back(slot)
            raise
        preprocess_ms = (time.perf_counter() - start) * 1000
        info = FrameInfo(frame.source, frame.name, frame.seq, frame.mono_ns, frame.utc_ns, frame.width, frame.height)

        def finish(outcome: Outcome) -> None:
            found = None if outcome.prediction is None else _to_source(outcome.prediction, geometry, self._input_size)
            done(Answer(info, found, preprocess_ms, outcome.inference_ms, outcome.postprocess_ms))

        self._worker.submit(slot, self._thresholds, finish)


def _to_source(found: Prediction, geometry: Geometry, input_size: tuple[int, int]) -> Prediction:
    """A prediction about a model's input, as one about the picture that it was made from."""
    match found:
        case Classes():
            return found
        case Detections():
            return Detections(geometry.to_source(found.boxes), found.scores, found.class_ids)
        case Poses():
            points = geometry.points_to_source(found.points)
            return Poses(geometry.to_source(found.boxes), found.scores, found.class_ids, points)
        case _:
            return segments_in(geometry.map_to_source(found.class_map, input_size))
