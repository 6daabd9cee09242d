import numpy as np
import pytest

from agent.core.masks import segments_in
from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from agent.core.types import Classes, Detections, Poses, Segments, TensorSpec
from agent.pipeline.config import PipelineConfig, PublishConfig
from agent.pipeline.filters import Filter, PublishPolicy, counts, thresholds_for

S = 10**9
SPEC = ModelSpec(
    name="m",
    version="1.0.0",
    digest="0" * 64,
    task="detect",
    labels=("person", "car", "dog"),
    input=InputSpec((8, 8)),
    tensor=TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC"),
    head=HeadSpec("yolo"),
    thresholds=Thresholds(score=0.25, iou=0.45, max_detections=3),
)


def detections(*class_ids: int) -> Detections:
    n = len(class_ids)
    return Detections(np.zeros((n, 4), np.float32), np.linspace(0.9, 0.5, n, dtype=np.float32), np.array(class_ids, np.int32))


def config(**fields: object) -> PipelineConfig:
    return PipelineConfig(source="s", model="m", **fields)  # type: ignore[arg-type]  # each test gives fields of its own


def test_labels_then_cap() -> None:
    keep = Filter(SPEC, config(labels=["car", "dog"], max_detections=2))
    assert keep(detections(0, 1, 0, 2, 1)).class_ids.tolist() == [1, 2]


def test_without_words_the_bundles_cap_holds() -> None:
    assert Filter(SPEC, config())(detections(0, 1, 2, 1)).class_ids.tolist() == [0, 1, 2]


def test_labels_that_the_model_does_not_have_are_named() -> None:
    keep = Filter(SPEC, config(labels=["car", "unicorn"]))
    assert keep.unknown == {"unicorn"}
    assert keep(detections(0, 1)).class_ids.tolist() == [1]


def test_a_pipelines_thresholds_go_over_the_bundles() -> None:
    assert thresholds_for(SPEC, config()) == SPEC.thresholds
    own = thresholds_for(SPEC, config(score=0.0, iou=0.9, max_detections=50))
    assert own == Thresholds(score=0.0, iou=0.9, max_detections=50)


def test_counts_are_by_label_and_of_a_classifier_the_likeliest() -> None:
    assert counts(detections(0, 1, 0), SPEC) == {"person": 2, "car": 1}
    assert counts(Classes(np.array([0.8, 0.1], np.float32), np.array([2, 0], np.int32)), SPEC) == {"dog": 1}
    assert counts(Classes(np.zeros(0, np.float32), np.zeros(0, np.int32)), SPEC) == {}


def test_segments_are_kept_by_label_then_by_area() -> None:
    found = segments_in(np.array([[0, 1, 1, 2, 2, 2, -1]], np.int16))
    kept = Filter(SPEC, config(labels=["person", "car"], max_detections=1))(found)
    assert isinstance(kept, Segments)
    assert (kept.class_ids.tolist(), counts(kept, SPEC)) == ([1], {"car": 1})
    assert counts(found, SPEC) == {"dog": 1, "car": 1, "person": 1}


def test_poses_are_kept_with_their_points() -> None:
    boxes, scores, class_ids = np.zeros((2, 4), np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 2], np.int32)
    poses = Poses(boxes, scores, class_ids, np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    kept = Filter(SPEC, config(labels=["dog"]))(poses)
    assert isinstance(kept, Poses)
    assert kept.points.tolist() == [[[6, 7, 8], [9, 10, 11]]]
    assert counts(poses, SPEC) == {"person": 1, "dog": 1}


ONE, TWO, NONE = {"person": 1}, {"person": 2}, dict[str, int]()


@pytest.mark.parametrize(
    ("settings", "seen", "published"),
    [
        (PublishConfig(), [ONE, ONE, NONE, TWO], [0, 1, 3]),
        (PublishConfig(empty=True), [ONE, NONE, NONE], [0, 1, 2]),
        (PublishConfig(when="change"), [NONE, ONE, ONE, TWO, TWO, NONE, TWO], [1, 3, 6]),
        (PublishConfig(when="change", empty=True), [ONE, NONE, NONE, ONE], [0, 1, 3]),
        (PublishConfig(max_hz=0.5), [ONE] * 6, [0, 2, 4]),
        (PublishConfig(when="change", max_hz=0.25), [ONE, TWO, ONE, ONE, TWO, TWO], [0, 4]),
        (PublishConfig(when="interval", interval_s=3), [NONE, ONE, ONE, NONE, ONE, ONE, ONE], [0, 3, 6]),
    ],
)
def test_which_results_go_out(settings: PublishConfig, seen: list[dict[str, int]], published: list[int]) -> None:
    """One frame a second."""
    policy = PublishPolicy(settings)
    assert [second for second, found in enumerate(seen) if policy.wants(found, second * S)] == published
