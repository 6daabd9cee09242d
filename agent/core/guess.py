"""Which heads could decode a model that says nothing of itself."""

from agent.core.heads import HEADS, Head, ModelOutputs
from agent.loading import load_class

COCO = 80  # classes of most detectors that come without labels


def guess_heads(outputs: ModelOutputs) -> list[str]:
    """Names of the heads that fit these tensors with their default options, best first; empty where none does.

    Where several do, the number of classes decides, `COCO` if it is not known; where that does not, all of them are given.
    """
    fitting = {}
    for name, path in HEADS.items():
        head: type[Head] = load_class(path)
        try:
            head(outputs, head.Options())
        except ValueError:
            continue
        fitting[name] = head.classes(outputs)
    return [name for name, classes in fitting.items() if classes == (outputs.classes or COCO)] or list(fitting)
