"""The loop that runs every source, on streams that do as they are told."""

from collections.abc import Sequence

from agent.core.types import Frame
from agent.errors import SourceError
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.source import SourceLoop, SourceStatus
from agent.sources.config import FileConfig, SourceConfig, UsbConfig
from tests.frames import FakeStream, make_frame
from tests.waiting import wait_until

LOST = SourceError("camera: gone", "read_timeout")
FILE, CAMERA = FileConfig(path="x.mp4"), UsbConfig(device=0)


class Notebook(Mailbox):
    """Notes the numbers of its frames instead of holding them."""

    def __init__(self) -> None:
        super().__init__(live=True)
        self.frames: list[int] = []

    def put(self, frame: Frame) -> None:
        self.frames.append(frame.seq)


class Run:
    """A source loop over prepared streams, which notes what it says and delivers."""

    def __init__(self, config: SourceConfig, streams: Sequence[FakeStream]) -> None:
        self.streams = list(streams)
        self.first_seqs: list[int] = []
        self.states: list[tuple[str, str]] = []
        self.mailbox = Notebook()
        self.loop = SourceLoop("main", config, self._open, [self.mailbox], self._note)
        self.loop.start()

    @property
    def frames(self) -> list[int]:
        return self.mailbox.frames

    def _open(self, first_seq: int) -> FakeStream:
        self.first_seqs.append(first_seq)
        return self.streams[len(self.first_seqs) - 1]

    def _note(self, name: str, status: SourceStatus) -> None:
        assert name == "main"
        self.states.append((status.state, status.reason))

    def ended(self) -> bool:
        return self.loop.status.state == "stopped" and self.mailbox.over


def test_a_file_is_delivered_to_its_end() -> None:
    run = Run(FILE, [FakeStream([make_frame(i) for i in range(3)])])
    wait_until(run.ended, "the end")
    assert run.frames == [0, 1, 2]
    assert run.states == [("connecting", "starting"), ("running", "ok"), ("stopped", "ended")]
    assert run.streams[0].closed


def test_a_camera_that_is_lost_is_opened_again_and_its_numbers_go_on() -> None:
    streams = [FakeStream([make_frame(0), make_frame(1), LOST]), FakeStream([LOST]), FakeStream([make_frame(2)], live=True)]
    run = Run(CAMERA, streams)
    wait_until(lambda: run.frames == [0, 1, 2], "the camera's return")
    run.loop.stop()
    assert run.first_seqs == [0, 2, 2]
    assert run.states == [
        ("connecting", "starting"),
        ("running", "ok"),
        ("lost", "read_timeout"),
        ("running", "ok"),
        ("stopped", "stopped_by_agent"),
    ]
    assert all(stream.closed for stream in streams)


def test_a_file_whose_decoder_crashes_goes_on_where_it_was() -> None:
    crash = SourceError("main: the worker was ended by SIGKILL", "worker_failed")
    streams = [FakeStream([make_frame(0), make_frame(1), crash]), FakeStream([make_frame(i) for i in range(4)])]
    run = Run(FILE, streams)
    wait_until(run.ended, "the end")
    assert run.frames == [0, 1, 2, 3]
    assert run.first_seqs == [0, 0]


def test_a_file_that_fails_at_the_same_frame_again_is_given_up() -> None:
    corrupt = SourceError("x.mp4: corrupt", "corrupt")
    run = Run(FILE, [FakeStream([make_frame(0), corrupt]), FakeStream([make_frame(0), corrupt])])
    wait_until(run.ended, "the end")
    assert run.frames == [0]
    assert run.states[-1] == ("stopped", "corrupt")


def test_stop_ends_a_read_that_waits() -> None:
    run = Run(CAMERA, [FakeStream([make_frame(0)], live=True)])
    wait_until(lambda: run.frames == [0], "the first frame")
    run.loop.stop()
    assert run.ended()


def test_an_unknown_reason_from_a_worker_is_not_believed() -> None:
    run = Run(CAMERA, [FakeStream([SourceError("x", "<script>")]), FakeStream([make_frame(0)], live=True)])
    wait_until(lambda: run.frames == [0], "the camera")
    run.loop.stop()
    assert ("lost", "worker_failed") in run.states


def test_frozen_and_black_are_states() -> None:
    frames = [make_frame(i, mono_s=i * 6, value=100) for i in range(3)] + [
        make_frame(3 + i, mono_s=18 + i * 11, value=i) for i in range(3)
    ]
    run = Run(CAMERA, [FakeStream([*frames, make_frame(9, mono_s=99, value=200)], live=True)])
    wait_until(lambda: len(run.frames) == 7, "all frames")
    run.loop.stop()
    assert run.states[1:-1] == [
        ("running", "ok"),
        ("frozen", "same_picture"),
        ("running", "ok"),
        ("black", "black_picture"),
        ("running", "ok"),
    ]
