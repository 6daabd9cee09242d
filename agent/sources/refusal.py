"""Why a network camera was not opened, where it or the network says so."""

import re
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPBasicAuthHandler, HTTPDigestAuthHandler, HTTPPasswordMgrWithDefaultRealm, build_opener


class Refusal(NamedTuple):
    """A SourceError's reason, and the same in words."""

    reason: str
    words: str


# of HTTP, and the same in RTSP (RFC 2326, section 7.1.1)
STATUS = {
    401: Refusal("authentication", "it refuses the user name or the password"),
    403: Refusal("authentication", "it refuses the user name or the password"),
    404: Refusal("not_found", "it has no such stream"),
}

# what FFmpeg writes in libavformat/tcp.c and rtsp.c
NO_SUCH_HOST = "Failed to resolve hostname"
REFUSED = "Connection refused"
RTSP_STATUS = re.compile(r"method \w+ failed: (\d{3})\b")


def refusal(complaint: str, address: str, timeout_s: float) -> Refusal | None:
    """From what FFmpeg complained of, or from an HTTP camera itself, whose answer FFmpeg keeps to itself; None where nobody says.

    address: with its credentials.
    """
    if NO_SUCH_HOST in complaint:
        return Refusal("not_found", "its host name is not known")
    if REFUSED in complaint:
        return Refusal("open_failed", "nothing listens there")
    if found := RTSP_STATUS.search(complaint):
        return STATUS.get(int(found[1]))
    if address.startswith("http"):
        return STATUS.get(_http_status(address, timeout_s))
    return None


def _http_status(address: str, timeout_s: float) -> int:
    """What the camera answers, 0 where it does not."""
    parts = urlsplit(address)
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    passwords = HTTPPasswordMgrWithDefaultRealm()
    if parts.username:
        passwords.add_password(None, url, unquote(parts.username), unquote(parts.password or ""))
    opener = build_opener(HTTPBasicAuthHandler(passwords), HTTPDigestAuthHandler(passwords))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            status: int = answer.status
            return status
    except HTTPError as error:
        error.close()
        return error.code
    except (OSError, HTTPException, ValueError):
        return 0
