"""The two files of a slot."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import StorageError
from agent.update.journal import Active, Journal, Ref, SlotFiles

REF = Ref(name="parts", version="1.0.0", digest="a" * 64, origin="store")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    files = SlotFiles(tmp_path / "models/main")
    files.write(Active(factory="parts@1.0.0", current=REF))
    files.write(Journal(phase="downloading", rev_seen=3))
    again = SlotFiles(tmp_path / "models/main")
    assert again.active() == Active(factory="parts@1.0.0", current=REF)
    assert again.journal() == Journal(phase="downloading", rev_seen=3)


def test_nothing_is_known_of_a_new_slot(tmp_path: Path) -> None:
    files = SlotFiles(tmp_path / "models/main")
    assert files.active() is None
    assert files.journal() == Journal()


@settings(deadline=None, max_examples=50)  # it syncs files
@given(st.binary(max_size=200).filter(lambda torn: torn.strip() != b"{}"))
def test_a_torn_file_is_set_aside_and_the_other_still_holds(tmp_path_factory: pytest.TempPathFactory, torn: bytes) -> None:
    folder = tmp_path_factory.mktemp("slot")
    files = SlotFiles(folder)
    files.write(Active(factory="parts@1.0.0", current=REF))
    (folder / "journal.json").write_bytes(torn)
    assert files.journal() == Journal()
    assert (folder / "journal.unreadable").read_bytes() == torn
    assert files.active() == Active(factory="parts@1.0.0", current=REF)


def test_a_record_of_a_later_version_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "active.json").write_bytes(b'{"v":2,"factory":"parts@1.0.0"}')
    assert SlotFiles(tmp_path).active() is None


def test_a_disk_that_takes_nothing_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(StorageError, match=r"models.*: the disk refuses: Not a directory") as caught:
        SlotFiles(tmp_path / "models/main").write(Journal())
    assert caught.value.code == "disk_error"
