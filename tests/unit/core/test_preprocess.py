"""The preprocessor against a plain reference, over every combination of its settings and over all sizes."""

import itertools
import tracemalloc
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.core.preprocess import INTERPOLATION, Geometry, Preprocessor
from agent.core.spec import Anchor, Color, InputSpec, Interpolation, Resize
from agent.core.types import Frame, Layout, PixelFormat, TensorSpec, picture_shape

COLORS = get_args(Color)
FORMATS = get_args(PixelFormat)
RESIZES = get_args(Resize)
INTEGERS = ("uint8", "int8", "int32")
DTYPES = (*INTEGERS, "float16", "float32")
YUV = ("nv12", "yuv420p")


def frame_of(pixel_format: PixelFormat, width: int, height: int, seed: int = 0) -> Frame:
    """Noise, read-only as frames are."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, picture_shape(pixel_format, width, height), np.uint8)
    pixels.flags.writeable = False
    return Frame(pixels, pixel_format, width, height, seq=0, mono_ns=0, utc_ns=0, source="test")


def tensor_of(spec: InputSpec, dtype: str, layout: Layout, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    channels = 1 if spec.color == "gray" else 3
    width, height = spec.size
    shape = (1, channels, height, width) if layout == "NCHW" else (1, height, width, channels)
    return TensorSpec("input", shape, dtype, scale, zero_point, layout)


# The reference: whole pictures in float64, one step after the other.


def reference_rgb(frame: Frame) -> NDArray[Any]:
    """(h, w, 3) rgb or (h, w) gray, as float64; YUV by the equations of ITU-R BT.601, chroma repeated."""
    pixels, height = frame.pixels, frame.height
    match frame.format:
        case "bgr24":
            return pixels[:, :, ::-1].astype(float)
        case "nv12":
            u, v = pixels[height:, 0::2], pixels[height:, 1::2]
        case "yuv420p":
            chroma = pixels[height:].reshape(2, height // 2, frame.width // 2)
            u, v = chroma[0], chroma[1]
        case _:
            return pixels.astype(float)
    y = 255 / 219 * (pixels[:height].astype(float) - 16).clip(0)
    u, v = (plane.repeat(2, 0).repeat(2, 1).astype(float) - 128 for plane in (u, v))
    return np.stack((y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u), axis=2).round().clip(0, 255)


def reference_fit(spec: InputSpec, width: int, height: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """x, y, width, height of what is taken from the picture, and of where it goes."""
    to_width, to_height = spec.size
    whole, all_of_it = (0, 0, width, height), (0, 0, to_width, to_height)
    if spec.resize == "stretch":
        return whole, all_of_it
    if spec.resize == "letterbox":
        ratio = min(to_width / width, to_height / height)
        w, h = max(1, round(width * ratio)), max(1, round(height * ratio))
        x, y = ((to_width - w) // 2, (to_height - h) // 2) if spec.anchor == "center" else (0, 0)
        return whole, (x, y, w, h)
    if width * to_height > height * to_width:
        w = max(1, round(height * to_width / to_height))
        return ((width - w) // 2, 0, w, height), all_of_it
    h = max(1, round(width * to_height / to_width))
    return (0, (height - h) // 2, width, h), all_of_it


def reference_pixels(frame: Frame, spec: InputSpec) -> NDArray[Any]:
    """(H, W, C) float64 of 0 to 255, pad included."""
    (x, y, w, h), (left, top, fit_w, fit_h) = reference_fit(spec, frame.width, frame.height)
    luma = frame.format in YUV and spec.color == "gray"
    image = frame.pixels if luma else reference_rgb(frame)
    cut = np.ascontiguousarray(image[y : y + h, x : x + w].astype(np.uint8))
    small = cv2.resize(cut, (fit_w, fit_h), interpolation=INTERPOLATION[spec.interpolation]).astype(float)
    if luma:
        small = (255 / 219 * (small - 16)).round().clip(0, 255)
    if spec.color == "gray":
        small = small if small.ndim == 2 else (small @ (0.299, 0.587, 0.114)).round()
        small = small[:, :, None]
    elif small.ndim == 2:
        small = np.stack((small,) * 3, axis=2)
    elif spec.color == "bgr":
        small = small[:, :, ::-1]
    pixels = np.full((spec.size[1], spec.size[0], small.shape[2]), float(spec.pad))
    pixels[top : top + fit_h, left : left + fit_w] = small
    return pixels


def reference_values(pixels: NDArray[Any], spec: InputSpec, tensor: TensorSpec) -> NDArray[Any]:
    """The tensor, still float64."""
    real: NDArray[Any] = (pixels - np.array(spec.mean or (0,))) / np.array(spec.std or (1,))
    if tensor.dtype in INTEGERS:
        if not spec.mean and not spec.std:
            real = pixels - (128 if tensor.dtype == "int8" else 0)
        else:
            real = (real / (tensor.scale or 1) + tensor.zero_point).round()
        limits = np.iinfo(tensor.dtype)
        real = real.clip(limits.min, limits.max)
    return real[None] if tensor.layout == "NHWC" else real.transpose(2, 0, 1)[None]


def tolerance(frame: Frame, spec: InputSpec, tensor: TensorSpec) -> float:
    """In units of the tensor: OpenCV's fixed-point colour conversions may be off by a pixel value or two."""
    off = 0
    if frame.format in YUV and spec.color != "gray":
        off = 2
    elif frame.format in YUV or (spec.color == "gray" and frame.format != "gray8"):
        off = 1
    unit = 1.0
    if spec.std:
        unit = 1 / min(spec.std) / ((tensor.scale or 1) if tensor.dtype in INTEGERS else 1)
    rounding = {"float32": 1e-5, "float16": 1e-3}.get(tensor.dtype, 0)
    largest = max(255 * unit, 1)
    return off * unit + (1 if off and tensor.dtype in INTEGERS else 0) + rounding * largest


