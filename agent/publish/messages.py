"""The messages of the MQTT contract, version 1, as they stand in docs/mqtt.md and docs/schema.

Every field is always written, except one whose default is UNSET. Units are suffixes: _ms, _s, _bytes, _c, _pct; instants: _at.
"""

import time
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from numpy.typing import NDArray

from agent.checked import END
from agent.core.masks import run_lengths
from agent.core.spec import Task
from agent.core.types import Classes, Detections, Poses, Segments

MAX_RESULT_BYTES = 64 * 1024
MAX_RUNS = 8192  # of all masks of a message: 7 characters each at the most, for masks of a million pixels

SourceState = Literal["running", "connecting", "frozen", "black", "lost", "stopped"]
SourceReason = Literal[
    "ok",  # running
    "starting",  # connecting: the first try
    "open_failed",
    "not_found",
    "authentication",
    "read_timeout",
    "corrupt",
    "ended",
    "process_exited",  # the program that gives the frames
    "worker_failed",  # the agent's own process that decodes
    "same_picture",  # frozen
    "black_picture",  # black
    "stopped_by_agent",
]
ModelState = Literal["absent", "loading", "running", "restarting", "failed", "stopped"]
Status = Literal["ok", "degraded", "failing"]
ProblemCode = Literal[
    "source_connecting",
    "source_frozen",
    "source_black",
    "source_lost",
    "source_stopped",
    "model_absent",  # the slot's first is on its way
    "model_loading",
    "model_restarting",
    "model_failed",
    "delegate_unavailable",  # asked for, and not to be had
    "delegate_fallback",  # left, because the model failed on it again and again
    "messages_dropped",
    "clock_not_synced",
]
EventKind = Literal["source", "worker", "update", "config"]
WorkerEvent = Literal["started", "crashed", "deadline", "memory", "protocol", "load", "moved_down", "moved_up"]
UpdateEvent = Literal[
    "accepted",
    "committed",
    "rejected",
    "failed",
    "rolled_back",
    "withdrawn",  # what serves, by its publisher
    "conflict",  # two desired with one rev
    "malformed",  # a desired or a command that is none
]
EventCode = SourceState | WorkerEvent | UpdateEvent

At = Annotated[str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{3}Z" + END)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{12}$")]


class Message(Struct, frozen=True, kw_only=True):
    """v: version of the contract; a breaking change gets topics of its own."""

    v: Literal[1] = 1


class FrameSize(Struct, frozen=True, kw_only=True):
    """Size of the source's frame in pixels."""

    width: Count
    height: Count


class ResultModel(Struct, frozen=True, kw_only=True):
    """The model that was asked. digest: the first 12 digits of its sha256."""

    slot: str
    name: str
    version: str
    digest: Digest


class Latency(Struct, frozen=True, kw_only=True):
    """Where the time went, in milliseconds: waiting for the worker, the three steps, and from capture to this message."""

    wait: Milliseconds
    preprocess: Milliseconds
    inference: Milliseconds
    postprocess: Milliseconds
    total: Milliseconds


class Detection(Struct, frozen=True, kw_only=True):
    """One object. box: x1, y1, x2, y2 as fractions of the source's frame."""

    label: str
    class_id: Count
    score: Ratio
    box: tuple[Ratio, Ratio, Ratio, Ratio]


class Pose(Detection, frozen=True, kw_only=True):
    """One object with its key points, in the order of the model: x, y as fractions of the source's frame, and score."""

    points: tuple[tuple[Ratio, Ratio, Ratio], ...]


class Mask(Struct, frozen=True, kw_only=True):
    """Which pixels of a grid over the source's frame are meant.

    size: height and width of the grid. rle: how many pixels are off, on, off, … in turn, down one column after the other, as COCO's
    uncompressed RLE counts them; they sum to height * width.
    """

    size: tuple[Count, Count]
    rle: tuple[Count, ...]


class Segment(Struct, frozen=True, kw_only=True):
    """All that is of one class. area: the part of the source's frame that it takes."""

    label: str
    class_id: Count
    area: Ratio
    mask: Mask


class ClassScore(Struct, frozen=True, kw_only=True):
    """One class of the whole picture."""

    label: str
    class_id: Count
    score: Ratio


class Result(Message, frozen=True, kw_only=True, tag_field="task"):
    """What a model saw in one frame.

    session: one start of the agent. seq: +1 a message of this pipeline in this session, so a gap is a loss.
    frame_seq: +1 a captured frame. captured_at: by a clock that was set from the network if clock_synced.
    truncated: only the best, or the largest, fit into the largest message.
    """

    id: str
    device: str
    pipeline: str
    source: str
    session: str
    seq: Count
    frame_seq: Count
    captured_at: At
    clock_synced: bool
    backfilled: bool = False
    truncated: bool = False
    frame: FrameSize
    model: ResultModel
    latency_ms: Latency


class DetectResult(Result, frozen=True, kw_only=True, tag="detect"):
    """Objects, best first. counts: label to number, of all that were found, also of those that a truncated message leaves out."""

    counts: dict[str, Count]
    detections: tuple[Detection, ...]


