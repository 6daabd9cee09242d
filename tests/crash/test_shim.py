"""The shim sees what Python can do to files, and fails what it is told to."""

import errno
import sys
from pathlib import Path

import pytest

from tests.crash.injection import Injection, run
from tests.crash.operations import Kind
from tests.crash.powercut import power_cuts, read_tree

EVERYTHING = """
import os, shutil, sys, tempfile
from pathlib import Path
folder = Path(sys.argv[1])
os.chdir(folder)
Path("a").write_bytes(b"0123456789")
with open("a", "ab") as file:
    file.write(b"more")
with open("a", "r+b") as file:
    file.seek(2)
    file.write(b"XY")
    file.truncate(12)
    os.posix_fallocate(file.fileno(), 0, 14)
    os.pwrite(file.fileno(), b"Z", 13)
    os.writev(file.fileno(), [b"", b"4"])
    os.fdatasync(file.fileno())
Path("d/e").mkdir(parents=True)
shutil.copyfile("a", "d/e/b")
os.link("a", "d/linked")
os.symlink("../a", "d/pointer")
Path("d/pointer").open("r+b").write(b"through")
descriptor = os.open("d", os.O_RDONLY)
os.rename("a", "c", src_dir_fd=None, dst_dir_fd=descriptor)
os.fsync(descriptor)
os.close(descriptor)
os.truncate("d/linked", 3)
Path("d/c").write_bytes(b"shorter")
with tempfile.NamedTemporaryFile(dir=".", delete=False) as file:
    file.write(b"temporary")
os.replace(file.name, "t")
Path("gone").mkdir()
Path("gone/file").write_text("gone")
shutil.rmtree("gone")
Path("d/linked").unlink()
with open("/dev/null", "wb") as elsewhere:
    elsewhere.write(b"not counted")
if os.fork() == 0:
    Path("child").write_text("of a process of its own")
    os._exit(0)
os.wait()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def python(text: str, folder: Path) -> list[str | Path]:
    return [sys.executable, "-S", "-c", text, folder]


def test_what_is_logged_makes_the_same_folder(folder: Path) -> None:
    ended = run(python(EVERYTHING, folder), folder)
    assert ended.status == 0, ended.stderr
    assert {operation.kind for operation in ended.done} == set(Kind)
    assert ended.tried == len(ended.done)
    *_, last = (cut for cut in power_cuts({}, ended.done) if cut.left == "all names, all data")
    assert last.tree == read_tree(folder)


def test_a_folder_reached_through_a_link_is_the_same_one(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    ended = run(python("import sys, pathlib; (pathlib.Path(sys.argv[1]) / 'file').write_text('x')", link), link)
    assert [str(operation) for operation in ended.done] == ["create file", "write file 1 bytes at 0"]


@pytest.mark.parametrize(
    ("injection", "said", "left"),
    [
        (Injection(1, errno.ENOSPC), "No space left on device", None),
        (Injection(2, errno.ENOSPC), "No space left on device", "01234"),
        (Injection(2, errno.EIO, last=2), "Input/output error", "0123456789"),
        (Injection(3, errno.EIO), "Input/output error", "0123456789"),
        (Injection(2, errno.EROFS), "Read-only file system", ""),
    ],
)
def test_a_fault(folder: Path, injection: Injection, said: str, left: str | None) -> None:
    text = """
import os, sys
try:
    with open(sys.argv[1] + "/file", "w") as file:  # its end tries once more to write
        file.write("0123456789")
        file.flush()
        os.fsync(file.fileno())
except OSError as error:
    sys.exit(error.strerror)
"""
    ended = run(python(text, folder), folder, injection)
    assert (ended.status, ended.stderr) == (1, f"{said}\n")
    assert {path.name: path.read_text() for path in folder.iterdir()} == ({} if left is None else {"file": left})


def test_all_processes_of_a_program_are_killed(folder: Path) -> None:
    text = """
import os, sys
if os.fork() == 0:
    os.setsid()
    open(sys.argv[1] + "/file", "w").close()
os.wait()
"""
    ended = run(python(text, folder), folder, Injection(1, "kill"), deadline_s=20)
    assert ended.killed
    assert not list(folder.iterdir())
