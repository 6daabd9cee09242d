import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.urls import with_credentials, without_password

SECRET = "p@ss/w:rd?#%"  # noqa: S105  not one


@pytest.mark.parametrize(
    ("url", "username", "password", "expected"),
    [
        ("rtsp://10.0.0.5/1", None, None, "rtsp://10.0.0.5/1"),
        ("rtsp://10.0.0.5:554/1?a=b", "viewer", "secret", "rtsp://viewer:secret@10.0.0.5:554/1?a=b"),
        ("rtsp://10.0.0.5/1", "us er", SECRET, "rtsp://us%20er:p%40ss%2Fw%3Ard%3F%23%25@10.0.0.5/1"),
        ("rtsp://old:gone@10.0.0.5/1", "viewer", "secret", "rtsp://viewer:secret@10.0.0.5/1"),
        ("rtsp://viewer@10.0.0.5/1", None, "secret", "rtsp://viewer:secret@10.0.0.5/1"),
        ("rtsp://[::1]:554/1", "viewer", "secret", "rtsp://viewer:secret@[::1]:554/1"),
    ],
)
def test_credentials_go_into_the_url(url: str, username: str | None, password: str | None, expected: str) -> None:
    assert with_credentials(url, username, password) == expected


def test_a_malformed_host_is_refused() -> None:
    with pytest.raises(ValueError, match="IPv6"):
        with_credentials("rtsp://[::1/1", "viewer", "secret")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://10.0.0.5/1", "rtsp://10.0.0.5/1"),
        ("rtsp://viewer@10.0.0.5/1", "rtsp://viewer@10.0.0.5/1"),
        ("rtsp://viewer:secret@10.0.0.5/1", "rtsp://viewer:***@10.0.0.5/1"),
        ("rtsp://viewer:@10.0.0.5/1", "rtsp://viewer:***@10.0.0.5/1"),
        ("rtsp://:secret@10.0.0.5/1", "rtsp://:***@10.0.0.5/1"),
        ("rtsp://me@corp.com:secret@10.0.0.5/1", "rtsp://me@corp.com:***@10.0.0.5/1"),
        ("http://cam/video.cgi?usr=a&psw=b", "http://cam/video.cgi?usr=a&psw=***"),
        (f"rtsp://viewer:{SECRET}@10.0.0.5/1", "rtsp://viewer:***@10.0.0.5/1"),
        ("http://cam/video.cgi?user=a&pwd=b&res=1", "http://cam/video.cgi?user=a&pwd=***&res=1"),
        ("rtsp://cam/user=admin&password=b&channel=1", "rtsp://cam/user=admin&password=***&channel=1"),
        ("rtsp://a:b@c/1: refused, rtsp://d:e@f/2: too", "rtsp://a:***@c/1: refused, rtsp://d:***@f/2: too"),
        ("at 10:30 mail me@example.org", "at 10:30 mail me@example.org"),
    ],
)
def test_passwords_are_hidden(text: str, expected: str) -> None:
    assert without_password(text) == expected


@given(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1))
def test_a_password_is_hidden_however_it_is_written(secret: str) -> None:
    hidden = "rtsp://viewer:***@10.0.0.5/1"
    assert without_password(f"rtsp://viewer:{secret}@10.0.0.5/1") == hidden
    assert without_password(with_credentials("rtsp://10.0.0.5/1", "viewer", secret)) == hidden
