"""Bundles that are moved or copied into a watched folder, on a real file system."""

import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.errors import ConfigError, StorageError
from agent.update.sideload import Sideload
from tests.models import Found, write_onnx, yolo
from tests.waiting import DEADLINE_S, wait_until

QUIET_S = 0.2


def write_bundle(folder: Path, version: str = "1.0.0") -> Path:
    folder.mkdir(parents=True)
    write_onnx(folder / "m.onnx", [yolo([Found((8, 8, 40, 40))], normalized=False)])
    (folder / "labels.txt").write_text("person\ncar\n")
    (folder / "bundle.yaml").write_text(f'name: people\nversion: "{version}"\nmodel: m.onnx\nlabels: labels.txt\n')
    return folder


class Taken:
    """An `on_bundle` that keeps what it gets."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Path] = queue.Queue()

    def __call__(self, path: Path) -> None:
        self._queue.put(path)

    def next(self) -> str:
        return self._queue.get(timeout=DEADLINE_S).name

    @property
    def empty(self) -> bool:
        return self._queue.empty()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state/sideload"


@pytest.fixture
def watch(folder: Path) -> Iterator[Callable[[Callable[[Path], None]], Sideload]]:
    with ExitStack() as stack:

        def make(on_bundle: Callable[[Path], None]) -> Sideload:
            sideload = Sideload(folder, on_bundle, QUIET_S)
            stack.callback(sideload.stop)
            sideload.start()
            return sideload

        yield make


Watch = Callable[[Callable[[Path], None]], Sideload]


def test_moved_in_as_a_whole(watch: Watch, folder: Path, tmp_path: Path) -> None:
    taken = Taken()
    watch(taken)
    write_bundle(tmp_path / "people").rename(folder / "people")
    assert taken.next() == "people"


def test_copied_file_by_file(watch: Watch, folder: Path, tmp_path: Path) -> None:
    taken = Taken()
    watch(taken)
    shutil.copytree(write_bundle(tmp_path / "people"), folder / "people")
    assert taken.next() == "people"
    wait_until(lambda: not (folder / "people").exists(), "what is taken is removed")
    shutil.copytree(tmp_path / "people", folder / "people")
    assert taken.next() == "people"


def test_not_before_its_last_file(watch: Watch, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken = Taken()
    watch(taken)
    whole = write_bundle(tmp_path / "people")
    (folder / "people").mkdir()
    shutil.copy(whole / "bundle.yaml", folder / "people")
    wait_until(lambda: len(caplog.records) == 1, "what is missing is told")
    assert caplog.records[0].getMessage() == f"sideload: {folder}/people/bundle.yaml: there is no m.onnx beside it"
    assert taken.empty
    shutil.copy(whole / "m.onnx", folder / "people")
    wait_until(lambda: len(caplog.records) == 2, "what is missing then")
    assert taken.empty
    shutil.copy(whole / "labels.txt", folder / "people")
    assert taken.next() == "people"
    assert len(caplog.records) == 2


def test_what_is_there_at_the_start(watch: Watch, folder: Path) -> None:
    write_bundle(folder / "people")
    write_bundle(folder / ".being-written")
    taken = Taken()
    watch(taken)
    assert taken.next() == "people"
    write_bundle(folder / "newer", "1.1.0")
    assert taken.next() == "newer"
    assert taken.empty


def test_looking_is_no_change(watch: Watch, folder: Path) -> None:
    """Else each look at what is not taken would be followed by another, for ever."""
    looks: queue.Queue[str] = queue.Queue()

    def refuse(path: Path) -> None:
        looks.put(path.name)
        raise StorageError("the disk is full", "disk_full")

    write_bundle(folder / "people")
    watch(refuse)
    assert looks.get(timeout=DEADLINE_S) == "people"
    (folder / "people/bundle.yaml").read_text()
    write_bundle(folder / "other")
    assert looks.get(timeout=DEADLINE_S) == "other"  # which is later than anything that reading had caused
    assert looks.empty()


def test_what_is_wrong_is_told_once(watch: Watch, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("x")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to(write_bundle(tmp_path / "elsewhere"))
    taken = Taken()
    watch(taken)
    wait_until(lambda: len(caplog.records) == 3, "all three")
    assert {record.getMessage() for record in caplog.records} == {
        f"sideload: {folder}/model.onnx: a bundle is a folder, with a bundle.yaml in it",
        f"sideload: {folder}/link: a bundle is a folder, with a bundle.yaml in it",
        f"sideload: {folder}/empty: there is no bundle.yaml in it; edge-agent model init MODEL-FILE writes one",
    }
    (folder / "model.onnx").write_text("y")
    write_bundle(folder / "people")
    assert taken.next() == "people"
    assert len(caplog.records) == 3


def test_a_store_that_is_full_is_told_and_tried_again(watch: Watch, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken = Taken()
    room = threading.Event()

    def on_bundle(path: Path) -> None:
        if not room.is_set():
            raise StorageError("the disk is full", "disk_full")
        taken(path)

    write_bundle(folder / "people")
    watch(on_bundle)
    wait_until(lambda: len(caplog.records) == 1, "it is told")
    room.set()
    (folder / "people/README").write_text("again")
    assert taken.next() == "people"


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^updates\.sideload: .*/file cannot be watched: File exists"):
        Sideload(tmp_path / "file", Taken()).start()


def test_the_folder_is_removed(watch: Watch, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch(Taken())
    folder.rmdir()
    wait_until(lambda: len(caplog.records) == 1, "it is told")
    assert caplog.records[0].getMessage() == f"sideload: {folder} is gone; it is watched again when the agent is started"


def test_watchdog_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, agent.update.sideload; print('watchdog' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
