"""Makes the result messages of one pipeline."""

from dataclasses import dataclass
from typing import Any

from agent.core.spec import ModelSpec
from agent.core.types import Classes, Detections, Poses, Prediction
from agent.publish.messages import (
    AnyResult,
    ClassifyResult,
    DetectResult,
    FrameSize,
    KeypointsResult,
    Latency,
    ResultModel,
    SegmentResult,
    classes_of,
    detections_of,
    poses_of,
    result_id,
    segments_of,
    utc_text,
)
from agent.worker.inference import Answer


@dataclass(frozen=True, slots=True)
class Origin:
    """Who speaks: the same in all messages of a pipeline."""

    device: str
    session: str
    pipeline: str
    slot: str


def make_result(
    origin: Origin,
    spec: ModelSpec,
    answer: Answer,
    prediction: Prediction,
    found: dict[str, int],
    *,
    seq: int,
    total_ms: float,
    clock_synced: bool,
) -> AnyResult:
    """The message for what is left of an answer after the filters. found: its counts. total_ms: from capture to now."""
    frame = answer.frame
    steps_ms = answer.preprocess_ms + answer.inference_ms + answer.postprocess_ms
    common: dict[str, Any] = {
        "id": result_id(origin.device, origin.pipeline, origin.session, seq),
        "device": origin.device,
        "pipeline": origin.pipeline,
        "source": frame.source,
        "session": origin.session,
        "seq": seq,
        "frame_seq": frame.seq,
        "captured_at": utc_text(frame.utc_ns),
        "clock_synced": clock_synced,
        "frame": FrameSize(width=frame.width, height=frame.height),
        "model": ResultModel(slot=origin.slot, name=spec.name, version=spec.version, digest=spec.digest[:12]),
        "latency_ms": Latency(
            wait=round(max(0.0, total_ms - steps_ms), 2),
            preprocess=round(answer.preprocess_ms, 2),
            inference=round(answer.inference_ms, 2),
            postprocess=round(answer.postprocess_ms, 2),
            total=round(total_ms, 2),
        ),
    }
    width, height = frame.width, frame.height
    match prediction:
        case Classes():
            return ClassifyResult(**common, classes=classes_of(prediction, spec.label))
        case Detections():
            return DetectResult(**common, counts=found, detections=detections_of(prediction, width, height, spec.label))
        case Poses():
            return KeypointsResult(**common, counts=found, detections=poses_of(prediction, width, height, spec.label))
        case _:
            return SegmentResult(**common, counts=found, segments=segments_of(prediction, spec.label))