def check(frame: Frame, spec: InputSpec, tensor: TensorSpec) -> None:
    preprocess = Preprocessor(spec, tensor)
    expected = reference_values(reference_pixels(frame, spec), spec, tensor)
    out = np.empty(preprocess.shape, tensor.dtype)
    for filler in (0, 77):
        out.fill(filler)
        preprocess(frame, out)
        np.testing.assert_allclose(out.astype(float), expected, rtol=0, atol=tolerance(frame, spec, tensor))


NORMALIZATIONS: list[tuple[tuple[float, ...], tuple[float, ...]]] = [
    ((), ()),
    ((0.0,), (1.0,)),
    ((0.0,), (255.0,)),
    ((127.5,), (127.5,)),
    ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
]
QUANTIZATIONS = [(0.0, 0), (1 / 255, -128), (0.0078125, 128), (0.02, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_every_combination(dtype: str, color: Color, pixel_format: PixelFormat) -> None:
    frame = frame_of(pixel_format, 38, 22)
    fits = [*itertools.product(("letterbox",), get_args(Anchor)), ("stretch", "center"), ("crop", "center")]
    quantizations = QUANTIZATIONS if dtype in ("uint8", "int8") else QUANTIZATIONS[:1]
    for layout, (resize, anchor), interpolation, (mean, std), (scale, zero_point) in itertools.product(
        get_args(Layout), fits, get_args(Interpolation), NORMALIZATIONS, quantizations
    ):
        if color == "gray" and len(mean) == 3:
            continue
        spec = InputSpec((21, 17), color, resize, anchor, 114, interpolation, mean, std)
        check(frame, spec, tensor_of(spec, dtype, layout, scale, zero_point))


sides = st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 3, 300]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Frame, InputSpec, TensorSpec]:
    pixel_format: PixelFormat = draw(st.sampled_from(FORMATS))
    step = 2 if pixel_format in YUV else 1
    frame = frame_of(pixel_format, draw(sides) * step, draw(sides) * step, draw(st.integers(0, 9)))
    color: Color = draw(st.sampled_from(COLORS))
    mean, std = draw(st.sampled_from(NORMALIZATIONS if color != "gray" else NORMALIZATIONS[:4]))
    spec = InputSpec(
        (draw(sides), draw(sides)),
        color,
        draw(st.sampled_from(RESIZES)),
        draw(st.sampled_from(get_args(Anchor))),
        draw(st.integers(0, 255)),
        draw(st.sampled_from(get_args(Interpolation))),
        mean,
        std,
    )
    layout: Layout = draw(st.sampled_from(get_args(Layout)))
    return frame, spec, tensor_of(spec, draw(st.sampled_from(DTYPES)), layout, *draw(st.sampled_from(QUANTIZATIONS)))


