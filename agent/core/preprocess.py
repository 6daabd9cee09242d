"""A captured picture becomes a model's input, written straight into the tensor's memory; what was seen finds the way back.

The only file of the core that uses OpenCV, and on one thread: the other cores belong to inference.
"""

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.masks import NOTHING
from agent.core.spec import Color, InputSpec
from agent.core.types import Frame, PixelFormat, TensorSpec

cv2.setNumThreads(1)

U8 = NDArray[np.uint8]
Index = tuple[Any, ...]  # of numpy

INTERPOLATION = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST}
ORDER: dict[PixelFormat, Color] = {"bgr24": "bgr", "rgb24": "rgb", "gray8": "gray"}
CONVERT: dict[tuple[PixelFormat | Color, Color], int] = {
    ("nv12", "rgb"): cv2.COLOR_YUV2RGB_NV12,
    ("nv12", "bgr"): cv2.COLOR_YUV2BGR_NV12,
    ("yuv420p", "rgb"): cv2.COLOR_YUV2RGB_I420,
    ("yuv420p", "bgr"): cv2.COLOR_YUV2BGR_I420,
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "gray"): cv2.COLOR_BGR2GRAY,
    ("rgb", "gray"): cv2.COLOR_RGB2GRAY,
    ("gray", "rgb"): cv2.COLOR_GRAY2RGB,
    ("gray", "bgr"): cv2.COLOR_GRAY2BGR,
}
# What a picture can be written as, and the type that cv2.LUT knows for that.
BITS = {"uint8": np.uint8, "int8": np.uint8, "int32": np.int32, "float16": np.uint16, "float32": np.float32}

# Video luma runs from 16 to 235 (ITU-R BT.601), as OpenCV's conversions to colour take it; a gray model expects 0 to 255.
FULL_RANGE: U8 = np.rint((np.arange(256) - 16) * 255 / 219).clip(0, 255).astype(np.uint8)
SIGN_BIT = 0x80  # uint8 ^ SIGN_BIT has the bits of int8 = pixel - 128


@dataclass(frozen=True, slots=True)
class Geometry:
    """The exact way from the pixels of a model's input back to those of the picture it was made from.

    size: (width, height) of the source picture. scale, shift: source = input * scale + shift, for x and for y.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    shift: tuple[float, float]

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 4) boxes x1 y1 x2 y2 in input pixels, as (n, 4) float32 in source pixels, clipped to the picture."""
        source = boxes * np.array(self.scale * 2) + np.array(self.shift * 2)
        clipped: NDArray[np.float32] = np.clip(source, 0, np.array(self.size * 2)).astype(np.float32)
        return clipped

    def points_to_source(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, k, 3) points x, y, score, like `to_source`; the scores stay."""
        source = points.copy()
        source[..., :2] = np.clip(points[..., :2] * np.array(self.scale) + np.array(self.shift), 0, np.array(self.size))
        return source

    def map_to_source(self, class_map: NDArray[np.int16], input_size: tuple[int, int]) -> NDArray[np.int16]:
        """A class map of the whole input, as one of the whole picture at the same resolution, or lower where the map is smaller.

        class_map: (h, w). input_size: (width, height). What the input did not show is of no class.
        """
        (columns, rows) = (
            _places(size, scale, shift, pixels, side)
            for size, scale, shift, pixels, side in zip(
                self.size, self.scale, self.shift, reversed(class_map.shape), input_size, strict=True
            )
        )
        source: NDArray[np.int16] = class_map[np.ix_(rows.clip(0), columns.clip(0))]
        source[rows < 0] = NOTHING
        source[:, columns < 0] = NOTHING
        return source


def _places(size: int, scale: float, shift: float, pixels: int, side: int) -> NDArray[np.intp]:
    """Which of a map's pixels, along one axis of it, each pixel of the picture's map lies in; -1: none.

    size, scale, shift: as those of `Geometry`. pixels: of the map; side: of the input.
    """
    count = min(pixels, max(1, round(size / scale * pixels / side)))
    middles = (np.arange(count) + 0.5) / count * size
    places = np.floor((middles - shift) / scale * pixels / side).astype(np.intp)
    places[(places < 0) | (places >= pixels)] = -1
    return places


class Preprocessor:
    """Writes pictures into one model input: colour, fit, interpolation, mean and std, quantization, layout.

    shape: of the tensor to write, [1, H, W, C] or [1, C, H, W]. Plans once for each format and size of picture, and allocates
    nothing of a picture's size after that. Not for two threads at once.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        """ValueError, naming the tensor and the field of the input, where they do not agree."""
        channels = 1 if spec.color == "gray" else 3
        width, height = spec.size
        self.shape = (1, channels, height, width) if tensor.layout == "NCHW" else (1, height, width, channels)
        _check(spec, tensor, self.shape)
        self._spec = spec
        self._planar = tensor.layout == "NCHW" and channels == 3
        self._picture: Index = (0,) if channels == 3 else (0, 0) if tensor.layout == "NCHW" else (0, ..., 0)
        self._values = _Values(spec, tensor, self._planar)
        self._source: tuple[PixelFormat, int, int] | None = None
        self._plan: _Plan

    def __call__(self, frame: Frame, out: NDArray[Any]) -> Geometry:
        """Fill `out`, of the tensor's dtype and `shape`, whatever it held before. Returns the way back for its boxes."""
        source = (frame.format, frame.width, frame.height)
        if source != self._source:
            self._plan = _Plan(self._spec, self._planar, self._values.in_place, *source)
            self._source = source
        picture = out[self._picture]
        for margin in self._plan.margins:
            picture[margin] = self._values.pad
        target = picture[self._plan.target]
        pixels = target.view(np.uint8) if self._plan.pixels is None else self._plan.pixels
        self._plan.fit(frame.pixels, pixels)
        self._values.write(pixels, target)
        return self._plan.geometry


