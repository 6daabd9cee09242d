from contextlib import closing

import numpy as np
import pytest
from msgspec import ValidationError, convert

from agent.core.source import Picture
from agent.pipeline.streams import ThreadStream, is_live
from agent.sources.belt import Belt
from agent.sources.config import SourceConfig, SyntheticConfig
from agent.sources.synthetic import SyntheticSource

SIZE = (96, 64)


def test_a_frame_has_the_number_of_its_picture_on_the_belt() -> None:
    config = SyntheticConfig(size=SIZE, fps=500, seed=4)
    belt = Belt(SIZE, 500, 4, config.parts)
    expected = np.empty((64, 96, 3), np.uint8)
    with closing(ThreadStream("belt", SyntheticSource(config), slots=2, first_seq=0)) as stream:
        for _ in range(20):
            frame = stream.read()
            assert frame is not None
            belt.draw(frame.seq, expected)
            assert (frame.pixels == expected).all()
            assert stream.fps == 500


def test_what_is_over_is_left_out_and_counted() -> None:
    with closing(SyntheticSource(SyntheticConfig(size=SIZE, fps=1000))) as source:
        source.open()
        numbers = [picture.skipped + 1 for _ in range(50) if (picture := source.grab())]
        assert len(numbers) == 50
        assert source._next == sum(numbers)


def test_writes_the_whole_picture_and_nothing_else() -> None:
    with closing(SyntheticSource(SyntheticConfig(size=SIZE))) as source:
        source.open()
        assert source.grab() == Picture("bgr24", *SIZE, fps=30)
        memory = np.full((2, 64 * 96 * 3 + 256), [[77], [78]], np.uint8)
        for row in memory:
            source.retrieve(row[128:-128].reshape(64, 96, 3))
        assert (memory[:, 128:-128][0] == memory[:, 128:-128][1]).all()
        assert (memory[0, :128] == 77).all()
        assert (memory[0, -128:] == 77).all()


def test_is_live() -> None:
    assert is_live(SyntheticConfig())


@pytest.mark.parametrize(
    "wrong", [{"size": [32, 32]}, {"fps": 0}, {"seed": -1}, {"parts": []}, {"parts": ["screw"]}, {"path": "x"}]
)
def test_settings_that_make_no_belt_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        convert({"type": "synthetic", **wrong}, SourceConfig)
