"""Network cameras that misbehave, for real."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from agent.errors import SourceError
from agent.sources.config import UrlConfig
from agent.sources.url import UrlSource
from tests.cameras import MjpegCamera, RtspCamera
from tests.media import plain
from tests.mosquitto import free_port

PASSWORD = "p@ss/w:rd%#?"  # noqa: S105  of our own camera
READ_TIMEOUT_S = 1.0


def read(config: UrlConfig, during: Callable[[], None]) -> None:
    with closing(UrlSource(config)) as source:
        source.open()
        assert source.grab() is not None
        during()
        while source.grab():
            pass


def failure(config: UrlConfig, during: Callable[[], None] = lambda: None) -> SourceError:
    """What ends it once a picture has come and `during` is over."""
    with pytest.raises(SourceError) as raised:
        read(config, during)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.fixture
def rtsp() -> Iterator[RtspCamera]:
    with RtspCamera() as camera:
        yield camera


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Of an RTSP camera, an HTTP camera, and nobody."""
    with RtspCamera() as rtsp, MjpegCamera(plain((64, 48))) as http:
        yield {"rtsp": rtsp.port, "http": http.port, "closed": free_port()}


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_dies(rtsp: RtspCamera, transport: str) -> None:
    config = UrlConfig(url=rtsp.url, transport="udp" if transport == "udp" else "tcp", read_timeout_s=READ_TIMEOUT_S)
    error = failure(config, during=rtsp.kill)
    assert error.reason in ("ended", "read_timeout")
    assert rtsp.url in str(error)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_hangs(rtsp: RtspCamera, transport: str) -> None:
    config = UrlConfig(url=rtsp.url, transport="udp" if transport == "udp" else "tcp", read_timeout_s=READ_TIMEOUT_S)
    error = failure(config, during=rtsp.suspend)
    assert error.reason == "read_timeout"
    assert str(error) == f"camera {rtsp.url} gave no picture within 1 s"


def test_a_camera_that_hangs_from_the_start(rtsp: RtspCamera) -> None:
    rtsp.suspend()
    error = failure(UrlConfig(url=rtsp.url, open_timeout_s=0.5))
    assert str(error) == f"camera {rtsp.url} cannot be opened: no answer within 0.5 s"
    assert error.reason == "open_failed"


def test_a_camera_that_comes_back(rtsp: RtspCamera) -> None:
    for _ in range(2):
        failure(UrlConfig(url=rtsp.url), during=rtsp.kill)
        rtsp.start()


@pytest.mark.parametrize("digest", [False, True], ids=["basic", "digest"])
def test_a_camera_that_asks_for_a_password(digest: bool) -> None:
    arguments = ["--user", "me", "--password", PASSWORD, *(["--digest"] if digest else [])]
    with RtspCamera(*arguments) as camera:
        with closing(UrlSource(UrlConfig(url=camera.url, username="me", password=PASSWORD))) as source:
            source.open()
            assert source.grab() is not None
        for username, password in (("me", "wrong"), ("you", PASSWORD), (None, None)):
            error = failure(UrlConfig(url=camera.url, username=username, password=password))
            assert error.reason == "authentication"
            assert str(error) == f"camera {camera.url} cannot be opened: it refuses the user name or the password"


def test_an_http_camera_that_asks_for_a_password() -> None:
    with MjpegCamera(plain((64, 48)), f"me:{PASSWORD}") as camera:
        with closing(UrlSource(UrlConfig(url=camera.url, username="me", password=PASSWORD))) as source:
            source.open()
            assert source.grab() is not None
        error = failure(UrlConfig(url=f"http://me:wrong@127.0.0.1:{camera.port}/cam"))
        assert error.reason == "authentication"
        assert "me:***@" in str(error)
        assert "wrong" not in str(error)


def test_an_http_camera_that_hangs_or_hangs_up() -> None:
    with MjpegCamera(plain((64, 48))) as camera:
        config = UrlConfig(url=camera.url, read_timeout_s=READ_TIMEOUT_S)
        assert failure(config, during=camera.hang.set).reason == "read_timeout"
        camera.hang.clear()
        assert failure(config, during=camera.hang_up.set).reason == "ended"


@pytest.mark.parametrize(
    ("url", "reason", "why"),
    [
        ("rtsp://127.0.0.1:{closed}/cam", "open_failed", "nothing listens there"),
        ("http://127.0.0.1:{closed}/cam", "open_failed", "nothing listens there"),
        ("rtsp://127.0.0.1:{rtsp}/none", "not_found", "it has no such stream"),
        ("http://127.0.0.1:{http}/none", "not_found", "it has no such stream"),
        ("rtsp://camera.invalid/cam", "not_found", "its host name is not known"),
        ("rtsp://[::1/cam", "open_failed", "Invalid IPv6 URL"),
        ("ftp://127.0.0.1/cam", "open_failed", "a url begins with rtsp://"),
        ("file:///etc/hostname", "open_failed", "a url begins with rtsp://"),
    ],
)
def test_addresses_without_a_camera(ports: dict[str, int], url: str, reason: str, why: str) -> None:
    address = url.format(**ports)
    error = failure(UrlConfig(url=address, username="me", password="secret"))  # noqa: S106  of no camera
    assert error.reason == reason
    assert address in str(error)
    assert why in str(error)
    assert "secret" not in str(error)
