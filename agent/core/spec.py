"""What the pipeline must know of a model: its input, its head, its thresholds. A bundle's manifest maps onto this."""

from dataclasses import dataclass, field
from typing import Literal

from agent.core.types import TensorSpec

Task = Literal["detect", "classify", "segment", "keypoints"]
Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["letterbox", "stretch", "crop"]
Anchor = Literal["center", "top_left"]
Interpolation = Literal["linear", "area", "nearest"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a picture becomes the model's input.

    size: (width, height). resize: letterbox keeps the aspect and fills with `pad`; stretch does not keep it; crop keeps it and
    cuts the centre. anchor: where a letterboxed picture lies. mean, std: real = (pixel - mean) / std with pixel 0..255, one number
    or one a channel in the order of `color`; empty for a quantized input means that it takes the pixel itself: uint8 as it is, int8
    as pixel - 128.
    """

    size: tuple[int, int]
    color: Color = "rgb"
    resize: Resize = "letterbox"
    anchor: Anchor = "center"
    pad: int = 114
    interpolation: Interpolation = "linear"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a head and NMS keep. They travel with each request, so that they change live and per pipeline.

    score: least score; of a segmentation the least probability of a pixel's class. iou: NMS removes a box that overlaps a better
    one by more; None: no NMS. class_agnostic: across classes. max_detections: the most that are kept (of a classifier its top k, of
    a segmentation its largest).
    """

    score: float
    iou: float | None
    class_agnostic: bool = False
    max_detections: int = 100


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The head's type, a key of `agent.core.heads.HEADS`, and its options as its `Options` dataclass names them."""

    type: str
    options: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, everything decided.

    digest: sha256 hex. labels: one per class id, may be empty where no list is known. input: every field decided. tensor: the
    picture input with its layout, no dimension left dynamic. variant: of a bundle with variants, the one that this is.
    """

    name: str
    version: str
    digest: str
    task: Task
    labels: tuple[str, ...]
    input: InputSpec
    tensor: TensorSpec
    head: HeadSpec
    thresholds: Thresholds
    variant: str | None = None

    def label(self, class_id: int) -> str:
        """The class's name, or its number where no name is known."""
        return self.labels[class_id] if 0 <= class_id < len(self.labels) else str(class_id)