@given(cases())
@settings(max_examples=400, deadline=None)
def test_any_size(case: tuple[Frame, InputSpec, TensorSpec]) -> None:
    check(*case)


large_sides = st.integers(1, 9000)


@given(large_sides, large_sides, st.integers(1, 1280), st.integers(1, 1280), st.sampled_from(RESIZES), st.data())
@settings(max_examples=300, deadline=None)
def test_boxes_find_the_way_back(
    width: int, height: int, to_width: int, to_height: int, resize: Resize, data: st.DataObject
) -> None:
    spec = InputSpec((to_width, to_height), "gray", resize, data.draw(st.sampled_from(get_args(Anchor))))
    (x, y, w, h), (left, top, fit_w, fit_h) = reference_fit(spec, width, height)
    corner = st.tuples(st.floats(0, 1), st.floats(0, 1))
    (a, b), (c, d) = data.draw(corner), data.draw(corner)
    source = np.array([[x + a * w, y + b * h, x + c * w, y + d * h]])
    forward = (source - (x, y, x, y)) / (w, h, w, h) * (fit_w, fit_h, fit_w, fit_h) + (left, top, left, top)
    frame = Frame(np.broadcast_to(np.uint8(0), (height, width)), "gray8", width, height, 0, 0, 0, "test")
    preprocess = Preprocessor(spec, tensor_of(spec, "uint8", "NHWC"))
    geometry = preprocess(frame, np.empty(preprocess.shape, np.uint8))
    back = geometry.to_source(forward.astype(np.float32))
    # float32 coordinates of the input are themselves only so exact
    spacing = np.spacing(np.float32(max(to_width, to_height))) * max(w / fit_w, h / fit_h)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, source, rtol=0, atol=max(1e-3, spacing))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("anchor", get_args(Anchor))
def test_geometry_says_where_pixels_came_from(resize: Resize, anchor: Anchor) -> None:
    """In a picture whose pixels are their own column, each pixel of the input names the place that it was taken from."""
    ramp = np.broadcast_to(np.arange(250, dtype=np.uint8), (140, 250)).copy()
    frame = Frame(ramp, "gray8", 250, 140, 0, 0, 0, "test")
    spec = InputSpec((97, 101), "gray", resize, anchor, pad=255)
    preprocess = Preprocessor(spec, tensor_of(spec, "uint8", "NHWC"))
    out = np.empty(preprocess.shape, np.uint8)
    geometry = preprocess(frame, out)
    _, (left, top, fit_w, _) = reference_fit(spec, 250, 140)
    for column in range(left + 1, left + fit_w - 1):
        middle = np.array([[column + 0.5, 0, column + 0.5, 0]], np.float32)
        assert abs(geometry.to_source(middle)[0, 0] - 0.5 - out[0, top, column, 0]) < 1


def test_boxes_are_clipped_to_the_picture() -> None:
    spec = InputSpec((64, 64), resize="letterbox")
    preprocess = Preprocessor(spec, tensor_of(spec, "uint8", "NHWC"))
    geometry = preprocess(frame_of("bgr24", 40, 20), np.empty(preprocess.shape, np.uint8))
    boxes = np.array([[-10, -10, 500, 500], [0, 0, 64, 10]], np.float32)
    np.testing.assert_array_equal(geometry.to_source(boxes), [[0, 0, 40, 20], [0, 0, 40, 0]])
    assert geometry.to_source(np.empty((0, 4), np.float32)).shape == (0, 4)


