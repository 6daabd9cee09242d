import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agent.errors import SourceError
from agent.sources.config import FileConfig
from agent.sources.file import FileSource
from tests.cameras import skip_without
from tests.media import cut, number, numbered, write_video

COUNT = 10


def frames(config: FileConfig, most: int = 1000) -> list[int]:
    """The numbers of its frames until the end, or of so many."""
    numbers: list[int] = []
    out = np.empty((48, 64, 3), np.uint8)
    with closing(FileSource(config)) as source:
        source.open()
        while len(numbers) < most and source.grab():
            source.retrieve(out)
            numbers.append(number(out))
    return numbers


def failure(path: Path) -> SourceError:
    with pytest.raises(SourceError) as raised:
        frames(FileConfig(path=str(path)))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip:1.avi", numbered(COUNT), fps=200)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_gives_each_frame_once(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered(COUNT))
    assert frames(FileConfig(path=str(path))) == list(range(COUNT))


def test_a_loop_starts_over(video: Path) -> None:
    assert frames(FileConfig(path=str(video), loop=True), most=3 * COUNT) == 3 * list(range(COUNT))


def test_in_real_time_each_frame_is_given_or_counted_as_skipped(video: Path) -> None:
    with closing(FileSource(FileConfig(path=str(video), realtime=True))) as source:
        source.open()
        total = 0
        while picture := source.grab():
            total += 1 + picture.skipped
            assert picture.fps == 200
    assert total <= COUNT
    assert total >= 1


def test_a_video_lies_as_its_metadata_says(tmp_path: Path) -> None:
    skip_without("ffmpeg")
    upright = tmp_path / "upright.mp4"
    write_video(tmp_path / "lying.mp4", numbered(3))
    command = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "lying.mp4"), "-c", "copy", "-metadata:s:v", "rotate=90"]
    subprocess.run([*command, str(upright)], check=True)
    with closing(FileSource(FileConfig(path=str(upright)))) as source:
        source.open()
        picture = source.grab()
        assert picture is not None
        assert (picture.width, picture.height) == (48, 64)
        out = np.full((64, 48, 3), 255, np.uint8)
        source.retrieve(out)
        assert number(out) == 0


def test_one_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    assert failure(tmp_path / "none.mp4").reason == "not_found"
    assert failure(tmp_path).reason == "not_found"
    assert "type: images" in str(failure(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"no video at all " * 1000, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\n"]
)
def test_one_that_is_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert failure(path).reason == "corrupt"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4"])
def test_one_that_was_cut_off(tmp_path: Path, name: str, share: float) -> None:
    rng = np.random.default_rng(1)
    path = write_video(tmp_path / name, rng.integers(0, 255, (20, 48, 64, 3), np.uint8))
    assert failure(cut(path, share)).reason == "corrupt"


def test_one_with_a_damaged_stretch_gives_the_rest(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = write_video(tmp_path / "a.avi", rng.integers(0, 255, (20, 48, 64, 3), np.uint8))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    assert len(frames(FileConfig(path=str(path)), most=18)) == 18


def test_a_cut_that_only_hides_frames_is_whole(tmp_path: Path) -> None:
    skip_without("ffmpeg")
    write_video(tmp_path / "long.mp4", numbered(25))
    part = tmp_path / "part.mp4"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-ss", "0.95", "-i", tmp_path / "long.mp4", "-c", "copy", part], check=True)
    numbers = frames(FileConfig(path=str(part)))
    assert numbers[-1] == 24


@pytest.mark.data
def test_real_videos_are_whole(data: Path) -> None:
    for name, count in (("traffic_frames.mp4", 20), ("frigate_motion_1.mp4", 813)):
        with closing(FileSource(FileConfig(path=str(data / "video" / name)))) as source:
            source.open()
            grabbed = 0
            while source.grab():
                grabbed += 1
        assert grabbed == count


@pytest.mark.parametrize("text", ["person\nbicycle\n" * 200, "käse\n" * 300, "#EXTM3U\nhttp://10.0.0.1/a.ts\n"])
def test_text_is_not_drawn(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert str(failure(path)) == f"video {path} is text, not a video"
