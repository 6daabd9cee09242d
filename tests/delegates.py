"""The external LiteRT delegate of tests/delegate.c, built on first use."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("delegate.c")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="delegate-")


@cache
def delegate_library() -> str:
    """The path of the built library; the test is skipped where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = Path(_folder().name) / "libtest_delegate.so"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    return str(library)
