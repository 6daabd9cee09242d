"""Sources give pictures; one file a kind, behind the Protocol of agent.core.source."""

from typing import Literal, NamedTuple

from agent.core.source import Picture, Source


class Kind(NamedTuple):
    """Where a kind of source lives, and whether it runs in a process of its own.

    It does if it decodes: read() cannot be interrupted, and codecs parse hostile bytes.
    """

    path: str
    runs_in: Literal["child", "thread"]


SOURCES: dict[str, Kind] = {
    "file": Kind("agent.sources.file:FileSource", "child"),
    "images": Kind("agent.sources.images:ImagesSource", "child"),
    "usb": Kind("agent.sources.usb:UsbSource", "child"),
    "url": Kind("agent.sources.url:UrlSource", "child"),
    "command": Kind("agent.sources.command:CommandSource", "thread"),
    "synthetic": Kind("agent.sources.synthetic:SyntheticSource", "thread"),
}

__all__ = ["SOURCES", "Kind", "Picture", "Source"]
