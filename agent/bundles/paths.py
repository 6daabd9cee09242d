"""What a bundle may call its files."""

import unicodedata
from collections.abc import Collection
from pathlib import PurePosixPath

MAX_BYTES = 1024
MAX_PART_BYTES = 255  # of a file's name, on Linux
FOREIGN = set('\\:*?"<>|')  # what other file systems cannot have, or take for something else


def wrong_path(name: str) -> str | None:
    """Why a file of a bundle cannot be called so; None where it can: relative, in one spelling, and nowhere but in its folder."""
    path = PurePosixPath(name)
    if not name or not name.isprintable() or FOREIGN & set(name):
        return "a file's name is text without control characters and without " + " ".join(sorted(FOREIGN))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return "it does not lie in the bundle's directory"
    if str(path) != name or unicodedata.normalize("NFC", name) != name:
        return f"write it as {unicodedata.normalize('NFC', str(path))}"
    if len(name.encode()) > MAX_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in path.parts):
        return f"it is longer than {MAX_PART_BYTES} bytes a name or {MAX_BYTES} bytes in all"
    return None


def clash(names: Collection[str]) -> str | None:
    """Why files cannot lie in one folder, each being possible alone; None where they can."""
    spelt: dict[str, str] = {}
    for name in names:
        if (other := spelt.setdefault(name.casefold(), name)) != name:
            return f"{name} and {other} differ in upper and lower case alone"
    for name in names:
        for folder in PurePosixPath(name).parents:
            if file := spelt.get(str(folder).casefold()):
                return f"{file} is a file, and the folder of {name}"
    return None
