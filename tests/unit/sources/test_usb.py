from pathlib import Path

import pytest

from agent.errors import SourceError
from agent.sources.config import UsbConfig
from agent.sources.usb import UsbSource


@pytest.mark.parametrize(("device", "path"), [(63, "/dev/video63"), ("/dev/v4l/by-id/usb-none", "/dev/v4l/by-id/usb-none")])
def test_one_that_is_not_there_is_named_with_those_that_are(device: int | str, path: str) -> None:
    source = UsbSource(UsbConfig(device=device))
    with pytest.raises(SourceError) as failure:
        source.open()
    source.close()
    assert failure.value.reason == "not_found"
    message = str(failure.value)
    assert message.startswith(f"camera {path} is not there; ")
    there = [str(device) for device in Path("/dev").glob("video*")]
    assert all(name in message for name in there or ["no camera is connected"])


def test_a_device_that_is_no_camera() -> None:
    source = UsbSource(UsbConfig(device="/dev/null"))
    with pytest.raises(SourceError, match="/dev/null gives no pictures") as failure:
        source.open()
    assert failure.value.reason == "open_failed"
    source.close()
    source.close()
