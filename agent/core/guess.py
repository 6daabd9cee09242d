"""Which heads could decode a model that says nothing of itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.core.heads import HEADS, Head, ModelOutputs
from agent.loading import load_class

COCO = 80  # classes of most detectors that come without labels
SHADOWED = {  # heads whose tensors a rarer or a wider family could have as well
    "yolo_end2end": ("detr",),  # of two classes, in one tensor
    "yolo_pose": ("detr",),  # of 53
    "detr": ("scores_boxes",),
    "picodet": ("nanodet",),
    "blazeface": ("scores_boxes",),
}


@dataclass(frozen=True, slots=True)
class Guess:
    """heads: those that may be meant, best first, with the number of classes that each implies, None where it does not say.

    wanting: of heads whose tensors these may be, but for their options, what they say.
    """

    heads: dict[str, int | None] = field(default_factory=dict)
    wanting: tuple[str, ...] = ()


def guess_heads(outputs: ModelOutputs, among: Iterable[str] = HEADS) -> Guess:
    """The heads that fit these tensors with their default options.

    Where several do, the number of labels decides, `COCO` if it is not known; where that does not, all of them are given.
    """
    fitting: dict[str, int | None] = {}
    wanting = []
    for name in among:
        head: type[Head] = load_class(HEADS[name])
        try:
            classes = head.classes(outputs)
        except ValueError:
            continue
        try:
            head(outputs, head.Options())
        except ValueError as error:
            wanting.append(str(error))
        else:
            fitting[name] = classes
    shadowed = {other for name in fitting for other in SHADOWED.get(name, ())}
    fitting = {name: classes for name, classes in fitting.items() if name not in shadowed}
    likely = {name: classes for name, classes in fitting.items() if classes in _wanted(outputs)}
    return Guess(likely or fitting, tuple(wanting))


def _wanted(outputs: ModelOutputs) -> tuple[int | None, ...]:
    return (outputs.classes, None) if outputs.classes else (COCO,)