def _check(spec: InputSpec, tensor: TensorSpec, shape: tuple[int, ...]) -> None:
    """ValueError where `spec` and `tensor`, which is to have `shape`, do not agree."""
    name = f"input tensor {tensor.name!r}"
    if tensor.layout is None:
        raise ValueError(f"{name} of shape {list(tensor.shape)} is no picture: neither [1, H, W, C] nor [1, C, H, W]")
    if len(tensor.shape) != 4 or any(n not in (-1, wanted) for n, wanted in zip(tensor.shape, shape, strict=True)):
        needed = f"input size {list(spec.size)} in {spec.color} as {tensor.layout} needs {list(shape)}"
        raise ValueError(f"{name} has shape {list(tensor.shape)}, but {needed}")
    if tensor.dtype not in BITS:
        raise ValueError(f"{name} is of type {tensor.dtype}: a picture can be written as {', '.join(BITS)}")
    channels = 1 if spec.color == "gray" else 3
    for field, numbers in (("mean", spec.mean), ("std", spec.std)):
        if len(numbers) not in (0, 1, channels):
            raise ValueError(f"input {field} has {len(numbers)} numbers, but {spec.color} takes 1 or {channels}")
    if 0 in spec.std:
        raise ValueError("input std must not be 0: pixels are divided by it")
    if not 0 <= spec.pad <= 255:
        raise ValueError(f"input pad is {spec.pad}, but a pixel is 0 to 255")


