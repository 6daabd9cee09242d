"""Small programs that put a new file in the place of an old one: the right way, and with each mistake that is to be found.

Their folder holds `files/<sha256>` and `current`, which names the one that is in use. A run puts the next content, its number and a
line of dots, in the place of the present one, and deletes that: `python -m tests.crash.writers WAY FOLDER`.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from agent import durable

Write = Callable[[Path, bytes], None]
DOTS = 3000


def content(number: int) -> bytes:
    """The file of that number."""
    return f"{number} ".encode() + b"." * DOTS


def prepare(folder: Path) -> None:
    """The state that a device leaves the factory with: file 1 is in use."""
    (folder / "files").mkdir()
    (folder / "files" / digest(content(1))).write_bytes(content(1))
    (folder / "current").write_text(digest(content(1)))


def genuine(folder: Path) -> None:
    """What must hold at any time: the file that is in use is there, and whole."""
    name = (folder / "current").read_text()
    data = folder / "files" / name
    assert data.is_file(), f"current names {name!r}, which is not there"
    assert digest(data.read_bytes()) == name, f"{len(data.read_bytes())} bytes of {name[:12]} are not what they were"


def replaced(folder: Path) -> None:
    """What must hold once a run has ended well: another file than the first one is in use, and nothing else is there."""
    name = (folder / "current").read_text()
    assert name != digest(content(1)), "file 1 is still in use"
    assert [path.name for path in (folder / "files").iterdir()] == [name], "something was left behind"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def replace(folder: Path, write: Write, write_current: Write | None = None) -> None:
    """The right order: the new file, then its name, then what is no longer needed."""
    new = _next(folder)
    write(folder / "files" / digest(new), new)
    (write_current or write)(folder / "current", digest(new).encode())
    _collect(folder, keep=digest(new))


def name_first(folder: Path, write: Write) -> None:
    """`current` names a file that is not there yet."""
    new = _next(folder)
    write(folder / "current", digest(new).encode())
    write(folder / "files" / digest(new), new)
    _collect(folder, keep=digest(new))


def garbage_first(folder: Path, write: Write) -> None:
    """The old file is deleted while it is in use."""
    new = _next(folder)
    write(folder / "files" / digest(new), new)
    _collect(folder, keep=digest(new))
    write(folder / "current", digest(new).encode())


def in_place(path: Path, data: bytes) -> None:
    """The file that is there is cut off and written anew."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    durable.sync_folder(path.parent)


def without_sync(path: Path, data: bytes) -> None:
    """The file is renamed before its data are on disk."""
    _write_part(path, data, sync=False).replace(path)
    durable.sync_folder(path.parent)


def without_folder_sync(path: Path, data: bytes) -> None:
    """The new name is not on disk."""
    _write_part(path, data).replace(path)


def other_folder_sync(path: Path, data: bytes) -> None:
    """Another folder than the file's is synced."""
    _write_part(path, data).replace(path)
    durable.sync_folder(path.parent.parent)


def rename_before_write(path: Path, data: bytes) -> None:
    """The name is given to a file that is empty yet."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        part.replace(path)
        durable.sync_folder(path.parent)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def new_part_alone(path: Path, data: bytes) -> None:
    """It works once: what a crash leaves behind is in the way for ever."""
    part = path.with_name(f"{path.name}.part")
    with part.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    durable.sync_folder(path.parent)


def once(path: Path, data: bytes) -> None:
    """os.write may take less than it was given, and says so."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    part.replace(path)
    durable.sync_folder(path.parent)


def silent(path: Path, data: bytes) -> None:
    """What goes wrong is not told."""
    try:
        durable.write(path, data)
    except OSError:
        return


WAYS: Mapping[str, Callable[[Path], None]] = {
    "right": lambda folder: replace(folder, durable.write),
    "name-first": lambda folder: name_first(folder, durable.write),
    "garbage-first": lambda folder: garbage_first(folder, durable.write),
    "in-place": lambda folder: replace(folder, durable.write, in_place),
    "without-sync": lambda folder: replace(folder, without_sync),
    "without-folder-sync": lambda folder: replace(folder, durable.write, without_folder_sync),
    "other-folder-sync": lambda folder: replace(folder, other_folder_sync),
    "rename-before-write": lambda folder: replace(folder, rename_before_write),
    "new-part-alone": lambda folder: replace(folder, new_part_alone),
    "one-write": lambda folder: replace(folder, once),
    "silent": lambda folder: replace(folder, silent),
}


def main(way: str, folder: Path) -> None:
    """One step on, or one line that says why not: many for a way called "…-traceback"."""
    name = way.removesuffix("-traceback")
    try:
        WAYS[name](folder)
    except OSError as error:
        if name != way:
            raise
        sys.exit(f"{folder}: {error.strerror}")


def _next(folder: Path) -> bytes:
    """The content after the one in use."""
    current = (folder / "files" / (folder / "current").read_text()).read_bytes()
    return content(int(current.split()[0]) + 1)


def _write_part(path: Path, data: bytes, *, sync: bool = True) -> Path:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    return part


def _collect(folder: Path, keep: str) -> None:
    for path in (folder / "files").iterdir():
        if path.name != keep:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
