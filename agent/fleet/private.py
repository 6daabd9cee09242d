"""Files that nobody but their owner may read: keys, passphrases, passwords."""

import os
import stat
from pathlib import Path

from agent.errors import UsageError

MAX_SECRET_BYTES = 4096


def read_private(path: Path, what: str = "") -> bytes:
    """The whole file. UsageError, which begins with `what`, where others may read it, or it cannot be read."""
    begin = f"{what}: " if what else ""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"{begin}others can read {path}; run: chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise UsageError(f"{begin}{path}: {error.strerror}") from None


def read_secret(path: Path, option: str) -> str:
    """The one line of a file that an option names. UsageError as `read_private`, and where there is not one line of text."""
    data = read_private(path, option)
    try:
        secret = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"{option}: {path}: not text") from None
    if not secret.isprintable() or not 0 < len(data) <= MAX_SECRET_BYTES or not secret:
        raise UsageError(f"{option}: {path} must hold the secret alone, in one line")
    return secret
