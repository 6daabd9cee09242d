import threading
from contextlib import closing
from typing import get_args

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.core.types import PixelFormat, picture_shape
from agent.errors import SourceError
from agent.sources.command import CommandSource
from agent.sources.config import CommandConfig
from tests.cameras import skip_without
from tests.media import RED
from tests.processes import open_descriptors

SIZE = (64, 48)
LONG_S = 60.0  # a timeout that no test waits for


def shell(script: str, timeout_s: float = LONG_S) -> CommandConfig:
    return CommandConfig(command=["sh", "-c", script], size=(2, 2), open_timeout_s=timeout_s, read_timeout_s=timeout_s)


def first(config: CommandConfig) -> NDArray[np.uint8]:
    """Its first picture."""
    with closing(CommandSource(config)) as source:
        source.open()
        picture = source.grab()
        assert picture is not None
        out = np.empty(picture_shape(picture.format, picture.width, picture.height), np.uint8)
        source.retrieve(out)
        return out


def count(config: CommandConfig) -> int:
    """How many pictures it begins."""
    pictures = 0
    with closing(CommandSource(config)) as source:
        source.open()
        while source.grab():
            pictures += 1
    return pictures


def failure(config: CommandConfig) -> SourceError:
    """What ends it."""
    with pytest.raises(SourceError) as raised:
        count(config)
    assert "\n" not in str(raised.value)
    return raised.value


def red(format_: PixelFormat, pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture is red."""
    conversions = {
        "rgb24": cv2.COLOR_RGB2BGR,
        "nv12": cv2.COLOR_YUV2BGR_NV12,
        "yuv420p": cv2.COLOR_YUV2BGR_I420,
    }
    if format_ == "gray8":
        return bool((np.abs(pixels.astype(int) - 76) < 6).all())  # 0.299 of 255, by BT.601
    bgr = cv2.cvtColor(pixels, conversions[format_]) if format_ in conversions else pixels
    return bool((np.abs(bgr.astype(int) - RED) < 6).all())


@pytest.mark.parametrize("format_", get_args(PixelFormat))
def test_formats_of_ffmpeg(format_: PixelFormat) -> None:
    skip_without("ffmpeg")
    source = "color=red:size=64x48,format=rgb24,scale=out_color_matrix=bt601"
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt"]
    command += ["gray" if format_ == "gray8" else format_, "-"]
    assert red(format_, first(CommandConfig(command=command, size=SIZE, format=format_)))


@pytest.mark.parametrize("format_", get_args(PixelFormat))
def test_formats_of_gstreamer(format_: PixelFormat) -> None:
    skip_without("gst-launch-1.0")
    name = {"bgr24": "BGR", "rgb24": "RGB", "gray8": "GRAY8", "nv12": "NV12", "yuv420p": "I420"}[format_]
    caps = f"video/x-raw,format={name},width={SIZE[0]},height={SIZE[1]}"
    pipeline = f"videotestsrc num-buffers=1 pattern=red ! video/x-raw,format=RGB ! videoconvert ! {caps} ! fdsink fd=1"
    command = ["gst-launch-1.0", "-q", *pipeline.split()]
    assert red(format_, first(CommandConfig(command=command, size=SIZE, format=format_)))


def test_an_odd_size_is_refused_where_the_format_halves_it() -> None:
    with pytest.raises(msgspec.ValidationError, match="nv12 needs an even width and height, not 3x2"):
        msgspec.convert({"type": "command", "command": ["cat"], "size": [3, 2], "format": "nv12"}, CommandConfig)


@pytest.mark.parametrize(
    ("script", "message", "reason"),
    [
        ("echo no such camera >&2; exit 3", "command sh exited with status 3: no such camera", "process_exited"),
        ("echo rtsp://me:secret@cam/1: refused >&2; exit 1", "rtsp://me:***@cam/1: refused", "process_exited"),
        ("head -c 12 /dev/zero; kill -SEGV $$", "command sh was ended by SIGSEGV", "process_exited"),
        ("head -c 12 /dev/zero; exec >&-; exec sleep 1000", "command sh closed its output", "process_exited"),
        ("exit 0", "command sh ended without a picture", "process_exited"),
        ("head -c 15 /dev/zero", "ended after 3 of 12 bytes of a picture; does it write bgr24, 2x2?", "process_exited"),
    ],
)
def test_a_program_that_fails_is_quoted(script: str, message: str, reason: str) -> None:
    error = failure(shell(script))
    assert message in str(error)
    assert error.reason == reason


def test_a_program_that_ends_well_is_the_end() -> None:
    assert count(shell("head -c 24 /dev/zero")) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo busy >&2; exec sleep 1000", "command sh wrote nothing for 0.05 s: busy"),
        ("head -c 12 /dev/zero; exec sleep 1000", "command sh wrote nothing for 0.05 s"),
        ("head -c 15 /dev/zero; exec sleep 1000", "command sh stopped in the middle of a picture"),
    ],
)
def test_a_program_that_stops_writing(script: str, message: str) -> None:
    error = failure(shell(script, timeout_s=0.05))
    assert message in str(error)
    assert error.reason == "read_timeout"


@pytest.mark.parametrize("command", [["no-such-program", "secret"], ["/dev/null/program"]])
def test_a_program_that_is_not_there(command: list[str]) -> None:
    error = failure(CommandConfig(command=command, size=(2, 2)))
    assert str(error) == f"command {command[0]}: there is no such program"
    assert error.reason == "not_found"


def test_a_program_that_may_not_be_run() -> None:
    error = failure(CommandConfig(command=["/dev/null"], size=(2, 2)))
    assert str(error) == "command /dev/null cannot be started: Permission denied"
    assert error.reason == "open_failed"


def test_closed_while_it_opens_or_before() -> None:
    before = open_descriptors()
    source = CommandSource(shell("exec sleep 1000"))
    thread = threading.Thread(target=source.open)
    thread.start()
    source.close()
    thread.join(LONG_S)
    assert not thread.is_alive()
    source.open()
    assert source.grab() is None
    source.close()
    assert open_descriptors() == before
