"""Runs a program under shim.c, built on first use: watched, killed at an operation on its files, or with one that fails."""

import errno
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.crash.operations import Operation, count, read

SOURCE = Path(__file__).with_name("shim.c")
DEADLINE_S = 120.0
FOR_EVER = 2**63


class Injection(NamedTuple):
    """What happens at the operation number `at`, from 1.

    do: "kill": SIGKILL before it, for the program and those that it started; "tear": the same, where it is a write after half of
    it; or the errno with which it fails. last: the last operation that fails too; a full disk (ENOSPC) that stays full takes half
    of the first write.
    """

    at: int
    do: Literal["kill", "tear"] | int
    last: int = FOR_EVER

    def __str__(self) -> str:
        if isinstance(self.do, str):
            return f"{self.do} at operation {self.at}"
        return f"{errno.errorcode[self.do]} {'from' if self.last == FOR_EVER else 'at'} operation {self.at}"


class Ended(NamedTuple):
    """How a run ended. tried: how many operations there were, those that failed too; done: those that did something."""

    status: int
    stdout: str
    stderr: str
    tried: int
    done: tuple[Operation, ...]

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.status == -signal.SIGKILL


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="shim-")


@cache
def _library() -> str:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = Path(_folder().name) / "shim.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return str(library)


def run(
    command: Sequence[str | Path],
    folder: Path,
    injection: Injection | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    deadline_s: float = DEADLINE_S,
) -> Ended:
    """Run a program to its end; what it does below `folder` is counted. AssertionError where it does not end in time."""
    with tempfile.TemporaryDirectory(prefix="shim-log-") as outside:
        log = Path(outside) / "log"
        log.touch()
        told = {"SHIM_FOLDER": str(folder.resolve()), "SHIM_LOG": str(log), "LD_PRELOAD": _library()}
        if injection:
            told |= {"SHIM_AT": str(injection.at), "SHIM_DO": str(injection.do), "SHIM_LAST": str(injection.last)}
        with subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, **(environment or {}), **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # whoever is killed, it is not us
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=deadline_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{injection or 'run'}: it has not ended after {deadline_s:g} s") from None
        return Ended(process.returncode, stdout, stderr, count(log), tuple(read(log)))
