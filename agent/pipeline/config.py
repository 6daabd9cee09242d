"""The `models:` and `pipelines:` sections."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from agent.checked import Name
from agent.runtimes import Delegate, RuntimeName

Score = Annotated[float, Meta(ge=0, le=1)]


class DelegateConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A delegate with its options. library: of an external LiteRT delegate, a file or a name that the system finds."""

    name: Name
    library: str | None = None
    options: dict[str, str | int | float | bool] = {}

    def __post_init__(self) -> None:
        """ValueError for what would be ignored."""
        if self.library is not None and self.name in ("xnnpack", "cpu"):
            raise ValueError(f"{self.name} is LiteRT's own and takes no library; give the delegate another name")
        if self.library == "":
            raise ValueError("library: expected a file, got nothing")


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model slot. bundle: a model file, a bundle's directory, or name@version. labels: a label list, for a bare model file.

    allow: names of the bundles that it may be given over the air; that of its first one alone, where it is left out. runtime: what
    runs it, where its file leaves a choice. delegates: what it may run on, best first; the runtime's own where none is named.
    threads: of one inference; one less than the cores, at most 4, where it is left out. memory_limit_mb: of the worker, which is
    restarted above it.
    """

    bundle: str
    labels: str | None = None
    allow: list[Name] | None = None
    runtime: RuntimeName | None = None
    delegates: list[Name | DelegateConfig] = field(default_factory=list)
    threads: Annotated[int, Meta(ge=1, le=64)] | None = None
    graph_optimization: Literal["none", "basic", "extended", "all"] = "all"
    memory_limit_mb: Annotated[int, Meta(ge=32)] = 1024

    def __post_init__(self) -> None:
        """ValueError for a delegate that is there twice."""
        names = [delegate if isinstance(delegate, str) else delegate.name for delegate in self.delegates]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"delegates: {min(twice)} is there twice")

    def asked_delegates(self) -> tuple[Delegate, ...]:
        """What a runtime is asked for, best first."""
        return tuple(
            Delegate(one) if isinstance(one, str) else Delegate(one.name, one.library, _as_text(one.options))
            for one in self.delegates
        )


def _as_text(options: dict[str, str | int | float | bool]) -> dict[str, str]:
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in options.items()}


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
