"""What a program did to the files of a folder, as shim.c logged it."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

COUNT = struct.Struct("@Q")
RECORD = struct.Struct("@QqIIII")  # number, offset, kind, bytes of path, of other path, of data


class Kind(IntEnum):
    """As in shim.c."""

    CREATE = 0
    WRITE = 1
    RESIZE = 2
    SYNC = 3
    SYNC_FOLDER = 4
    RENAME = 5
    UNLINK = 6
    RMDIR = 7
    MKDIR = 8
    SYMLINK = 9
    LINK = 10


class Operation(NamedTuple):
    """number: counts from 1, those that failed too. Paths are relative to the folder, which itself is "".

    other: the new name. data: what was written, or a link's target. offset: where, in bytes; of RESIZE, the new size.
    """

    number: int
    kind: Kind
    path: str
    other: str
    data: bytes
    offset: int

    def __str__(self) -> str:
        size = {Kind.WRITE: f" {len(self.data)} bytes at {self.offset}", Kind.RESIZE: f" to {self.offset} bytes"}.get(self.kind, "")
        return f"{self.kind.name.lower()} {self.path or '.'}{size}{f' → {self.other}' if self.other else ''}"


def count(log: Path) -> int:
    """How many operations were tried: those that failed too."""
    data = log.read_bytes()[: COUNT.size]
    return int(COUNT.unpack(data)[0]) if data else 0


def read(log: Path) -> Iterator[Operation]:
    """Those that were done, in their order."""
    data = log.read_bytes()
    at = COUNT.size
    while at < len(data):
        number, offset, kind, path_bytes, other_bytes, data_bytes = RECORD.unpack_from(data, at)
        at += RECORD.size
        path, other, written = (data[at : (at := at + size)] for size in (path_bytes, other_bytes, data_bytes))
        yield Operation(number, Kind(kind), path.decode(), other.decode(), written, offset)
