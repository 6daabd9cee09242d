"""Pictures to try a model on: those of its bundle, decoded in a process of their own, and patterns that need no file."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.types import Frame
from agent.errors import SourceError, VettingError
from agent.sources import SOURCES
from agent.sources.config import ImagesConfig
from agent.worker.camera import CameraOptions, CameraWorker
from agent.worker.spawner import Spawner

DECODER_BYTES = 512 << 20  # of memory: a bundle may come from anybody, and a small file may claim to be any size
DECODE_S = 20.0  # for one picture
LONGEST_SIDE = 640  # a model may take pictures of 64 megapixels, and the patterns lie in the agent's memory


def golden_pictures(files: Sequence[Path]) -> Generator[Frame]:
    """Each picture in turn, to be closed by who reads it. A frame is to be let go by the time that the next but one is asked for.

    VettingError where one cannot be decoded; a codec that crashes, hangs or leaks takes nothing else with it.
    """
    if not files:
        return
    config = ImagesConfig(path=[str(file) for file in files])
    options = CameraOptions(
        source=SOURCES["images"].path,
        config=msgspec.msgpack.encode(config),
        live=False,
        slots=2,
        open_timeout_s=DECODE_S,
        read_timeout_s=DECODE_S,
        memory_limit_bytes=DECODER_BYTES,
    )
    with closing(Spawner()) as spawner:
        try:
            with closing(CameraWorker(spawner, "golden samples", options)) as camera:
                for file in files:
                    if (frame := camera.read()) is None:
                        raise VettingError(f"picture {file} cannot be decoded", "bundle_invalid")
                    yield frame
        except SourceError as error:
            raise VettingError(str(error), "bundle_invalid") from None


def patterns(size: tuple[int, int]) -> list[Frame]:
    """Pictures that have little in common: noise, fine and coarse, dark and bright; ramps; stripes; a disc.

    size: their (width, height), of which no side becomes longer than `LONGEST_SIDE`.
    """
    width, height = (min(side, LONGEST_SIDE) for side in size)
    random = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ramp_x, ramp_y = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    coarse = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).repeat(16, 0).repeat(16, 1)[:height, :width]
    disc = np.hypot(x - width / 2, y - height / 2) < min(width, height) / 3
    pictures = [
        random.integers(0, 256, (height, width, 3)),
        random.integers(0, 64, (height, width, 3)),
        random.integers(192, 256, (height, width, 3)),
        coarse,
        np.stack((ramp_x, ramp_y, 255 - ramp_x), axis=2),
        np.stack((255 - ramp_y, ramp_x, ramp_y), axis=2),
        np.stack(((x // 8 % 2) * 255, (y // 8 % 2) * 255, (x // 32 % 2) * 255), axis=2),
        np.where(disc[..., None], (40, 90, 220), (200, 180, 30)),
    ]
    return [_frame(picture.astype(np.uint8), seq) for seq, picture in enumerate(pictures)]


def _frame(pixels: NDArray[np.uint8], seq: int) -> Frame:
    height, width = pixels.shape[:2]
    return Frame(pixels, "bgr24", width, height, seq, 0, 0, "pattern")
