"""Which heads could decode a model that says nothing of itself."""

from importlib import import_module

from agent.core.heads import HEADS, Head, ModelOutputs

COCO = 80  # classes of most detectors that come without labels


def guess_heads(outputs: ModelOutputs) -> list[str]:
    """Names of the heads that fit these tensors with their default options, best first; empty where none does.

    Where several do, the number of classes decides, `COCO` if it is not known; where that does not, all of them are given.
    """
    fitting = {}
    for name, path in HEADS.items():
        module, _, attribute = path.partition(":")
        head: type[Head] = getattr(import_module(module), attribute)
        try:
            head(outputs, head.Options())
        except ValueError:
            continue
        fitting[name] = head.classes(outputs)
    return [name for name, classes in fitting.items() if classes == (outputs.classes or COCO)] or list(fitting)
