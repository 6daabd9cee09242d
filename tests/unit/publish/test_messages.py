import json
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.masks import segments_in
from agent.core.types import Classes, Detections, Poses
from agent.publish.messages import (
    MAX_RESULT_BYTES,
    MAX_RUNS,
    ClassifyResult,
    ClassScore,
    Detection,
    DetectResult,
    Event,
    FrameSize,
    Health,
    Host,
    KeypointsResult,
    Latency,
    Percentiles,
    PipelineHealth,
    PipelineState,
    ResultModel,
    SegmentResult,
    SourceStatus,
    classes_of,
    detections_of,
    encode,
    encode_result,
    poses_of,
    result_id,
    segments_of,
    utc_text,
)

AT = "2026-11-21T10:00:00.123Z"
COMMON: dict[str, Any] = {
    "id": "gate-03.gate.17-6f1c.4711",
    "device": "gate-03",
    "pipeline": "gate",
    "source": "gate",
    "session": "17-6f1c",
    "seq": 4711,
    "frame_seq": 14133,
    "captured_at": AT,
    "clock_synced": True,
    "frame": FrameSize(width=1280, height=720),
    "model": ResultModel(slot="people", name="people", version="1.3.0", digest="a1b2c3d4e5f6"),
    "latency_ms": Latency(wait=0.8, preprocess=0.4, inference=14.1, postprocess=0.2, total=15.6),
}
PERSON = Detection(label="person", class_id=0, score=0.91, box=(0.1, 0.2, 0.35, 0.88))


def detect_result(*detections: Detection, **fields: Any) -> DetectResult:
    return DetectResult(**{**COMMON, "counts": {"person": len(detections)}, "detections": detections, **fields})


def health(**host: Any) -> Health:
    reading = {"cpu_pct": 12.5, "memory_bytes": 1, "disk_free_bytes": 2, "temperature_c": 50.0, "throttled": False}
    return Health(
        device="gate-03",
        at=AT,
        session="17-6f1c",
        status="ok",
        uptime_s=1.0,
        clock_synced=True,
        problems=(),
        host=Host(**{**reading, **host}),
        pipelines={},
        models={},
    )


def test_a_detection_result_is_the_documented_json() -> None:
    assert json.loads(encode_result(detect_result(PERSON))) == {
        "v": 1,
        "id": "gate-03.gate.17-6f1c.4711",
        "device": "gate-03",
        "pipeline": "gate",
        "source": "gate",
        "session": "17-6f1c",
        "seq": 4711,
        "frame_seq": 14133,
        "captured_at": AT,
        "clock_synced": True,
        "backfilled": False,
        "truncated": False,
        "frame": {"width": 1280, "height": 720},
        "model": {"slot": "people", "name": "people", "version": "1.3.0", "digest": "a1b2c3d4e5f6"},
        "latency_ms": {"wait": 0.8, "preprocess": 0.4, "inference": 14.1, "postprocess": 0.2, "total": 15.6},
        "task": "detect",
        "counts": {"person": 1},
        "detections": [{"label": "person", "class_id": 0, "score": 0.91, "box": [0.1, 0.2, 0.35, 0.88]}],
    }


def test_a_classification_result_has_classes_instead() -> None:
    result = ClassifyResult(**COMMON, classes=(ClassScore(label="cat", class_id=286, score=0.72),))
    message = json.loads(encode_result(result))
    assert message["task"] == "classify"
    assert message["classes"] == [{"label": "cat", "class_id": 286, "score": 0.72}]
    assert "detections" not in message


def test_the_id_says_where_a_result_comes_from() -> None:
    assert result_id("gate-03", "gate", "17-6f1c", 4711) == "gate-03.gate.17-6f1c.4711"


@pytest.mark.parametrize(
    ("utc_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_255_200_123_999_999, "2026-11-21T10:00:00.123Z"),
        (1_795_255_199_999_999_999, "2026-11-21T09:59:59.999Z"),
    ],
)
def test_instants_are_cut_to_milliseconds(utc_ns: int, text: str) -> None:
    assert utc_text(utc_ns) == text


NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_number_that_is_not_finite_is_no_payload(number: float) -> None:
    with pytest.raises(ValueError, match="DetectResult breaks its schema"):
        encode_result(detect_result(msgspec.structs.replace(PERSON, score=number)))
    with pytest.raises(ValueError, match="DetectResult breaks its schema"):
        encode_result(detect_result(msgspec.structs.replace(PERSON, box=(0.0, number, 1.0, 1.0))))
    with pytest.raises(ValueError, match="DetectResult breaks its schema"):
        encode_result(detect_result(latency_ms=msgspec.structs.replace(COMMON["latency_ms"], total=number)))
    with pytest.raises(ValueError, match="Health breaks its schema"):
        encode(health(cpu_pct=number))
    with pytest.raises(ValueError, match="Health has a number that is not finite"):
        encode(health(temperature_c=number))


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_prediction_that_is_not_finite_is_no_detection(number: float) -> None:
    one = np.array([0.5], np.float32)
    box = np.array([[0, 0, 1, number]], np.float32)
    with pytest.raises(ValueError, match="not a finite number"):
        detections_of(Detections(box, one, np.array([0], np.int32)), 10, 10, str)
    with pytest.raises(ValueError, match="not a finite number"):
        detections_of(Detections(np.zeros_like(box), one * number, np.array([0], np.int32)), 10, 10, str)
    with pytest.raises(ValueError, match="not a finite number"):
        classes_of(Classes(one * number, np.array([0], np.int32)), str)


def test_values_outside_the_contract_are_refused() -> None:
    with pytest.raises(ValueError, match="PipelineState breaks its schema"):
        encode(PipelineState(live=True, counts={"person": -1}, since_at=AT))
    with pytest.raises(ValueError, match="SourceStatus breaks its schema"):
        encode(SourceStatus(state="running", reason="none", since_at=AT))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Event breaks its schema"):
        encode(Event(device="d", at="now", kind="source", subject="gate", code="lost", detail=""))


def test_a_camera_that_is_lost_has_no_counts() -> None:
    state = PipelineState(live=False, counts=None, since_at=AT)
    assert json.loads(encode(state)) == {"v": 1, "live": False, "counts": None, "since_at": AT}


def test_health_without_an_outbox_does_not_mention_it() -> None:
    message = health(temperature_c=None, throttled=None)
    pipeline = PipelineHealth(fps=9.5, frames_in=10, frames_dropped=1, results=3, latency_ms=Percentiles(p50=1.0, p95=2.0, p99=3.0))
    written = json.loads(encode(msgspec.structs.replace(message, pipelines={"gate": pipeline})))
    assert "outbox" not in written
    assert written["host"]["temperature_c"] is None
    assert written["pipelines"]["gate"]["latency_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 3.0}


def test_boxes_become_clipped_fractions_with_four_decimals() -> None:
    found = Detections(
        boxes=np.array([[12.8, 14.4, 448, 633.6], [-5, -5, 1290, 730]], np.float32),
        scores=np.array([0.912345, 0.5], np.float32),
        class_ids=np.array([0, 2], np.int32),
    )
    labels = ("person", "bicycle", "car")
    assert detections_of(found, 1280, 720, labels.__getitem__) == (
        Detection(label="person", class_id=0, score=0.9123, box=(0.01, 0.02, 0.35, 0.88)),
        Detection(label="car", class_id=2, score=0.5, box=(0.0, 0.0, 1.0, 1.0)),
    )


def test_nothing_found() -> None:
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
    assert detections_of(nothing, 1280, 720, str) == ()
    assert classes_of(Classes(np.empty(0, np.float32), np.empty(0, np.int32)), str) == ()


def test_making_them_leaves_nothing_in_memory() -> None:
    boxes, scores, class_ids = np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.zeros(3, np.int32)
    detections, classes = Detections(boxes, scores, class_ids), Classes(scores, class_ids)

    def blocks_after(times: int) -> int:
        for _ in range(times):
            detections_of(detections, 10, 10, str)
            classes_of(classes, str)
        return sys.getallocatedblocks()

    before = blocks_after(100)
    assert blocks_after(1000) - before < 100


def test_classes_keep_their_order() -> None:
    found = Classes(np.array([0.7, 0.20001], np.float32), np.array([286, 3], np.int32))
    assert classes_of(found, str) == (
        ClassScore(label="286", class_id=286, score=0.7),
        ClassScore(label="3", class_id=3, score=0.2),
    )


@given(
    boxes=st.lists(st.tuples(*[st.floats(-2000, 4000, width=32)] * 4), max_size=20),
    width=st.integers(1, 8000),
    height=st.integers(1, 8000),
)
def test_every_finite_prediction_can_be_encoded(boxes: list[tuple[float, ...]], width: int, height: int) -> None:
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(count, 4), np.linspace(1, 0, count, dtype=np.float32), np.zeros(count, np.int32)
    )
    detections = detections_of(found, width, height, lambda _class_id: "person")
    payload = encode_result(detect_result(*detections))
    assert msgspec.json.decode(payload, type=DetectResult).detections == detections


