"""A camera that the kernel offers by V4L2: most USB cameras, and frame grabbers."""

import math
import os
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.core.source import Picture
from agent.errors import SourceError
from agent.sources.capture import Capture
from agent.sources.config import UsbConfig


class UsbSource:
    """Pictures of a V4L2 camera, of the size that comes nearest to the one asked for."""

    Config: ClassVar[type[UsbConfig]] = UsbConfig

    def __init__(self, config: UsbConfig) -> None:
        self._config = config
        device = config.device
        self._device = f"/dev/video{device}" if isinstance(device, int) else device
        self._name = f"camera {self._device}"
        self._camera = Capture(self._name, config.read_timeout_s)

    def open(self) -> None:
        """SourceError where the device is not there, or is not one that gives pictures to us."""
        if not Path(self._device).exists():
            raise SourceError(f"{self._name} is not there; {_cameras()}", "not_found")
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise SourceError(f"{self._name} may not be used by this user; add them to the group video", "open_failed")
        # whole seconds; read once in a process. V4L2 has no other timeout in OpenCV
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(math.ceil(self._config.read_timeout_s))
        if not self._camera.open(self._device, cv2.CAP_V4L2):
            raise SourceError(f"{self._name} gives no pictures; another program may have it, or it is no camera", "open_failed")
        # the pixel format first: which sizes and rates there are depends on it
        if self._config.fourcc:
            self._camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._config.fourcc))
        if self._config.size:
            self._camera.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.size[0])
            self._camera.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.size[1])
        if self._config.fps:
            self._camera.set(cv2.CAP_PROP_FPS, self._config.fps)

    def grab(self) -> Picture | None:
        """The next frame; a camera never ends."""
        if self._camera.grab():
            return self._camera.picture()
        if not Path(self._device).exists():
            raise SourceError(f"{self._name} was unplugged", "not_found")
        raise SourceError(f"{self._name} gave no picture within {self._config.read_timeout_s:g} s", "read_timeout")

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """(h, w, 3), BGR."""
        self._camera.retrieve(out)

    def close(self) -> None:
        """Give the camera back."""
        self._camera.close()


def _cameras() -> str:
    """Which V4L2 devices there are, in words."""
    devices = sorted(Path("/dev").glob("video*"))
    return f"there are {', '.join(map(str, devices))}" if devices else "no camera is connected"
