"""What `edge-agent eval` judges models by: one file a kind of truth."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from agent.core.spec import ModelSpec, Task
from agent.core.types import Prediction
from agent.pipeline.config import PipelineConfig
from agent.worker.inference import FrameInfo


class Judge(Protocol):
    """Knows the truth about pictures, and compares it with what a model sees in them."""

    task: ClassVar[Task]  # of the models that it can judge

    @property
    def pictures(self) -> Sequence[Path]:
        """What the model is to see, in this order."""

    def thresholds(self, spec: ModelSpec) -> PipelineConfig:
        """What a model is to be asked for, where the command line does not say."""

    def begin(self, spec: ModelSpec) -> None:
        """Called once, before the first picture. DatasetError where the model's classes are not those of the truth."""

    def add(self, number: int, frame: FrameInfo, prediction: Prediction) -> None:
        """What the model saw in `pictures[number]`. DatasetError where the truth is about another picture."""

    def figures(self) -> Mapping[str, Any]:
        """The result, for programs: what JSON can hold."""

    def lines(self) -> Iterator[str]:
        """The result, for people."""
