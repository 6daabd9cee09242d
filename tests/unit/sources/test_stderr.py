import os
import subprocess

import pytest

from agent.sources.stderr import captured_stderr
from tests.processes import open_descriptors


def test_takes_what_native_code_and_children_write(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as said:
        os.write(2, b"one\ntwo\n")
        subprocess.run(["sh", "-c", "echo three >&2"], check=True)
        assert said == []
    assert said == ["one", "two", "three"]
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_gives_the_descriptor_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    descriptors = open_descriptors()
    with pytest.raises(ZeroDivisionError), captured_stderr():
        _ = 1 / 0
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert open_descriptors() == descriptors