def geometry_of(width: int, height: int, spec: InputSpec) -> Geometry:
    frame = Frame(np.broadcast_to(np.uint8(0), (height, width)), "gray8", width, height, 0, 0, 0, "test")
    preprocess = Preprocessor(spec, tensor_of(spec, "uint8", "NHWC"))
    return preprocess(frame, np.empty(preprocess.shape, np.uint8))


def test_points_go_where_boxes_go_and_keep_their_scores() -> None:
    geometry = geometry_of(40, 20, InputSpec((64, 64), "gray"))
    points = np.array([[[32, 32, 0.9], [-10, 500, 0.1]], [[0, 16, 1], [64, 48, 0]]], np.float32)
    expected = np.array([[[20, 10, 0.9], [0, 20, 0.1]], [[0, 0, 1], [40, 20, 0]]], np.float32)
    np.testing.assert_allclose(geometry.points_to_source(points), expected, atol=1e-6)
    assert geometry.points_to_source(np.empty((0, 17, 3), np.float32)).shape == (0, 17, 3)


@pytest.mark.parametrize("anchor", get_args(Anchor))
def test_a_letterboxes_bars_are_cut_off_a_class_map(anchor: Anchor) -> None:
    geometry = geometry_of(200, 100, InputSpec((64, 64), "gray", anchor=anchor))
    top = 4 if anchor == "center" else 0  # of a map of a quarter of the input's size
    class_map = np.full((16, 16), 9, np.int16)
    class_map[top : top + 8] = np.arange(16)
    np.testing.assert_array_equal(geometry.map_to_source(class_map, (64, 64)), np.tile(np.arange(16), (8, 1)))


def test_a_stretched_class_map_stays_as_it_is() -> None:
    class_map = np.arange(35, dtype=np.int16).reshape(5, 7)
    np.testing.assert_array_equal(
        geometry_of(99, 50, InputSpec((70, 50), "gray", "stretch")).map_to_source(class_map, (70, 50)), class_map
    )


def test_what_a_crop_cut_off_is_of_no_class() -> None:
    geometry = geometry_of(128, 64, InputSpec((64, 64), "gray", "crop"))
    found = geometry.map_to_source(np.full((64, 64), 5, np.int16), (64, 64))
    np.testing.assert_array_equal(found, np.tile([-1] * 16 + [5] * 32 + [-1] * 16, (64, 1)))


