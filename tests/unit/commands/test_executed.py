"""Ids of executed commands outlive the agent, and no more of them than needed."""

from pathlib import Path

import pytest

from agent.commands.executed import KEPT, ExecutedIds


def test_they_outlive_the_agent(tmp_path: Path) -> None:
    ids = ExecutedIds(tmp_path)
    assert "a" not in ids
    ids.add("a")
    ids.add("b")
    again = ExecutedIds(tmp_path)
    assert "a" in again
    assert "b" in again
    assert "c" not in again


def test_the_newest_are_kept(tmp_path: Path) -> None:
    ids = ExecutedIds(tmp_path)
    for number in range(KEPT + 10):
        ids.add(f"c{number}")
    for one in (ids, ExecutedIds(tmp_path)):
        assert [number for number in range(KEPT + 10) if f"c{number}" not in one] == list(range(10))
    assert [path.name for path in tmp_path.iterdir()] == ["commands"]


@pytest.mark.parametrize(
    "content", [b"", b'{"v":1,"ids":["a"', b'{"v":2,"ids":["a"]}', b'{"v":1,"ids":[7]}', b"\xff\xfe", b"[" * 10000]
)
def test_a_torn_file_is_set_aside(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "commands").write_bytes(content)
    ids = ExecutedIds(tmp_path)
    assert "a" not in ids
    assert (tmp_path / "commands.bad").read_bytes() == content
    assert len(caplog.records) == 1
    ids.add("a")
    assert "a" in ExecutedIds(tmp_path)
    assert len(caplog.records) == 1
