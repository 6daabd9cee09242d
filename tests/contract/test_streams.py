"""What every stream of frames must do: that of a camera worker, that of a thread, and the fake."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec
import pytest

from agent.errors import SourceError
from agent.pipeline.streams import FrameStream, ThreadStream
from agent.worker.camera import CameraOptions, CameraWorker
from agent.worker.spawner import Spawner
from tests.fake_source import FakeConfig, FakeSource
from tests.frames import FakeStream, make_frame
from tests.waiting import wait_until

SLOTS = 3
LEVELS = (10, 20, 30, 40, 50, 60)


Make = Callable[[FakeConfig], FrameStream]  # a stream that does what the fake source's config says


@pytest.fixture(params=["camera worker", "thread", "fake"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    spawner = Spawner()
    kinds: dict[str, Make] = {
        "camera worker": lambda config: CameraWorker(spawner, "main", options(config), 7),
        "thread": lambda config: ThreadStream("main", FakeSource(config), SLOTS, 7),
        "fake": fake,
    }
    yield kinds[request.param]
    spawner.close()


def options(config: FakeConfig, *, live: bool = False, read_timeout_s: float = 20.0) -> CameraOptions:
    return CameraOptions(
        source="tests.fake_source:FakeSource",
        config=msgspec.msgpack.encode(config),
        live=live,
        slots=SLOTS,
        open_timeout_s=20.0,
        read_timeout_s=read_timeout_s,
        memory_limit_bytes=1 << 30,
    )


def fake(config: FakeConfig) -> FrameStream:
    frames = [make_frame(7 + i, value=level) for i, level in enumerate(config.levels)]
    ending = [SourceError(*config.error)] if config.error else []
    if config.missing:
        return FakeStream([SourceError("fake camera is not there", "not_found")])
    return FakeStream([*frames, *ending], live=config.waits)


def test_frames_come_in_order_and_then_the_end(make: Make) -> None:
    with closing(make(FakeConfig(levels=LEVELS))) as stream:
        for i, level in enumerate(LEVELS):
            frame = stream.read()
            assert frame is not None
            assert (frame.seq, frame.width, frame.height, frame.format) == (7 + i, 64, 48, "bgr24")
            assert (frame.pixels == level).all()
        assert stream.read() is None


def test_a_failure_names_its_reason(make: Make) -> None:
    with closing(make(FakeConfig(missing=True))) as stream, pytest.raises(SourceError, match="is not there") as caught:
        stream.read()
    assert caught.value.reason == "not_found"
    with closing(make(FakeConfig(levels=(1,), error=("camera: gone", "ended")))) as stream:
        assert stream.read() is not None
        with pytest.raises(SourceError, match="camera: gone"):
            stream.read()


def test_interrupt_ends_a_read_that_waits(make: Make) -> None:
    with closing(make(FakeConfig(levels=(1,), waits=True))) as stream:
        assert stream.read() is not None
        ended = threading.Event()

        def read() -> None:
            with pytest.raises(SourceError) if not isinstance(stream, ThreadStream) else closing(stream):
                stream.read()
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        stream.interrupt()
        assert ended.wait(20)
        reader.join()


def test_close_twice(make: Make) -> None:
    stream = make(FakeConfig())
    stream.read()
    stream.close()
    stream.close()


def test_frames_that_are_held_stay_as_they_are(make: Make) -> None:
    with closing(make(FakeConfig(levels=LEVELS[:SLOTS]))) as stream:
        held = [stream.read() for _ in range(SLOTS)]
    del stream
    gc.collect()
    assert [int(frame.pixels[0, 0, 0]) for frame in held if frame is not None] == list(LEVELS[:SLOTS])


def test_a_worker_waits_for_a_slot_unless_it_is_live() -> None:
    spawner = Spawner()
    with closing(CameraWorker(spawner, "main", options(FakeConfig(levels=LEVELS)))) as stream:
        held = [stream.read() for _ in range(SLOTS)]
        del held[0]
        frame = stream.read()
        assert frame is not None
        assert frame.seq == SLOTS
    with closing(CameraWorker(spawner, "main", options(FakeConfig(levels=LEVELS, waits=True), live=True))) as stream:
        held = [stream.read() for _ in range(SLOTS)]
        wait_until(lambda: all(frame is not None for frame in held), "the slots are all held")
    spawner.close()


def test_a_worker_that_hangs_is_a_lost_source() -> None:
    spawner = Spawner()
    with closing(CameraWorker(spawner, "main", options(FakeConfig(levels=(1,), waits=True), read_timeout_s=0.1))) as stream:
        assert stream.read() is not None
        with pytest.raises(SourceError, match="no picture within") as caught:
            stream.read()
    assert caught.value.reason == "read_timeout"
    spawner.close()


def test_a_worker_that_dies_is_a_lost_source() -> None:
    spawner = Spawner()
    with closing(CameraWorker(spawner, "main", options(FakeConfig(levels=(1,), waits=True)))) as stream:
        assert stream.read() is not None
        stream.interrupt()
        with pytest.raises(SourceError, match="ended by SIGKILL") as caught:
            stream.read()
    assert caught.value.reason == "worker_failed"
    spawner.close()