class _Rect(NamedTuple):
    """A part of a picture, in whole pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> Index:
        """Of its rows and columns."""
        return (slice(self.y, self.y + self.height), slice(self.x, self.x + self.width))


def _fit(spec: InputSpec, width: int, height: int) -> tuple[_Rect, _Rect]:
    """Which part of a width x height picture fills which part of the input."""
    to_width, to_height = spec.size
    if spec.resize == "letterbox":
        ratio = min(to_width / width, to_height / height)
        fit_width, fit_height = max(1, round(width * ratio)), max(1, round(height * ratio))
        left, top = ((to_width - fit_width) // 2, (to_height - fit_height) // 2) if spec.anchor == "center" else (0, 0)
        return _Rect(0, 0, width, height), _Rect(left, top, fit_width, fit_height)
    cut_width, cut_height = width, height
    if spec.resize == "crop":
        cut_width = min(width, max(1, round(height * to_width / to_height)))
        cut_height = min(height, max(1, round(width * to_height / to_width)))
    return _Rect((width - cut_width) // 2, (height - cut_height) // 2, cut_width, cut_height), _Rect(0, 0, to_width, to_height)


def _margins(fit: _Rect, size: tuple[int, int]) -> list[_Rect]:
    """What `fit` leaves of the input: above, below, left and right of it."""
    width, height = size
    below, right = fit.y + fit.height, fit.x + fit.width
    around = (
        _Rect(0, 0, width, fit.y),
        _Rect(0, below, width, height - below),
        _Rect(0, fit.y, fit.x, fit.height),
        _Rect(right, fit.y, width - right, fit.height),
    )
    return [margin for margin in around if margin.width and margin.height]


class _Plan:
    """How pictures of one format and size become the pixels of the input.

    target, margins: where in the input the picture lies, and what is left around it. pixels: where `fit` is to write; None:
    into the tensor itself. The scratch, one piece of memory, holds what lies on the way: the picture in colour, then in the
    input's size, then in the input's colours and layout.
    """

    def __init__(self, spec: InputSpec, planar: bool, in_place: bool, pixel_format: PixelFormat, width: int, height: int) -> None:
        cut, fit = _fit(spec, width, height)
        scale = (cut.width / fit.width, cut.height / fit.height)
        self.geometry = Geometry((width, height), scale, (cut.x - fit.x * scale[0], cut.y - fit.y * scale[1]))
        planes = (slice(None),) if planar else ()
        self.target: Index = planes + fit.slices
        self.margins: list[Index] = [planes + margin.slices for margin in _margins(fit, spec.size)]

        self._cut = cut.slices
        self._size = (fit.width, fit.height)
        self._interpolation = INTERPOLATION[spec.interpolation]
        self._decode = CONVERT.get((pixel_format, spec.color))
        self._luma = pixel_format in ("nv12", "yuv420p") and spec.color == "gray"
        order = ORDER.get(pixel_format, spec.color)
        self._convert = None if planar else CONVERT.get((order, spec.color))
        self._planes = None if not planar or order == "gray" else (0, 1, 2) if order == spec.color else (2, 1, 0)
        self._direct = not planar and self._convert is None

        picture = (fit.height, fit.width)
        colored = (*picture, 3)
        decoded, resized, arranged = _scratch(
            (height, width, 3) if self._decode is not None else (0,),
            (0,) if self._direct else picture if order == "gray" else colored,
            (0,) if in_place else picture if spec.color == "gray" else (3, *picture) if planar else colored,
        )
        self._decoded, self._resized = decoded, resized
        self.pixels = None if in_place else arranged

    def fit(self, picture: U8, out: U8) -> None:
        """Write a picture, shaped as its format has it, into `out`: (h, w), (h, w, 3) or (3, h, w) of the input."""
        if self._decode is not None:
            _into(self._decoded, cv2.cvtColor(picture, self._decode, dst=self._decoded))
            picture = self._decoded
        resized = out if self._direct else self._resized
        _into(resized, cv2.resize(picture[self._cut], self._size, dst=resized, interpolation=self._interpolation))
        if self._luma:
            _into(out, cv2.LUT(out, FULL_RANGE, dst=out))
        elif self._convert is not None:
            _into(out, cv2.cvtColor(resized, self._convert, dst=out))
        elif self._planes is not None:
            planes = [out[i] for i in self._planes]
            for plane, result in zip(planes, cv2.split(resized, planes), strict=True):
                _into(plane, result)
        elif not self._direct:
            out[...] = resized


class _Values:
    """What the pixel values 0 to 255 become in the tensor, and the fastest way to make them so.

    in_place: the pixels are written into the tensor's own memory first. pad: the input's pad, shaped to fill any part of it.
    """

    def __init__(self, spec: InputSpec, tensor: TensorSpec, planar: bool) -> None:
        table = _table(spec, tensor)
        self.in_place = table.itemsize == 1
        self.pad = table[spec.pad].reshape(-1, 1, 1) if planar else table[spec.pad]
        self._bits = BITS[table.dtype.name]
        lut = table.view(self._bits)
        lanes = np.ascontiguousarray(lut.T)
        self._luts = [(..., lut[None])] if not planar else [(i, lanes[i % len(lanes)]) for i in range(3)]

        ramp = np.arange(256)[:, None]
        self._is_pixel = self.in_place and bool((lut == ramp).all())
        self._is_flipped = self.in_place and bool((lut == ramp ^ SIGN_BIT).all())
        linear = table.dtype == np.float32 and table.shape[1] == 1 and table[0, 0] == 0
        is_integer = table.dtype == np.int32 and bool((table == ramp).all())
        self._factor = table[1, 0] if linear or is_integer else None

    def write(self, pixels: U8, out: NDArray[Any]) -> None:
        """Write what `pixels` become into `out` of the same shape."""
        if self._is_pixel:
            return
        if self._is_flipped:
            np.bitwise_xor(pixels, SIGN_BIT, out=pixels)
        elif self._factor == 1:
            np.copyto(out, pixels)
        elif self._factor is not None:
            np.multiply(pixels, self._factor, out=out, dtype=np.float32)
        else:
            bits = out.view(self._bits)
            for part, lut in self._luts:
                some = bits[part]
                _into(some, cv2.LUT(pixels[part], lut, dst=some))


def _table(spec: InputSpec, tensor: TensorSpec) -> Any:
    """(256, 1), or (256, 3) where the channels differ: the tensor's value for each pixel value.

    Quantized as TensorFlow Lite defines it: real = (q - zero_point) * scale, so q = round(real / scale + zero_point), saturated.
    """
    pixel = np.arange(256.0)[:, None]
    dtype = np.dtype(tensor.dtype)
    real = (pixel - np.array(spec.mean or (0.0,))) / np.array(spec.std or (1.0,))
    if (real == real[:, :1]).all():
        real = real[:, :1]
    if dtype.kind == "f":
        return real.astype(dtype)
    limits = np.iinfo(dtype)
    raw = not spec.mean and not spec.std
    least = limits.min if dtype.itemsize == 1 else 0
    q = pixel + least if raw else np.rint(real / (tensor.scale or 1.0) + tensor.zero_point)
    return np.clip(q, limits.min, limits.max).astype(dtype)


def _scratch(*shapes: tuple[int, ...]) -> list[U8]:
    """One array a shape, all in one piece of memory."""
    ends = list(accumulate(prod(shape) for shape in shapes))
    memory = np.empty(ends[-1], np.uint8)
    return [memory[end - prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True)]


def _into(wanted: NDArray[Any], result: Any) -> None:
    """OpenCV allocates, without a word, where an output does not fit: that would leave the tensor unwritten."""
    if result is not wanted:
        raise RuntimeError(f"OpenCV did not write into the array of shape {wanted.shape} that it was given")