@given(large_sides, large_sides, st.integers(1, 300), st.integers(1, 300), st.sampled_from(RESIZES), st.sampled_from([1, 2, 8]))
@settings(max_examples=200, deadline=None)
def test_a_class_map_finds_the_way_back(
    width: int, height: int, to_width: int, to_height: int, resize: Resize, stride: int
) -> None:
    """Each pixel of the picture's map is the pixel of the input's map in which its middle lies."""
    geometry = geometry_of(width, height, InputSpec((to_width, to_height), "gray", resize))
    rows, columns = -(-to_height // stride), -(-to_width // stride)
    found = geometry.map_to_source(np.tile(np.arange(columns, dtype=np.int16), (rows, 1)), (to_width, to_height))
    assert found.shape[0] <= rows
    assert found.shape[1] <= columns
    if (found == -1).all():  # so little of the picture that no middle of a pixel is in it
        assert resize == "crop"
        return
    for column, value in enumerate(found.max(axis=0)):  # rows that a crop cut off are of no class
        middle = (column + 0.5) / found.shape[1] * width
        place = (middle - geometry.shift[0]) / geometry.scale[0] * columns / to_width
        if value == -1:
            assert resize == "crop"
            assert not 0 < place < columns
        else:
            assert abs(place - (value + 0.5)) <= 0.5 + 1e-6


def test_letterbox_of_a_line_keeps_a_pixel() -> None:
    spec = InputSpec((32, 32), pad=0)
    preprocess = Preprocessor(spec, tensor_of(spec, "uint8", "NHWC"))
    line = Frame(np.full((1, 5000, 3), 200, np.uint8), "rgb24", 5000, 1, 0, 0, 0, "test")
    out = np.empty(preprocess.shape, np.uint8)
    preprocess(line, out)
    assert (out[0, 15] == 200).all()
    assert out.sum() == 200 * 32 * 3


def test_size_and_format_may_change_from_frame_to_frame() -> None:
    spec = InputSpec((33, 35), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    tensor = tensor_of(spec, "float32", "NCHW")
    preprocess = Preprocessor(spec, tensor)
    out = np.empty(preprocess.shape, np.float32)
    pictures: list[tuple[PixelFormat, int, int]] = [("bgr24", 60, 20), ("nv12", 20, 60), ("gray8", 20, 60), ("bgr24", 60, 20)]
    for pixel_format, width, height in pictures:
        frame = frame_of(pixel_format, width, height)
        geometry = preprocess(frame, out)
        assert geometry.size == (width, height)
        expected = reference_values(reference_pixels(frame, spec), spec, tensor)
        np.testing.assert_allclose(out, expected, atol=tolerance(frame, spec, tensor) + 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_nothing_of_a_pictures_size_is_allocated_per_frame(dtype: str, layout: Layout, pixel_format: PixelFormat) -> None:
    """Memory of numpy, and of arrays that OpenCV makes for Python, is traced."""
    spec = InputSpec((416, 416), mean=(10.0, 20.0, 30.0), std=(58.0, 57.0, 59.0))
    preprocess = Preprocessor(spec, tensor_of(spec, dtype, layout, 0.02, 3))
    out = np.empty(preprocess.shape, dtype)
    frame = frame_of(pixel_format, 768, 432)
    preprocess(frame, out)
    tracemalloc.start()
    try:
        preprocess(frame, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_a_view_into_a_larger_memory_is_written_in_place() -> None:
    """Slots of shared memory hold more than the tensor."""
    spec = InputSpec((20, 10), resize="stretch")
    preprocess = Preprocessor(spec, tensor_of(spec, "int8", "NHWC"))
    slot = np.zeros(1000, np.uint8)
    out = slot[100:700].view(np.int8).reshape(preprocess.shape)
    preprocess(frame_of("bgr24", 50, 50), out)
    assert not slot[:100].any()
    assert not slot[700:].any()
    expected = reference_values(reference_pixels(frame_of("bgr24", 50, 50), spec), spec, tensor_of(spec, "int8", "NHWC"))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("tensor", "spec", "message"),
    [
        (TensorSpec("in", (1, 10), "float32"), InputSpec((8, 8)), "input tensor 'in' of shape [1, 10] is no picture"),
        (TensorSpec("in", (1, 3, 8, 9), "float32", layout="NCHW"), InputSpec((8, 9)), "needs [1, 3, 9, 8]"),
        (TensorSpec("in", (1, 8, 8, 3), "float32", layout="NHWC"), InputSpec((8, 8), "gray"), "needs [1, 8, 8, 1]"),
        (TensorSpec("in", (1, 8, 8, 3), "int64", layout="NHWC"), InputSpec((8, 8)), "is of type int64"),
        (TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC"), InputSpec((8, 8), mean=(1, 2)), "input mean has 2 numbers"),
        (TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC"), InputSpec((8, 8), std=(0.0,)), "input std must not be 0"),
        (TensorSpec("in", (1, 8, 8, 3), "uint8", layout="NHWC"), InputSpec((8, 8), pad=256), "input pad is 256"),
    ],
)
def test_what_does_not_agree_is_named(tensor: TensorSpec, spec: InputSpec, message: str) -> None:
    with pytest.raises(ValueError, match="input") as caught:
        Preprocessor(spec, tensor)
    assert message in str(caught.value)


def test_dynamic_dimensions_take_the_inputs_size() -> None:
    spec = InputSpec((8, 6))
    assert Preprocessor(spec, TensorSpec("in", (-1, 3, -1, -1), "float32", layout="NCHW")).shape == (1, 3, 6, 8)
