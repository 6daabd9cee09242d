"""The `sources:` section: one struct a kind, told apart by `type`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.core.types import PixelFormat, picture_shape
from agent.sources.urls import without_password

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Pixels = Annotated[int, Meta(ge=1, le=16384)]

# Of picture files, in lower case.
PICTURES = frozenset({".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class _Watched(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """frozen_after_s, black_after_s: how long a live picture may stay the same, or black, before the source's state says so."""

    frozen_after_s: Seconds = 10.0
    black_after_s: Seconds = 10.0


class FileConfig(_Watched, frozen=True, kw_only=True, tag="file"):
    """A video file. realtime: at its own pace, dropping frames like a camera; else each frame once, as fast as the model goes."""

    path: str
    loop: bool = False
    realtime: bool = False


class ImagesConfig(_Watched, frozen=True, kw_only=True, tag="images"):
    """A picture file, several, or a folder of them, in the order given or by name."""

    path: str | list[str]
    loop: bool = False


class UsbConfig(_Watched, frozen=True, kw_only=True, tag="usb"):
    """A V4L2 camera. device: a number or a path. fourcc: the pixel format asked of the camera, such as MJPG."""

    device: int | str
    size: tuple[Pixels, Pixels] | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    fourcc: Annotated[str, Meta(pattern="^.{4}$")] | None = None
    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0


class UrlConfig(_Watched, frozen=True, kw_only=True, tag="url"):
    """A network camera: rtsp:// or http:// (MJPEG). password comes from password_file, or stands in the URL."""

    url: str
    username: str | None = None
    password_file: str | None = None
    password: str | None = None  # filled from password_file; the config file itself may not have it
    transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0

    def __repr__(self) -> str:
        return f"UrlConfig({without_password(self.url)!r})"


class CommandConfig(_Watched, frozen=True, kw_only=True, tag="command"):
    """Any program that writes raw frames of one size to its stdout.

    Rows follow one another without padding; GStreamer pads them to 4 bytes, so let its widths be multiples of 8.
    """

    command: Annotated[list[str], Meta(min_length=1)]
    size: tuple[Pixels, Pixels]
    format: PixelFormat = "bgr24"
    open_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 5.0

    def __post_init__(self) -> None:
        picture_shape(self.format, *self.size)  # ValueError for an odd size of a format that halves it


BeltPixels = Annotated[int, Meta(ge=64, le=1920)]
PartLabel = Literal["bolt", "nut", "washer", "gear", "defect", "spring"]


class SyntheticConfig(_Watched, frozen=True, kw_only=True, tag="synthetic"):
    """A conveyor belt that exists only here, with parts of these kinds on it; the same seed gives the same pictures."""

    size: tuple[BeltPixels, BeltPixels] = (640, 480)
    fps: Annotated[float, Meta(gt=0, le=1000)] = 30.0
    seed: Annotated[int, Meta(ge=0)] = 0
    parts: Annotated[tuple[PartLabel, ...], Meta(min_length=1)] = ("bolt", "nut", "washer", "gear", "defect")


SourceConfig = FileConfig | ImagesConfig | UsbConfig | UrlConfig | CommandConfig | SyntheticConfig