class ClassifyResult(Result, frozen=True, kw_only=True, tag="classify"):
    """The likeliest classes, best first."""

    classes: tuple[ClassScore, ...]


class KeypointsResult(Result, frozen=True, kw_only=True, tag="keypoints"):
    """Objects with key points, best first. counts: as of `DetectResult`."""

    counts: dict[str, Count]
    detections: tuple[Pose, ...]


class SegmentResult(Result, frozen=True, kw_only=True, tag="segment"):
    """What is there, the largest first. counts: label to 1, for all that was found."""

    counts: dict[str, Count]
    segments: tuple[Segment, ...]


AnyResult = DetectResult | ClassifyResult | KeypointsResult | SegmentResult


class Problem(Struct, frozen=True, kw_only=True):
    """Something that a person should look at. subject: the source, model or pipeline that it is about, else the device."""

    code: ProblemCode
    subject: str
    since_at: At
    detail: str


class Host(Struct, frozen=True, kw_only=True):
    """The computer. cpu_pct: of all cores, since the message before. memory_bytes: in use. null: this computer does not tell."""

    cpu_pct: Annotated[float, Meta(ge=0, le=100)]
    memory_bytes: Count
    disk_free_bytes: Count | None
    temperature_c: float | None
    throttled: bool | None


class Outbox(Struct, frozen=True, kw_only=True):
    """Messages that wait on disk for the broker. dropped: since the start."""

    messages: Count
    bytes: Count
    dropped: Count


class Percentiles(Struct, frozen=True, kw_only=True):
    """Of `latency_ms.total` since the message before."""

    p50: Milliseconds
    p95: Milliseconds
    p99: Milliseconds


class PipelineHealth(Struct, frozen=True, kw_only=True):
    """fps: frames answered a second, since the message before; the counts are since the start. latency_ms: null without a frame."""

    fps: Annotated[float, Meta(ge=0)]
    frames_in: Count
    frames_dropped: Count
    results: Count
    latency_ms: Percentiles | None


class ModelHealth(Struct, frozen=True, kw_only=True):
    """A model slot. delegate: what really runs it, null while it loads; delegate_requested: the first that was asked for. Both are
    null while it has no model, and `restarts` are those of the process of the model that serves.
    """

    state: ModelState
    restarts: Count
    delegate_requested: str | None
    delegate: str | None


class Health(Message, frozen=True, kw_only=True):
    """How the device is: every minute, and when something changes. failing: nothing comes out; degraded: something does not."""

    device: str
    at: At
    session: str
    status: Status
    uptime_s: Annotated[float, Meta(ge=0)]
    clock_synced: bool
    problems: tuple[Problem, ...]
    host: Host
    outbox: Outbox | UnsetType = UNSET
    pipelines: dict[str, PipelineHealth]
    models: dict[str, ModelHealth]


