"""Values on the command line and on the screen: devices, times, NAME=VALUE."""

import argparse
import re
import time
from contextlib import suppress
from datetime import datetime

from agent.publish.messages import utc_text

UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


def add_device_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """device, a list of names; select, a list of (label, value)."""
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument("--device", action="append", default=[], type=device, metavar="D", help="may be given several times")
    group.add_argument(
        "--select",
        action="append",
        default=[],
        type=pair,
        metavar="LABEL=VALUE",
        help="devices with this label in their config; several: with all of them",
    )


def device(text: str) -> str:
    """A device's id."""
    if not text or any(character in text for character in "/+#\0"):
        raise argparse.ArgumentTypeError(f"expected a device's id, got {text!r}")
    return text


def pair(text: str) -> tuple[str, str]:
    """key=value."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"expected {'NAME=VALUE' if not key else key + '=VALUE'}, got {text!r}")
    return key, value


def count(text: str) -> int:
    """A whole number from 0."""
    if re.fullmatch(r"\d{1,9}", text) is None:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def seconds(text: str) -> int:
    """A duration: 90, 90s, 5m, 1h, 2d."""
    found = re.fullmatch(r"(\d{1,8})([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 5m, 1h or 2d, got {text!r}")
    return int(found[1]) * UNITS_S[found[2]]


def instant(text: str) -> str:
    """An instant as messages have it, from such a text, or from a duration from now."""
    if INSTANT.fullmatch(text):
        with suppress(ValueError):
            datetime.fromisoformat(text)
            return text if "." in text else f"{text[:-1]}.000Z"
    if re.fullmatch(r"(\d{1,8})([smhd]?)", text):
        return utc_text(time.time_ns() + seconds(text) * 1_000_000_000)
    raise argparse.ArgumentTypeError(f"expected a time from now such as 6h, or 2026-11-25T05:00:00Z, got {text!r}")


def shown(text: str) -> str:
    """What a device says, without what could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
