"""Label lists: one a line, numbered or not."""

import re
from collections.abc import Iterable
from pathlib import Path

from agent.errors import BundleError

LABELS = "labels.txt"  # what the list is called in the bundles that we write
MAX_BYTES = 4 << 20
MAX_LABELS = 100_000
NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,]\s*|\s+)(\S.*)")


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, by class id. BundleError where it cannot be read or understood."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        return parse_labels(raw[:MAX_BYTES].decode("utf-8-sig"))
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from None


def write_labels(folder: Path, labels: Iterable[str]) -> None:
    """As `LABELS`, one a line. Raises OSError."""
    (folder / LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels by class id from lines, or from lines that all begin with their class id: `0 person`, `0: person`.

    An id that is left out is its own label. Raises ValueError.
    """
    lines = [line.strip() for line in text.rstrip().splitlines()]
    for i, line in enumerate(lines):
        if not line:
            raise ValueError(f"line {i + 1} is empty; each line is a label")
        if not line.isprintable():
            raise ValueError(f"line {i + 1} is not text")
    if not 0 < len(lines) <= MAX_LABELS:
        raise ValueError(f"{len(lines)} labels" if lines else "there is no label in it")
    numbered = [match for line in lines if (match := NUMBERED.fullmatch(line))]
    return _by_id([(int(match[1]), match[2]) for match in numbered]) if len(numbered) == len(lines) else tuple(lines)


def _by_id(pairs: list[tuple[int, str]]) -> tuple[str, ...]:
    labels = dict(pairs)
    if len(labels) < len(pairs):
        seen: set[int] = set()
        twice = next(i for i, _ in pairs if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"class id {twice} is there twice")
    if max(labels) >= MAX_LABELS:
        raise ValueError(f"class id {max(labels)} is too large")
    return tuple(labels.get(i, str(i)) for i in range(max(labels) + 1))
