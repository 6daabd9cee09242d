"""Classifications against folders of pictures, one folder a class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from agent.cli.evaluation.names import plain
from agent.core.spec import ModelSpec, Task
from agent.core.types import Classes, Prediction
from agent.errors import DatasetError, UsageError
from agent.pipeline.config import PipelineConfig
from agent.sources.config import PICTURES
from agent.worker.inference import FrameInfo

TOP = 5


def read_folders(folder: Path) -> list[tuple[str, Path]]:
    """Each picture with its class, by name. UsageError where there is no such folder, DatasetError where it has no pictures."""
    try:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        found = [(c.name, file) for c in classes for file in sorted(c.iterdir()) if file.suffix.lower() in PICTURES]
    except OSError as error:
        raise UsageError(f"--folders {folder}: {error.strerror}") from None
    if not found:
        raise DatasetError(f"{folder}: there are no pictures in folders of their class in it, such as {folder}/cat/1.jpg")
    return found


def class_ids_of(name: str, labels: Sequence[str]) -> set[int]:
    """Class ids that a folder's name means: those of the labels that are called so, or its number.

    ImageNet's labels are lists, `goldfish, Carassius auratus`, and some of them are there twice.
    """
    ids = {i for i, label in enumerate(labels) if plain(name) in (plain(label), plain(label.partition(",")[0]))}
    if not ids and name.isdecimal() and len(name) < 7 and (not labels or int(name) < len(labels)):
        return {int(name)}
    return ids


@dataclass(slots=True)
class FoldersJudge:
    """How often the right class is the likeliest, or among the five likeliest."""

    task: ClassVar[Task] = "classify"
    folder: Path
    truth: list[tuple[str, Path]]
    _ids: dict[str, set[int]] = field(init=False, default_factory=dict)
    _ranks: dict[str, list[int | None]] = field(init=False, default_factory=dict)  # of the right class in each picture, from 0

    @property
    def pictures(self) -> Sequence[Path]:
        """By class."""
        return [file for _, file in self.truth]

    def thresholds(self, spec: ModelSpec) -> PipelineConfig:  # noqa: ARG002  others need it
        """The likeliest, however unlikely."""
        return PipelineConfig(source="", model="", score=0.0, max_detections=TOP)

    def begin(self, spec: ModelSpec) -> None:
        """See Judge."""
        names = dict.fromkeys(name for name, _ in self.truth)
        self._ids = {name: class_ids_of(name, spec.labels) for name in names}
        unknown = [name for name, ids in self._ids.items() if not ids]
        if unknown:
            raise DatasetError(f"{self.folder}: {', '.join(unknown)}: neither a label of the model nor a class id")
        self._ranks = {name: [] for name in names}

    def add(self, number: int, frame: FrameInfo, prediction: Prediction) -> None:  # noqa: ARG002  others need it
        """See Judge."""
        assert isinstance(prediction, Classes)  # noqa: S101  as `task` says
        name, _ = self.truth[number]
        ranked = prediction.class_ids[:TOP].tolist()
        self._ranks[name].append(next((rank for rank, class_id in enumerate(ranked) if class_id in self._ids[name]), None))

    def figures(self) -> Mapping[str, Any]:
        """See Judge."""
        every = [rank for ranks in self._ranks.values() for rank in ranks]
        return _rates(every) | {"classes": [{"name": name} | _rates(ranks) for name, ranks in self._ranks.items()]}

    def lines(self) -> Iterator[str]:
        """See Judge."""
        found = self.figures()
        yield f"{'class':24} {'pictures':>8} {'top-1':>6} {f'top-{TOP}':>6}"
        for row in (*found["classes"], {"name": "all", **found}):
            yield f"{row['name']:24} {row['pictures']:8} {row['top1']:6.3f} {row['top5']:6.3f}"


def _rates(ranks: Sequence[int | None]) -> dict[str, Any]:
    first, among = sum(rank == 0 for rank in ranks), sum(rank is not None for rank in ranks)
    return {"pictures": len(ranks), "top1": round(first / len(ranks), 4), "top5": round(among / len(ranks), 4)}
