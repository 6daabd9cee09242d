"""The synthetic belt as a video, so that it can be run through faster than it moves. Run as a module with the video's path."""

import sys

import cv2
import numpy as np

from agent.sources.belt import Belt
from agent.sources.config import SyntheticConfig

FRAMES = 300


def main() -> int:
    """Write it, MPEG-4; 1 where that cannot be done."""
    config = SyntheticConfig()
    belt = Belt(config.size, config.fps, config.seed, config.parts)
    video = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter.fourcc(*"mp4v"), config.fps, config.size)
    picture = np.empty((config.size[1], config.size[0], 3), np.uint8)
    for number in range(FRAMES):
        belt.draw(number, picture)
        video.write(picture)
    whole = video.isOpened()
    video.release()
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
