"""What every source must do, asked of every kind that can be had without a camera, and of the fake."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.core.source import Picture, Source
from agent.core.types import picture_shape
from agent.errors import SourceError
from agent.sources.command import CommandSource
from agent.sources.config import CommandConfig, FileConfig, ImagesConfig, SyntheticConfig, UrlConfig
from agent.sources.file import FileSource
from agent.sources.images import ImagesSource
from agent.sources.synthetic import SyntheticSource
from agent.sources.url import UrlSource
from tests.cameras import MjpegCamera, RtspCamera, skip_without
from tests.fake_source import FakeConfig, FakeSource
from tests.media import RED, cut, number, numbered, plain, write_picture, write_video
from tests.mosquitto import free_port

SIZE = (64, 48)
COUNT = 12
NEVER_S = 60.0  # a timeout that no test waits for


@dataclass(frozen=True)
class Case:
    """One kind of source, ready to be asked.

    pictures: makes one of `numbered`, or a live one without an end. red: makes one of red pictures. missing: makes one that is not
    there, with what its message must name and its reason. damaged: makes one that breaks off.
    """

    pictures: Callable[[], Source]
    red: Callable[[], Source]
    missing: Callable[[], Source]
    names: str
    reason: str = "not_found"
    damaged: Callable[[], Source] | None = None


def _command(*command: str, size: tuple[int, int] = SIZE) -> Callable[[], Source]:
    return lambda: CommandSource(CommandConfig(command=list(command), size=size, open_timeout_s=NEVER_S, read_timeout_s=NEVER_S))


def _url(url: str, *, udp: bool = False) -> Callable[[], Source]:
    return lambda: UrlSource(UrlConfig(url=url, transport="udp" if udp else "tcp"))


def _file(tmp_path: Path) -> Case:
    video = write_video(tmp_path / "numbered.avi", numbered(COUNT))
    red = write_video(tmp_path / "red.avi", [plain(SIZE)] * 3)
    damaged = cut(video, 0.6)
    return Case(
        pictures=lambda: FileSource(FileConfig(path=str(video))),
        red=lambda: FileSource(FileConfig(path=str(red))),
        missing=lambda: FileSource(FileConfig(path="nowhere.mp4")),
        names="nowhere.mp4",
        damaged=lambda: FileSource(FileConfig(path=str(damaged))),
    )


def _images(tmp_path: Path) -> Case:
    for index, pixels in enumerate(numbered(COUNT)):
        write_picture(tmp_path / f"{index:02}.png", pixels)
    red = write_picture(tmp_path / "red.ppm", plain(SIZE))
    damaged = cut(write_picture(tmp_path / "red.bmp", plain(SIZE)), 0.5)
    red.rename(tmp_path / "red.dat")  # no suffix of a picture: not in the folder's list
    (tmp_path / "red.bmp").unlink()
    damaged = damaged.rename(tmp_path / "damaged.dat")
    return Case(
        pictures=lambda: ImagesSource(ImagesConfig(path=str(tmp_path))),
        red=lambda: ImagesSource(ImagesConfig(path=str(tmp_path / "red.dat"), loop=True)),
        missing=lambda: ImagesSource(ImagesConfig(path="nowhere.jpg")),
        names="nowhere.jpg",
        damaged=lambda: ImagesSource(ImagesConfig(path=str(damaged))),
    )


def _ffmpeg(tmp_path: Path) -> Case:
    skip_without("ffmpeg")
    video = str(write_video(tmp_path / "numbered.avi", numbered(COUNT)))
    red = "color=red:size=64x48:rate=10:duration=0.3"
    raw = ("-f", "rawvideo", "-pix_fmt", "bgr24", "-")
    return Case(
        pictures=_command("ffmpeg", "-loglevel", "error", "-i", video, *raw),
        red=_command("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", red, *raw),
        missing=_command("ffmpeg", "-loglevel", "error", "-i", "nowhere.avi", *raw),
        names="nowhere.avi: No such file or directory",
        reason="process_exited",
        damaged=_command("ffmpeg", "-loglevel", "error", "-i", video, *raw, size=(64, 50)),
    )


def _gstreamer(tmp_path: Path) -> Case:
    skip_without("gst-launch-1.0")
    video = str(write_video(tmp_path / "numbered.avi", numbered(COUNT)))
    caps = "video/x-raw,format=BGR,width=64,height=48"
    read = f"gst-launch-1.0 -q filesrc location={video} ! avidemux ! jpegdec ! videoconvert ! {caps} ! fdsink fd=1"
    red = f"gst-launch-1.0 -q videotestsrc num-buffers=3 pattern=red ! {caps} ! fdsink fd=1"
    return Case(
        pictures=_command(*read.split()),
        red=_command(*red.split()),
        missing=_command("gst-launch-1.0", "-q", "filesrc", "location=nowhere.avi", "!", "fdsink", "fd=1"),
        names="gst-launch-1.0",
        reason="process_exited",
    )


def _cat(tmp_path: Path) -> Case:
    raw = tmp_path / "numbered.raw"
    raw.write_bytes(b"".join(picture.tobytes() for picture in numbered(COUNT)))
    red = tmp_path / "red.raw"
    red.write_bytes(plain(SIZE).tobytes() * 3)
    return Case(
        pictures=_command("cat", str(raw)),
        red=_command("cat", str(red)),
        missing=_command("no-such-program"),
        names="no-such-program",
        damaged=_command("cat", str(cut(raw, 0.7))),
    )


def _fake(_: Path) -> Case:
    return Case(
        pictures=lambda: FakeSource(FakeConfig(levels=tuple(10 * index for index in range(COUNT)))),
        red=lambda: FakeSource(FakeConfig(color=RED)),
        missing=lambda: FakeSource(FakeConfig(missing=True)),
        names="fake camera",
        damaged=lambda: FakeSource(FakeConfig(error=("fake camera: damaged", "corrupt"))),
    )


def _live(camera: MjpegCamera | RtspCamera, *, udp: bool = False) -> Case:
    make = _url(camera.url, udp=udp)
    closed = f"rtsp://127.0.0.1:{free_port()}/cam"
    return Case(pictures=make, red=make, missing=_url(closed), names=closed, reason="open_failed")


def _synthetic() -> Source:
    return SyntheticSource(SyntheticConfig(size=SIZE, fps=0.001))  # the second picture is due when no test waits any longer


FINITE = {"file": _file, "images": _images, "ffmpeg": _ffmpeg, "gstreamer": _gstreamer, "cat": _cat, "fake": _fake}
LIVE = ("rtsp-tcp", "rtsp-udp", "mjpeg")


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """The kind of source that the test's parameter names."""
    if request.param == "synthetic":  # has pictures of its own alone, and cannot be missing
        yield Case(pictures=_synthetic, red=_synthetic, missing=_synthetic, names="synthetic")
    elif request.param == "mjpeg":
        with MjpegCamera(plain(SIZE)) as mjpeg:
            yield _live(mjpeg)
    elif request.param in LIVE:
        with RtspCamera("--pattern", "red", "--size", "64x48") as rtsp:
            yield _live(rtsp, udp=request.param == "rtsp-udp")
    else:
        yield FINITE[request.param](tmp_path_factory.mktemp(request.param))


