from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.fleet.private import MAX_SECRET_BYTES, read_private, read_secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(0o600)
    return file


def test_a_secret_is_the_one_line_of_its_file(file: Path) -> None:
    file.write_text("correct horse\r\n")
    assert read_secret(file, "--passphrase-file") == "correct horse"
    assert read_private(file) == b"correct horse\r\n"


@pytest.mark.parametrize("data", [b"", b"\n", b"two\nlines\n", b"\x1b[2J", b"x" * (MAX_SECRET_BYTES + 1)])
def test_what_is_not_one_line(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(UsageError, match=r"^--passphrase-file: .*/secret must hold the secret alone, in one line$"):
        read_secret(file, "--passphrase-file")


def test_what_is_not_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not text"):
        read_secret(file, "--passphrase-file")


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o610])
def test_a_file_that_others_can_use(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UsageError, match=f"^others can read {file}; run: chmod 600 {file}$"):
        read_private(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        read_private(tmp_path / "absent")
