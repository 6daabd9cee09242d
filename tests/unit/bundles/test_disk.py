"""What a disk refuses."""

import errno
import os
from pathlib import Path

import pytest

from agent.bundles.disk import storage_errors
from agent.errors import StorageError


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.ENOSPC, "disk_full", "/var/x: the disk is full (No space left on device); make room there"),
        (errno.EDQUOT, "disk_full", "/var/x: the disk is full (Disk quota exceeded); make room there"),
        (errno.EROFS, "disk_error", "/var/x/y: the disk refuses: Read-only file system"),
        (errno.EIO, "disk_error", "/var/x/y: the disk refuses: Input/output error"),
    ],
)
def test_what_it_says(number: int, code: str, said: str) -> None:
    with pytest.raises(StorageError) as error, storage_errors(Path("/var/x")):
        raise OSError(number, os.strerror(number), "/var/x/y")
    assert (error.value.code, str(error.value)) == (code, said)
