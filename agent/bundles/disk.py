"""What a disk refuses, as StorageErrors."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Every OSError in this context becomes a StorageError of `folder`."""
    try:
        yield
    except OSError as error:
        what = error.strerror or type(error).__name__
        if error.errno in FULL:
            raise StorageError(f"{folder}: the disk is full ({what}); make room there", "disk_full") from None
        place = error.filename if isinstance(error.filename, str) else folder
        raise StorageError(f"{place}: the disk refuses: {what}", "disk_error") from None


def check_room(folder: Path, wanted_bytes: int, reserve_bytes: int) -> None:
    """StorageError where `wanted_bytes` more would leave less than the reserve. OSError."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free - wanted_bytes < reserve_bytes:
        raise StorageError(
            f"{folder}: {wanted_bytes} bytes more would leave less than the {reserve_bytes} that are kept free;"
            f" {free} are free, make room there",
            "disk_full",
        )
