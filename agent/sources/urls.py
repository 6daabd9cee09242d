"""Addresses of cameras: credentials go in, passwords come out."""

import re
from urllib.parse import quote, urlsplit

HIDDEN = "***"

# to the last @ of the word: a password that nobody percent-encoded may itself hold : @ / ? or #
_USER_INFO = re.compile(r"://([^\s/:]*):\S*@")
_QUERY = re.compile(r"((?:pass|passwd|password|pwd|psw|auth|secret|token|api_?key)=)[^&;\s'\"]+", re.IGNORECASE)


def with_credentials(url: str, username: str | None, password: str | None) -> str:
    """`url` with the user name and password in it, percent-encoded; those it had stay where none is given.

    Raises ValueError where the host is malformed.
    """
    if username is None and password is None:
        return url
    parts = urlsplit(url)
    user_info, _, host = parts.netloc.rpartition("@")
    user, colon, secret = user_info.partition(":")
    if username is not None:
        user = quote(username, safe="")
    if password is not None:
        colon, secret = ":", quote(password, safe="")
    return parts._replace(netloc=f"{user}{colon}{secret}@{host}").geturl()


def without_password(text: str) -> str:
    """`text`, a URL or a message that holds some, with every password in it hidden."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER_INFO.sub(rf"://\1:{HIDDEN}@", text))