@given(count=st.integers(0, 1500), label=st.text(max_size=60))
def test_the_best_are_kept_in_a_message_that_would_be_too_long(count: int, label: str) -> None:
    detections = tuple(
        Detection(label=label, class_id=0, score=round(1 - index / 2000, 4), box=(0.1234, 0.2345, 0.3456, index / 2000))
        for index in range(count)
    )
    payload = encode_result(detect_result(*detections))
    result = msgspec.json.decode(payload, type=DetectResult)
    kept = len(result.detections)
    assert len(payload) <= MAX_RESULT_BYTES
    assert result.detections == detections[:kept]
    assert result.counts == {"person": count}
    assert result.truncated == (kept < count)
    if result.truncated:
        one_more = msgspec.structs.replace(result, detections=detections[: kept + 1])
        assert len(msgspec.json.encode(one_more)) > MAX_RESULT_BYTES


def test_a_long_classification_is_truncated_too() -> None:
    classes = tuple(ClassScore(label=f"class number {index}", class_id=index, score=0.0) for index in range(5000))
    result = msgspec.json.decode(encode_result(ClassifyResult(**COMMON, classes=classes)), type=ClassifyResult)
    assert result.truncated
    assert result.classes == classes[: len(result.classes)]


def test_key_points_are_fractions_too() -> None:
    found = Poses(
        boxes=np.array([[12.8, 14.4, 448, 633.6]], np.float32),
        scores=np.array([0.912345], np.float32),
        class_ids=np.array([0], np.int32),
        points=np.array([[[640, 360, 0.77777], [-5, 800, 0]]], np.float32),
    )
    result = KeypointsResult(**COMMON, counts={"person": 1}, detections=poses_of(found, 1280, 720, lambda _: "person"))
    message = json.loads(encode_result(result))
    assert (message["task"], message["counts"]) == ("keypoints", {"person": 1})
    assert message["detections"] == [
        {
            "label": "person",
            "class_id": 0,
            "score": 0.9123,
            "box": [0.01, 0.02, 0.35, 0.88],
            "points": [[0.5, 0.5, 0.7778], [0.0, 1.0, 0.0]],
        }
    ]


@pytest.mark.parametrize("number", NOT_FINITE)
def test_a_point_that_is_not_finite_is_no_payload(number: float) -> None:
    one = np.array([0.5], np.float32)
    found = Poses(np.zeros((1, 4), np.float32), one, np.array([0], np.int32), np.array([[[0, number, 1]]], np.float32))
    with pytest.raises(ValueError, match="not a finite number"):
        poses_of(found, 10, 10, str)


def test_segments_have_an_area_and_a_mask() -> None:
    class_map = np.array([[-1, 3, 3], [-1, 3, 1]], np.int16)
    segments = segments_of(segments_in(class_map), str)
    message = json.loads(encode_result(SegmentResult(**COMMON, counts={"3": 1, "1": 1}, segments=segments)))
    assert message["task"] == "segment"
    assert message["segments"] == [
        {"label": "3", "class_id": 3, "area": 0.5, "mask": {"size": [2, 3], "rle": [2, 3, 1]}},
        {"label": "1", "class_id": 1, "area": 0.1667, "mask": {"size": [2, 3], "rle": [5, 1]}},
    ]


def test_masks_that_are_too_fine_are_halved_until_they_fit() -> None:
    noise = np.random.default_rng(0).integers(-1, 20, (513, 513)).astype(np.int16)
    found = segments_in(noise)
    segments = segments_of(found, str)
    assert [segment.class_id for segment in segments] == found.class_ids.tolist()
    assert segments[0].area == pytest.approx(1 / 21, abs=0.001)
    assert segments[0].mask.size == (65, 65)
    assert sum(len(segment.mask.rle) for segment in segments) <= MAX_RUNS
    payload = encode_result(SegmentResult(**COMMON, counts={}, segments=segments))
    assert len(payload) <= MAX_RESULT_BYTES
    assert not json.loads(payload)["truncated"]
    coarse = segments_of(segments_in(noise[::8, ::8]), str)
    masks = {segment.class_id: segment.mask for segment in coarse}
    assert all(segment.mask == masks[segment.class_id] for segment in segments)


def test_the_largest_segments_are_kept_in_a_message_that_would_be_too_long() -> None:
    class_map = np.repeat(np.arange(2000, dtype=np.int16), 2)[None]
    segments = segments_of(segments_in(class_map), lambda class_id: f"class number {class_id}")
    payload = encode_result(SegmentResult(**COMMON, counts={}, segments=segments))
    result = msgspec.json.decode(payload, type=SegmentResult)
    assert len(payload) <= MAX_RESULT_BYTES
    assert result.truncated
    assert 0 < len(result.segments) < 2000
    assert result.segments == segments[: len(result.segments)]
    assert segments_of(segments_in(np.full((4, 4), -1, np.int16)), str) == ()
