"""SSD models that end in TensorFlow Lite's own post-processing, NMS included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from agent.core.heads import ModelOutputs
from agent.core.heads.tensors import described, not_below, ranked
from agent.core.spec import Task, Thresholds
from agent.core.types import Detections, TensorSpec

Role = Literal["boxes", "classes", "scores", "count"]
Roles = tuple[Role, Role, Role, Role]

OPERATOR: Roles = ("boxes", "classes", "scores", "count")  # the order of the operator's own outputs
BY_NAME: dict[str, Role] = {
    "TFLite_Detection_PostProcess": "boxes",  # as TensorFlow 1 exports it
    "TFLite_Detection_PostProcess:1": "classes",
    "TFLite_Detection_PostProcess:2": "scores",
    "TFLite_Detection_PostProcess:3": "count",
    "StatefulPartitionedCall:0": "count",  # as TensorFlow 2 does
    "StatefulPartitionedCall:1": "scores",
    "StatefulPartitionedCall:2": "classes",
    "StatefulPartitionedCall:3": "boxes",
}
# Where the names do not tell: the places in which the same two leave them, as google-coral/pycoral knows them.
BY_PLACE: tuple[Roles, ...] = (OPERATOR, ("scores", "boxes", "count", "classes"))


@dataclass(frozen=True, slots=True)
class SsdOptions:
    """outputs: what the model's four outputs are, in their order, where neither their names nor their shapes tell."""

    outputs: Roles | None = None


class Ssd:
    """The four float tensors of the operator TFLite_Detection_PostProcess.

    boxes [1, N, 4]: y1 x1 y2 x2 as fractions of the input; classes [1, N]: counted from 0; scores [1, N]; count [1]: how many of
    the N are valid, the rest being left over from earlier inferences. Source: tensorflow/tensorflow,
    tensorflow/lite/kernels/detection_postprocess.cc.
    """

    task: ClassVar[Task] = "detect"
    Options: ClassVar[type[SsdOptions]] = SsdOptions
    defaults: ClassVar[Thresholds] = Thresholds(score=0.4, iou=0.45)  # the model's own NMS lets boxes overlap by 0.6
    input: ClassVar[dict[str, Any]] = {"color": "rgb", "resize": "stretch"}

    def __init__(self, outputs: ModelOutputs, options: SsdOptions) -> None:
        self.classes(outputs)
        named = tuple(BY_NAME.get(tensor.name) for tensor in outputs.tensors)
        candidates = (options.outputs,) if options.outputs else (named, *BY_PLACE)
        roles = next((roles for roles in candidates if _fit(outputs.tensors, roles)), None)
        if roles is None:
            raise ValueError(
                f"which is which of {described(outputs.tensors)}? "
                "The ssd head's option outputs has to name them in this order, such as [boxes, classes, scores, count]"
            )
        self._boxes, self._classes, self._scores, self._count = (roles.index(role) for role in OPERATOR)
        width, height = outputs.input_size
        self._size = np.array([width, height, width, height], np.float32)

    @classmethod
    def classes(cls, outputs: ModelOutputs) -> int | None:
        """None: the tensors do not say. ValueError where they are not those four."""
        kinds = sorted(_kind(tensor) for tensor in outputs.tensors)
        if kinds != ["boxes", "count", "list", "list"]:
            needed = "four float tensors: boxes [1, N, 4], classes [1, N], scores [1, N] and count [1]"
            raise ValueError(f"the ssd head needs {needed}, not {described(outputs.tensors)}")
        return None

    def __call__(self, tensors: Sequence[NDArray[Any]], thresholds: Thresholds) -> Detections:
        """Detections scoring at least `thresholds.score`, best first; boxes in pixels of the model's input, clipped to it."""
        count = max(0, int(np.nan_to_num(tensors[self._count].flat[0])))
        scores = tensors[self._scores][0, :count]
        keep = not_below(scores, thresholds.score)
        y1_x1_y2_x2 = tensors[self._boxes][0, keep]
        boxes = np.clip(y1_x1_y2_x2[:, [1, 0, 3, 2]], 0, 1) * self._size
        class_ids = np.rint(np.nan_to_num(tensors[self._classes][0, keep], nan=-1))  # -1: no class, for the agent to notice
        return ranked(boxes, scores[keep], class_ids)


def _kind(tensor: TensorSpec) -> str:
    """What a tensor can be by its shape."""
    if tensor.dtype != "float32":
        return "other"
    match tensor.shape:
        case (1, _, 4):
            return "boxes"
        case (1, _):
            return "list"
        case (1,) | ():
            return "count"
        case _:
            return "other"


def _fit(tensors: Sequence[TensorSpec], roles: Sequence[Role | None]) -> bool:
    """Whether each role is there once and its tensor's shape allows it."""
    kinds = {"boxes": "boxes", "classes": "list", "scores": "list", "count": "count", None: "nothing"}
    return set(roles) == set(OPERATOR) and all(kinds[role] == _kind(tensor) for role, tensor in zip(roles, tensors, strict=True))
