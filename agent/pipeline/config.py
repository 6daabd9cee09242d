"""The `models:` and `pipelines:` sections."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Score = Annotated[float, Meta(ge=0, le=1)]


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model slot. bundle: a model file, a bundle's directory, or name@version. labels: a label list, for a bare model file.

    threads: of one inference; one less than the cores, at most 4, where it is left out. memory_limit_mb: of the worker, which is
    restarted above it.
    """

    bundle: str
    labels: str | None = None
    delegates: list[str] = field(default_factory=list)
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    graph_optimization: Literal["none", "basic", "extended", "all"] = "all"
    memory_limit_mb: Annotated[int, Meta(ge=32)] = 1024


class PublishConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When results go out.

    when: every result; at a change of the set of labels or their counts; or at an interval, one every `interval_s`.
    max_hz: at most so many a second. empty: also results without anything in them.
    """

    when: Literal["every", "change", "interval"] = "every"
    max_hz: Annotated[float, Meta(gt=0)] | None = None
    interval_s: Annotated[float, Meta(gt=0)] = 10.0
    empty: bool = False

    def __post_init__(self) -> None:
        """ValueError for what would be ignored."""
        if self.when == "interval" and self.max_hz is not None:
            raise ValueError("when: interval has a rate already, interval_s; leave out max_hz")


class PipelineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source, the model slot that looks at it, and which results go out. score, iou, max_detections: over the bundle's."""

    source: str
    model: str
    score: Score | None = None
    iou: Score | None = None
    max_detections: Annotated[int, Meta(ge=1, le=5000)] | None = None
    labels: list[str] | None = None
    publish: PublishConfig = field(default_factory=PublishConfig)