class Hardware(Struct, frozen=True, kw_only=True):
    """The computer. model: null where it does not tell."""

    model: str | None
    arch: str
    cores: Count
    memory_bytes: Count


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What a model slot holds. variant: of a bundle with variants, the one that serves. delegates: asked for, best first."""

    name: str
    version: str
    digest: Digest
    variant: str | None
    task: Task
    delegates: tuple[str, ...]


class PipelineInfo(Struct, frozen=True, kw_only=True):
    """Which source a pipeline watches with which model slot."""

    source: str
    model: str


class Info(Message, frozen=True, kw_only=True):
    """What the device is, at its start. labels: its own, from its config. versions: name to version. sources: name to kind."""

    device: str
    at: At
    session: str
    versions: dict[str, str]
    hardware: Hardware
    labels: dict[str, str]
    sources: dict[str, str]
    models: dict[str, ModelInfo]
    pipelines: dict[str, PipelineInfo]


class SourceStatus(Message, frozen=True, kw_only=True):
    """Whether a source gives pictures, and why not."""

    state: SourceState
    reason: SourceReason
    since_at: At


class PipelineState(Message, frozen=True, kw_only=True):
    """What is in front of a camera now, debounced. counts: label to number; null, never 0, while live is false."""

    live: bool
    counts: dict[str, Count] | None
    since_at: At


class Event(Message, frozen=True, kw_only=True):
    """Something happened. subject: the source, model slot or file that it is about. detail: one line for people."""

    device: str
    at: At
    kind: EventKind
    subject: str
    code: EventCode
    detail: str


_ENCODER = msgspec.json.Encoder()
_LISTS: dict[type, str] = {  # what may be too long
    DetectResult: "detections",
    ClassifyResult: "classes",
    KeypointsResult: "detections",
    SegmentResult: "segments",
}
_RESULT_DECODER = msgspec.json.Decoder(AnyResult)


@cache
def _decoder(kind: type[Message]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def utc_text(utc_ns: int) -> str:
    """An instant, in nanoseconds since 1970, as the messages have it: 2026-11-21T10:00:00.123Z."""
    seconds, ns = divmod(utc_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns // 1_000_000:03d}Z"


def now_text() -> str:
    """The instant, as `utc_text` has it."""
    return utc_text(time.time_ns())


def result_id(device: str, pipeline: str, session: str, seq: int) -> str:
    """The id of a result, unique for ever; a message that is sent again keeps it."""
    return f"{device}.{pipeline}.{session}.{seq}"


def detections_of(found: Detections, width: int, height: int, label: Callable[[int], str]) -> tuple[Detection, ...]:
    """Detections in pixels of a `width` x `height` source frame as the message has them: fractions, clipped, 4 decimals.

    Raises ValueError for a number that is not finite.
    """
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise ValueError("a detection's box or score is not a finite number")
    boxes = _rounded(found.boxes / np.array((width, height, width, height), np.float64))
    # from a list: a tuple from a generator is cut to its length, of which CPython then keeps up to 2000 freed ones
    return tuple(
        [
            Detection(label=label(class_id), class_id=class_id, score=score, box=tuple(box))
            for class_id, score, box in zip(found.class_ids.tolist(), _rounded(found.scores), boxes, strict=True)
        ]
    )


def classes_of(found: Classes, label: Callable[[int], str]) -> tuple[ClassScore, ...]:
    """Classes as the message has them: scores with 4 decimals. Raises ValueError for a number that is not finite."""
    if not np.isfinite(found.scores).all():
        raise ValueError("a class's score is not a finite number")
    return tuple(  # as above
        [
            ClassScore(label=label(class_id), class_id=class_id, score=score)
            for class_id, score in zip(found.class_ids.tolist(), _rounded(found.scores), strict=True)
        ]
    )


def poses_of(found: Poses, width: int, height: int, label: Callable[[int], str]) -> tuple[Pose, ...]:
    """Poses as the message has them, see `detections_of`."""
    if not np.isfinite(found.points).all():
        raise ValueError("a pose's point is not a finite number")
    detections = detections_of(Detections(found.boxes, found.scores, found.class_ids), width, height, label)
    points = _rounded(found.points / np.array((width, height, 1), np.float64))
    return tuple(  # as above
        [
            Pose(
                label=one.label, class_id=one.class_id, score=one.score, box=one.box, points=tuple([tuple(point) for point in its])
            )
            for one, its in zip(detections, points, strict=True)
        ]
    )


def segments_of(found: Segments, label: Callable[[int], str]) -> tuple[Segment, ...]:
    """Segments as the message has them: areas with 4 decimals, masks as fine as `MAX_RUNS` allows.

    The masks' resolution is halved as often as it takes: less is lost than by leaving a class out.
    """
    class_map = found.class_map
    masks = run_lengths(class_map, found.class_ids)
    while sum(map(len, masks)) > MAX_RUNS and class_map.size > 1:
        class_map = class_map[::2, ::2]
        masks = run_lengths(class_map, found.class_ids)
    height, width = class_map.shape
    return tuple(  # as above
        [
            Segment(label=label(class_id), class_id=class_id, area=area, mask=Mask(size=(height, width), rle=tuple(runs)))
            for class_id, area, runs in zip(found.class_ids.tolist(), _rounded(found.areas), masks, strict=True)
        ]
    )


def _rounded(values: NDArray[np.floating[Any]]) -> Any:
    return values.astype(np.float64).clip(0, 1).round(4).tolist()


def encode(message: Message) -> bytes:
    """The message as JSON; for results see `encode_result`. ValueError where it breaks its own type: a NaN, an unknown code."""
    return _encode(message, _decoder(type(message)))


def encode_result(result: AnyResult) -> bytes:
    """The result as JSON of at most `MAX_RESULT_BYTES`: what does not fit is left out from the end, counts are kept.

    Raises ValueError as `encode` does.
    """
    payload = _encode(result, _RESULT_DECODER)
    return payload if len(payload) <= MAX_RESULT_BYTES else _encode(_truncated(result), _RESULT_DECODER)


def _encode(message: Message, decoder: msgspec.json.Decoder[Any]) -> bytes:
    # msgspec checks types when it decodes, not when it encodes, and writes NaN as null; decoding takes 2 µs for a common result
    payload = _ENCODER.encode(message)
    try:
        same = decoder.decode(payload) == message
    except msgspec.ValidationError as error:
        raise ValueError(f"{type(message).__name__} breaks its schema: {error}") from None
    if not same:
        raise ValueError(f"{type(message).__name__} has a number that is not finite")
    return payload


def _truncated(result: AnyResult) -> AnyResult:
    field = _LISTS[type(result)]
    items = getattr(result, field)
    room = MAX_RESULT_BYTES - len(_ENCODER.encode(msgspec.structs.replace(result, **{field: (), "truncated": True})))
    ends = list(accumulate(len(_ENCODER.encode(item)) + len(",") for item in items))
    kept = bisect_right(ends, room + len(","))  # the last one has no comma
    return msgspec.structs.replace(result, **{field: items[:kept], "truncated": True})
