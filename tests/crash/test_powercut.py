"""What the model of a disk says may be there after a power cut."""

import pytest

from tests.crash.operations import Kind, Operation
from tests.crash.powercut import Tree, power_cuts

CREATE = (Kind.CREATE, "a.part")
WRITE = (Kind.WRITE, "a.part", "", b"1234")
SYNC = (Kind.SYNC, "a.part")
RENAME = (Kind.RENAME, "a.part", "a")
SYNC_FOLDER = (Kind.SYNC_FOLDER, "")


def left(before: Tree, *operations: tuple[Kind, str] | tuple[Kind, str, str] | tuple[Kind, str, str, bytes]) -> list[Tree]:
    """The states after the last operation, those that were possible before it included."""
    rows = ((*operation, "", b"")[: max(4, len(operation))] for operation in operations)
    done = [Operation(number, kind, path, other, data, 0) for number, (kind, path, other, data) in enumerate(rows, 1)]
    return [cut.tree for cut in power_cuts(before, done)]


def test_what_was_synced_in_every_way_is_there() -> None:
    states = left({"a": b"old"}, CREATE, WRITE, SYNC, RENAME, SYNC_FOLDER)
    assert {state["a"] for state in states} == {b"old", b"1234"}
    assert all("a" in state for state in states)


def test_a_rename_may_reach_the_disk_before_the_data() -> None:
    states = left({"a": b"old"}, CREATE, WRITE, RENAME, SYNC_FOLDER)
    assert {state["a"] for state in states} == {b"old", b"1234", b"", b"\0\0\0\0", b"12"}


def test_a_removal_may_reach_the_disk_before_a_rename_in_another_folder() -> None:
    before: Tree = {"a": b"old", "files": None, "files/old": b"", "a.part": b"new"}
    states = left(before, RENAME, (Kind.UNLINK, "files/old"))
    assert {"a": b"old", "files": None, "a.part": b"new"} in states


def test_a_rename_is_on_disk_with_the_folder_of_its_new_name() -> None:
    before: Tree = {"x": None, "x/f": b"1", "y": None}
    moved: Tree = {"x": None, "y": None, "y/f": b"1"}
    rename = (Kind.RENAME, "x/f", "y/f")
    removal = (Kind.UNLINK, "y/f")
    assert before in left(before, rename, (Kind.SYNC_FOLDER, "x"), (Kind.CREATE, "x/g"), (Kind.SYNC_FOLDER, "x"))
    states = left(before, rename, (Kind.SYNC_FOLDER, "y"), removal, (Kind.SYNC_FOLDER, "y"))
    assert states == [before, moved, {"x": None, "y": None}]


def test_a_name_that_moved_on_does_not_come_back() -> None:
    before: Tree = {"x": None, "y": None}
    states = left(before, (Kind.CREATE, "x/f"), (Kind.RENAME, "x/f", "y/f"), (Kind.SYNC_FOLDER, "y"), (Kind.MKDIR, "z"))
    assert not [state for state in states if "x/f" in state and "y/f" in state]


def test_a_file_from_elsewhere_is_not_judged() -> None:
    with pytest.raises(AssertionError, match="from outside"):
        left({}, (Kind.RENAME, "", "a"))
