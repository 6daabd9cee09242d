"""What of a prediction a pipeline lets out, and when."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from agent.core.spec import ModelSpec, Thresholds
from agent.core.types import Classes, Prediction
from agent.pipeline.config import PipelineConfig, PublishConfig


def thresholds_for(spec: ModelSpec, config: PipelineConfig) -> Thresholds:
    """A pipeline's thresholds over its model's. Its cap applies after its label filter, so the model may find more than that."""
    own = spec.thresholds
    return replace(
        own,
        score=own.score if config.score is None else config.score,
        iou=own.iou if config.iou is None else config.iou,
        max_detections=max(own.max_detections, config.max_detections or 0),
    )


class Filter:
    """Keeps the labels that a pipeline asks for, and at most so many."""

    def __init__(self, spec: ModelSpec, config: PipelineConfig) -> None:
        wanted = set(config.labels or ())
        self.unknown = wanted - set(spec.labels)  # labels that this model does not have
        self._ids = np.array([i for i, label in enumerate(spec.labels) if label in wanted], np.int32)
        self._by_label = config.labels is not None
        self._cap = config.max_detections or spec.thresholds.max_detections

    def __call__(self, prediction: Prediction) -> Prediction:
        """What is left, best first."""
        if self._by_label:
            prediction = prediction[np.isin(prediction.class_ids, self._ids)]
        return prediction[: self._cap]


def counts(prediction: Prediction, spec: ModelSpec) -> dict[str, int]:
    """Label to number of objects; of a classifier, its likeliest class alone; of a segmentation, 1 for each class that is there."""
    if isinstance(prediction, Classes):
        return {spec.label(int(i)): 1 for i in prediction.class_ids[:1]}
    return dict(Counter(spec.label(int(i)) for i in prediction.class_ids))


class PublishPolicy:
    """Decides which results go out."""

    def __init__(self, config: PublishConfig) -> None:
        self._config = config
        self._least_ns = int(1e9 / config.max_hz) if config.max_hz else 0
        self._interval_ns = int(config.interval_s * 1e9)
        self._last_ns: int | None = None
        self._last_counts: Mapping[str, int] = {}

    def wants(self, found: Mapping[str, int], mono_ns: int) -> bool:
        """Whether to publish a result with these counts, of a frame captured at `mono_ns`."""
        if not self._due(found, mono_ns):
            return False
        self._last_counts = found
        if not found and not (self._config.empty or self._config.when == "interval"):
            return False
        self._last_ns = mono_ns
        return True

    def _due(self, found: Mapping[str, int], mono_ns: int) -> bool:
        since_ns = None if self._last_ns is None else mono_ns - self._last_ns
        if self._config.when == "interval":
            return since_ns is None or since_ns >= self._interval_ns
        if self._config.when == "change" and found == self._last_counts:
            return False
        return since_ns is None or since_ns >= self._least_ns