finite = pytest.mark.parametrize("case", FINITE, indirect=True)
every = pytest.mark.parametrize("case", [*FINITE, *LIVE], indirect=True)


def _retrieve(source: Source, picture: Picture | None) -> NDArray[np.uint8]:
    assert picture is not None
    out = np.empty(picture_shape(picture.format, picture.width, picture.height), np.uint8)
    source.retrieve(out)
    return out


def _read_all(source: Source) -> list[int]:
    source.open()
    numbers = []
    while picture := source.grab():
        numbers.append(number(_retrieve(source, picture)))
    return numbers


@finite
def test_gives_every_picture_once_and_in_order_and_then_the_end(case: Case) -> None:
    with closing(case.pictures()) as source:
        assert _read_all(source) == list(range(COUNT))
        assert source.grab() is None


@finite
def test_a_picture_that_nobody_retrieves_is_dropped(case: Case) -> None:
    with closing(case.pictures()) as source:
        source.open()
        assert source.grab() is not None
        assert source.grab() is not None
        assert number(_retrieve(source, source.grab())) == 2
        dropped = 0
        while source.grab():
            dropped += 1
        assert dropped == COUNT - 3


@every
def test_red_is_red(case: Case) -> None:
    with closing(case.red()) as source:
        source.open()
        for _ in range(3):
            picture = source.grab()
            assert picture is not None
            assert (picture.format, picture.width, picture.height) == ("bgr24", *SIZE)
            pixels = _retrieve(source, picture)
            assert np.abs(pixels.astype(int) - RED).max() < 16


@every
def test_writes_the_picture_where_it_is_told_and_nowhere_else(case: Case) -> None:
    with closing(case.red()) as source:
        source.open()
        assert source.grab() is not None
        memory = np.full(48 * 64 * 3 + 256, 77, np.uint8)
        source.retrieve(memory[128:-128].reshape(48, 64, 3))
        assert (memory[:128] == 77).all()
        assert (memory[-128:] == 77).all()
        assert memory[128:-128].reshape(48, 64, 3)[:, :, 2].min() > 239


@every
def test_one_that_is_not_there_is_one_line_that_names_it(case: Case) -> None:
    with closing(case.missing()) as source, pytest.raises(SourceError) as failure:
        source.open()
    message = str(failure.value)
    assert case.names in message
    assert "\n" not in message
    assert failure.value.reason == case.reason


@pytest.mark.parametrize("case", ["file", "images", "ffmpeg", "cat", "fake"], indirect=True)
def test_one_that_breaks_off_gives_what_it_has_and_says_so(case: Case) -> None:
    assert case.damaged is not None
    with closing(case.damaged()) as source, pytest.raises(SourceError) as failure:
        _read_all(source)
    assert "\n" not in str(failure.value)
    assert failure.value.reason in ("corrupt", "process_exited")


@pytest.mark.parametrize("case", [*FINITE, *LIVE, "synthetic"], indirect=True)
def test_may_be_closed_at_any_time_and_twice(case: Case) -> None:
    unopened, opened = case.pictures(), case.pictures()
    unopened.close()
    unopened.close()
    opened.open()
    opened.grab()
    opened.close()
    opened.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakeSource(FakeConfig(levels=(0,), waits=True)),
        _synthetic,
        _command("sh", "-c", "head -c 9216 /dev/zero; sleep 1000"),
        _command("sh", "-c", "trap '' TERM; head -c 9216 /dev/zero; while :; do sleep 1000; done"),
    ],
    ids=["fake", "synthetic", "command", "stubborn command"],
)
def test_one_in_a_thread_is_closed_from_another(make: Callable[[], Source]) -> None:
    source = make()
    source.open()
    assert source.grab() is not None
    first = threading.Event()
    ends: list[Picture | None] = []

    def grab() -> None:
        _retrieve(source, Picture("bgr24", *SIZE))
        first.set()
        ends.append(source.grab())

    thread = threading.Thread(target=grab)
    thread.start()
    assert first.wait(NEVER_S)
    source.close()
    thread.join(NEVER_S)
    assert ends == [None]
