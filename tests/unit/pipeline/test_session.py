from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.pipeline.session import next_session


def test_counts_starts(tmp_path: Path) -> None:
    first, second = next_session(tmp_path / "state"), next_session(tmp_path / "state")
    assert first.split("-")[0] == "1"
    assert second.split("-")[0] == "2"
    assert first != second


@pytest.mark.parametrize("content", ["", "garbage", "\xff\xfe", "-3"])
def test_a_damaged_file_starts_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "session").write_text(content)
    assert next_session(tmp_path).startswith("1-")


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"state_dir: .*file/state: Not a directory: name a folder"):
        next_session(tmp_path / "file" / "state")
