"""A pipeline that people pause, resume and take a picture of, with a real model worker."""

import json
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from agent.core.types import Frame
from agent.errors import SourceError
from agent.pipeline.config import PipelineConfig
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.results import Origin
from agent.worker.slot import ModelSlot
from agent.worker.spawner import Spawner
from tests.fakes import RecordingPublisher
from tests.faulty import faulty_worker
from tests.faulty_runtime import FINE, SIDE
from tests.waiting import DEADLINE_S, wait_until


class Lane:
    """A pipeline over every frame that it is given."""

    def __init__(self, spawner: Spawner) -> None:
        self.publisher = RecordingPublisher()
        self.mailbox = Mailbox(live=False)
        self._worker = faulty_worker(spawner)
        self._slot = ModelSlot("people")
        self._slot.serve(self._worker)
        self.pipeline = Pipeline(
            Origin("test", "1-0000", "gate", "people"),
            PipelineConfig(source="gate", model="people"),
            self.mailbox,
            self._slot,
            in_flight=2,
            publisher=self.publisher,
            topic="results",
            clock_synced=lambda: True,
            on_counts=lambda _found, _mono_ns: None,
        )
        assert self._worker.spec(DEADLINE_S) is not None
        self._fed = 0
        self._feeders: list[threading.Thread] = []

    def feed(self, frames: int) -> None:
        """Put frames into the mailbox, one after the other, as they are taken."""
        seqs = range(self._fed, self._fed + frames)
        self._fed += frames

        def put() -> None:
            for seq in seqs:
                self.mailbox.put(frame(seq))

        self._feeders.append(threading.Thread(target=put))
        self._feeders[-1].start()

    def results(self) -> list[int]:
        return [json.loads(payload)["frame_seq"] for payload in self.publisher.payloads("results")]

    def stop(self) -> None:
        self.pipeline.stop()
        self.pipeline.join()
        self.mailbox.end()
        for feeder in self._feeders:
            feeder.join()
        self._slot.close()


def frame(seq: int) -> Frame:
    return Frame(np.full((SIDE, SIDE, 3), FINE, np.uint8), "rgb24", SIDE, SIDE, seq, 0, 0, "gate")


@pytest.fixture
def lane() -> Iterator[Lane]:
    spawner = Spawner()
    lane = Lane(spawner)
    yield lane
    lane.stop()
    spawner.close()


def test_what_is_paused_takes_no_frames(lane: Lane) -> None:
    lane.pipeline.start()
    lane.feed(3)
    wait_until(lambda: lane.results() == [0, 1, 2], "three results")
    lane.pipeline.pause()
    lane.feed(5)
    with pytest.raises(SourceError, match="pipeline gate is paused: it takes no pictures before it is resumed"):
        lane.pipeline.snapshot()
    wait_until(lambda: lane.mailbox.frames_in >= 4, "the next frame waits")
    assert len(lane.results()) <= 4  # it had begun to wait for that one
    lane.pipeline.resume()
    assert not lane.pipeline.paused
    wait_until(lambda: lane.results() == list(range(8)), "every frame, once")


def test_what_is_paused_can_be_stopped(lane: Lane) -> None:
    lane.pipeline.pause()
    lane.pipeline.start()
    lane.feed(2)
    lane.pipeline.stop()
    lane.pipeline.join()
    assert lane.results() == []
    assert not lane.pipeline.running


def test_a_snapshot_is_the_next_frame(lane: Lane) -> None:
    lane.pipeline.start()
    pictures: list[bytes] = []
    askers = [threading.Thread(target=lambda: pictures.append(lane.pipeline.snapshot())) for _ in range(3)]
    for asker in askers:
        asker.start()
    while any(asker.is_alive() for asker in askers):
        lane.feed(1)
        wait_until(lambda: len(lane.results()) == lane._fed, "its result")
    assert len(pictures) == 3
    for picture in pictures:
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert decoded.shape == (SIDE, SIDE, 3)
