"""The types that travel through the agent: pictures, tensors, predictions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["bgr24", "rgb24", "gray8", "nv12", "yuv420p"]
Layout = Literal["NHWC", "NCHW"]


def picture_shape(pixel_format: PixelFormat, width: int, height: int) -> tuple[int, ...]:
    """Shape of the uint8 array that holds a picture: (h, w, 3), (h, w) for gray8, (h * 3 / 2, w) for nv12 and yuv420p.

    Raises ValueError for an odd width or height where the format halves its chroma planes.
    """
    if pixel_format == "gray8":
        return (height, width)
    if pixel_format in ("bgr24", "rgb24"):
        return (height, width, 3)
    if width % 2 or height % 2:
        raise ValueError(f"{pixel_format} needs an even width and height, not {width}x{height}")
    return (height * 3 // 2, width)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Frame:
    """One captured picture.

    pixels: uint8, read-only, shaped as `picture_shape` says; often a view into memory that is used again
            once the last reference to this Frame is gone, so keep the Frame, not its pixels.
    seq: +1 a captured frame, gaps are frames that were dropped on the way.
    mono_ns: capture instant on the monotonic clock, for arithmetic; utc_ns: on the wall clock, for messages alone.
    name: of the picture's file, empty where it comes from a stream.
    """

    pixels: NDArray[np.uint8]
    format: PixelFormat
    width: int
    height: int
    seq: int
    mono_ns: int
    utc_ns: int
    source: str
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects found in one picture, best first.

    boxes: (n, 4) float32, x1 y1 x2 y2; in pixels of the model's input as a head returns them, of the source picture after
           `Geometry.to_source`. scores: (n,) float32 in 0..1, descending. class_ids: (n,) int32.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Detections":
        """The detections that a mask, an index array or a slice picks, in its order."""
        return Detections(self.boxes[which], self.scores[which], self.class_ids[which])


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The likeliest classes of one picture, best first. scores: (k,) float32 in 0..1; class_ids: (k,) int32."""

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Classes":
        """The classes that a mask, an index array or a slice picks, in its order."""
        return Classes(self.scores[which], self.class_ids[which])


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Objects with their key points found in one picture, best first.

    boxes, scores, class_ids: as those of `Detections`. points: (n, k, 3) float32, x and y in the pixels of `boxes`, score in 0..1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    points: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Poses":
        """The poses that a mask, an index array or a slice picks, in its order."""
        return Poses(self.boxes[which], self.scores[which], self.class_ids[which], self.points[which])


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Which pixels of one picture are of which class, the largest class first. `agent.core.masks.segments_in` makes them.

    class_map: (h, w) int16, the class of each pixel, -1 for none; it shows the model's input as a head returns it, the source
               picture after `Geometry.map_to_source`, at the resolution of the model's output. It may show classes that are not
               in class_ids any more. class_ids: (n,) int32. areas: (n,) float32, the part of class_map that each takes.
    """

    class_map: NDArray[np.int16]
    class_ids: NDArray[np.int32]
    areas: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.class_ids)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Segments":
        """The segments that a mask, an index array or a slice picks, in its order."""
        return Segments(self.class_map, self.class_ids[which], self.areas[which])


Prediction = Detections | Classes | Poses | Segments


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a runtime says of one input or output.

    shape: -1 where a dimension is dynamic. dtype: a numpy name. real value = (q - zero_point) * scale where scale is not 0.
    layout: of a picture input, None elsewhere.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    layout: Layout | None = None

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.scale != 0.0
