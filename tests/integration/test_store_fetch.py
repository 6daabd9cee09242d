"""What the store fetches from a server that misbehaves, and what becomes of it when the process is killed or the power fails."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from agent.bundles.http import FetchLimits
from agent.bundles.store import Blob, Store
from agent.errors import AgentError, BundleError, DownloadError, StorageError
from tests.disks import remount, small_disk
from tests.https_server import Site, serving
from tests.waiting import wait_until

CHUNK = 64 * 1024
BODY = random.Random(2).randbytes(20 * CHUNK)
BLOB = Blob(sha256=hashlib.sha256(BODY).hexdigest(), length=len(BODY))
QUICK = FetchLimits(timeout_s=10)

FETCH = """
import sys
from pathlib import Path
from agent.bundles.store import Blob, Store
folder, url, sha256, length = sys.argv[1:]
Store(Path(folder), 0).fetch(Blob(sha256=sha256, length=int(length)), url, lambda done: print(done, flush=True))
"""


class Fetching:
    """A store, the server that it asks, and where on the disk things are."""

    def __init__(self, folder: Path, site: Site, root: str) -> None:
        self.folder = folder
        self.site = site
        self.url = f"{root}/blob"
        self.store = Store(folder, 0)
        self.path = folder / "blobs" / "sha256" / BLOB.sha256
        self.part = folder / "partial" / f"{BLOB.sha256}.part"

    def fetch(self, limits: FetchLimits = QUICK) -> list[int]:
        """Everything; the progress that was told."""
        told: list[int] = []
        self.store.fetch(BLOB, self.url, told.append, limits)
        assert self.path.read_bytes() == BODY
        assert list(self.part.parent.iterdir()) == []
        return told

    def failure(self, kind: type[AgentError], limits: FetchLimits = QUICK) -> AgentError:
        """What is raised; nothing then has the blob's name."""
        with pytest.raises(kind) as error:
            self.store.fetch(BLOB, self.url, lambda _done: None, limits)
        assert "\n" not in str(error.value)
        assert not self.path.exists()
        return error.value

    def begun(self, length: int) -> None:
        """As an earlier try, broken off after so many bytes."""
        self.site.cut_after = length
        self.failure(DownloadError)
        assert self.part.read_bytes() == BODY[:length]
        self.site.cut_after, self.site.sent = None, 0
        self.site.requests.clear()


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Fetching]:
    site = Site(files={"/blob": BODY}, etag='"one"')
    with serving(site, None) as root:
        yield Fetching(tmp_path / "state", site, root)


def test_a_blob(fetching: Fetching) -> None:
    told = fetching.fetch()
    assert told == sorted(told)
    assert told[-1] == len(BODY)
    fetching.fetch()
    assert fetching.site.requests == [("/blob", None)]


def test_what_broke_off_at_90_percent_fetches_the_rest(fetching: Fetching) -> None:
    rest = len(BODY) // 10
    fetching.begun(len(BODY) - rest)
    fetching.fetch()
    assert rest <= fetching.site.sent <= rest + CHUNK


def test_a_connection_that_breaks_every_64_kb(fetching: Fetching) -> None:
    fetching.site.cut_after = CHUNK
    for at in range(CHUNK, len(BODY), CHUNK):
        assert f"{at} of {len(BODY)} bytes are here" in str(fetching.failure(DownloadError))
    fetching.fetch()
    assert fetching.site.sent == len(BODY)
    assert len(fetching.site.requests) == len(BODY) // CHUNK


@pytest.mark.parametrize("if_range", [True, False])
def test_a_changed_etag_begins_anew(fetching: Fetching, if_range: bool) -> None:
    fetching.begun(5 * CHUNK)
    fetching.part.write_bytes(b"x" * 5 * CHUNK)
    fetching.site.etag, fetching.site.if_range = '"two"', if_range
    fetching.fetch()
    assert fetching.site.requests == [("/blob", f"bytes={5 * CHUNK}-"), *([] if if_range else [("/blob", None)])]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_it_goes_on_all_the_same(fetching: Fetching, etag: str | None) -> None:
    fetching.site.etag = etag
    fetching.begun(5 * CHUNK)
    fetching.fetch()
    assert fetching.site.sent == len(BODY) - 5 * CHUNK


def test_200_instead_of_206_begins_anew_without_losing_the_try(fetching: Fetching) -> None:
    fetching.begun(5 * CHUNK)
    fetching.site.ranges = False
    fetching.fetch()
    assert fetching.site.sent == len(BODY)
    assert len(fetching.site.requests) == 1


def test_a_wrong_content_range(fetching: Fetching) -> None:
    fetching.begun(5 * CHUNK)
    fetching.site.wrong_range = True
    assert "another part than was asked for" in str(fetching.failure(DownloadError))
    fetching.site.wrong_range = False
    fetching.fetch()


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE])
def test_what_the_server_refuses(fetching: Fetching, status: HTTPStatus) -> None:
    fetching.begun(5 * CHUNK)
    fetching.site.status = status
    assert f"the server answers {status.value}" in str(fetching.failure(DownloadError))
    fetching.site.status = None
    fetching.fetch()
    assert fetching.site.sent == len(BODY) - 5 * CHUNK


def test_a_truncated_body(fetching: Fetching) -> None:
    fetching.site.cut_after, fetching.site.lengths = len(BODY) - 1, False
    assert "the connection ended too early" in str(fetching.failure(DownloadError))
    fetching.site.cut_after = None
    fetching.fetch()


def test_endless_data(fetching: Fetching) -> None:
    fetching.site.files["/blob"], fetching.site.endless, fetching.site.lengths = b"x", b"x" * CHUNK, False
    assert "it has more than" in str(fetching.failure(BundleError))
    assert fetching.part.stat().st_size <= len(BODY)


def test_other_content(fetching: Fetching) -> None:
    fetching.site.files["/blob"] = BODY[::-1]
    assert "it is not the file that was expected: its sha256 is" in str(fetching.failure(BundleError))
    assert list(fetching.part.parent.iterdir()) == []


@pytest.mark.parametrize("slow_head", [False, True])
def test_a_byte_at_a_time(fetching: Fetching, slow_head: bool) -> None:
    fetching.site.piece_bytes, fetching.site.piece_s, fetching.site.slow_head = 1, 0.01, slow_head
    error = fetching.failure(DownloadError, QUICK._replace(window_s=0.5))
    assert isinstance(error, DownloadError)
    assert (error.code, "are too slow" in str(error)) == ("too_slow", True)
    error = fetching.failure(DownloadError, QUICK._replace(min_bytes_per_s=0, total_s=0.5))
    assert isinstance(error, DownloadError)
    assert (error.code, "not all of it came in 0.5 s" in str(error)) == ("too_slow", True)


def test_what_a_slow_server_sent_is_kept(fetching: Fetching) -> None:
    fetching.site.stall_after = 5 * CHUNK
    fetching.failure(DownloadError, QUICK._replace(window_s=0.5))
    fetching.site.stall_after = None
    before = fetching.site.sent
    fetching.fetch()
    assert fetching.site.sent - before == len(BODY) - 5 * CHUNK


def test_giving_up_while_nothing_comes(fetching: Fetching) -> None:
    fetching.site.stall_after = 5 * CHUNK
    unwanted = threading.Event()

    def told(done: int) -> None:
        if done == 5 * CHUNK:
            unwanted.set()

    with pytest.raises(DownloadError, match="given up, it is no longer wanted"):
        fetching.store.fetch(BLOB, fetching.url, told, QUICK._replace(timeout_s=600), unwanted.is_set)
    assert fetching.part.stat().st_size == 5 * CHUNK


def test_redirections(fetching: Fetching) -> None:
    fetching.site.redirects = {"/moved": "/blob", "/ring": "/ring", "/ftp": "ftp://localhost/blob", "/file": "file:///etc/hosts"}
    root = fetching.url.removesuffix("/blob")
    for path in ("/ring", "/ftp", "/file"):
        fetching.url = f"{root}{path}"
        fetching.failure(DownloadError)
    fetching.url = f"{root}/moved"
    fetching.fetch()
    fetching.url = "file:///etc/hosts"
    with pytest.raises(DownloadError, match="only https:// and http:// is followed"):
        fetching.store.fetch_bytes(fetching.url, 1, BLOB.sha256)


@pytest.mark.parametrize("damage", [b"", b"\0" * CHUNK, b"x"])
def test_a_tail_that_a_power_cut_lost(fetching: Fetching, damage: bytes) -> None:
    fetching.begun(10 * CHUNK)
    fetching.part.write_bytes(BODY[: 9 * CHUNK] + damage)
    fetching.fetch()
    rest = len(BODY) - 9 * CHUNK - len(damage)
    assert fetching.site.sent == rest + (len(BODY) if damage else 0)


@pytest.mark.parametrize("damage", [b"", b"\0" * 5, b'"\xff"', b"\r\nX: y"])
def test_an_etag_that_a_power_cut_lost(fetching: Fetching, damage: bytes) -> None:
    fetching.begun(10 * CHUNK)
    fetching.part.with_name(f"{fetching.part.name}.etag").write_bytes(damage)
    fetching.fetch()
    assert fetching.site.sent == len(BODY) - 10 * CHUNK


def test_a_damaged_blob_is_fetched_anew(fetching: Fetching) -> None:
    fetching.fetch()
    fetching.path.write_bytes(BODY[:-1] + b"x")
    fetching.fetch()


def test_a_process_that_is_killed_again_and_again(fetching: Fetching) -> None:
    fetching.site.piece_s = 0.01
    kills, held = 5, 0
    for _ in range(kills):
        args = [sys.executable, "-c", FETCH, str(fetching.folder), fetching.url, BLOB.sha256, str(BLOB.length)]
        with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= held + 2 * CHUNK:
                    process.send_signal(signal.SIGKILL)
                    break
        assert not fetching.path.exists()
        found = fetching.part.read_bytes()
        assert found == BODY[: len(found)]
        assert len(found) >= held
        held = len(found)
    fetching.site.piece_s = 0
    fetching.fetch()
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for _, wanted in fetching.site.requests if wanted]
    assert len(starts) == kills
    assert starts == sorted(starts)
    assert starts[-1] == held


def test_two_slots_that_want_the_same(fetching: Fetching) -> None:
    fetching.site.piece_s = 0.005
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            fetching.store.fetch(BLOB, fetching.url, lambda _done: None)
        except AgentError as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: fetching.site.sent > 0, "the first byte")
    fetching.store.collect(())
    for thread in threads:
        thread.join()
    assert failures == []
    assert fetching.path.read_bytes() == BODY
    assert len(fetching.site.requests) == 1


def test_a_disk_that_fills_on_the_way(fetching: Fetching) -> None:
    """RLIMIT_FSIZE stands for it: the system refuses to write on."""
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({3 * CHUNK}, {3 * CHUNK}))
from agent.errors import StorageError
try:
    exec(sys.argv.pop(1))
except StorageError as error:
    print(error.code, error)
"""
    args = [sys.executable, "-c", code, FETCH, str(fetching.folder), fetching.url, BLOB.sha256, str(BLOB.length)]
    ended = subprocess.run(args, stdout=subprocess.PIPE, text=True, check=True)
    assert ended.stdout.splitlines()[-1].startswith(
        f"disk_full {fetching.folder}: the disk is full (File too large); make room there"
    )
    assert fetching.part.read_bytes() == BODY[: 3 * CHUNK]
    assert not fetching.path.exists()
    fetching.fetch()
    assert fetching.site.requests[-1] == ("/blob", f"bytes={3 * CHUNK}-")


def test_another_that_takes_the_room_on_the_way(fetching: Fetching, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2048) as disk:
        reserve = 256 * 1024
        store = Store(disk, reserve)
        taken = disk / "taken"

        def told(done: int) -> None:
            if done >= 3 * CHUNK and not taken.exists():
                taken.write_bytes(b"x" * (600 * 1024))

        with pytest.raises(
            StorageError, match=r"disk: \d+ bytes more would leave less than the 262144 that are kept free"
        ) as error:
            store.fetch(BLOB, fetching.url, told)
        assert error.value.code == "disk_full"
        free = os.statvfs(disk)
        assert free.f_bavail * free.f_frsize >= reserve
        taken.unlink()
        held = (disk / "partial" / fetching.part.name).stat().st_size
        store.fetch(BLOB, fetching.url, lambda _done: None)
        assert fetching.site.requests[1:] == [("/blob", f"bytes={held}-")]


def test_a_disk_that_becomes_read_only(fetching: Fetching, tmp_path: Path) -> None:
    fetching.site.cut_after = 3 * CHUNK
    with small_disk(tmp_path / "disk", 2048) as disk:
        store = Store(disk, 0)
        with pytest.raises(DownloadError):
            store.fetch(BLOB, fetching.url, lambda _done: None)
        remount(disk, read_only=True)
        with pytest.raises(StorageError, match="the disk refuses: Read-only file system") as error:
            store.fetch(BLOB, fetching.url, lambda _done: None)
        assert error.value.code == "disk_error"
        remount(disk, read_only=False)
        fetching.site.cut_after = None
        store.fetch(BLOB, fetching.url, lambda _done: None)
        assert fetching.site.requests[1:] == [("/blob", f"bytes={3 * CHUNK}-")]


def test_no_room_beside_the_reserve(fetching: Fetching) -> None:
    store = Store(fetching.folder, 1 << 60)
    with pytest.raises(StorageError, match="bytes more would leave less than") as error:
        store.fetch(BLOB, fetching.url, lambda _done: None)
    assert error.value.code == "disk_full"
    assert fetching.site.requests == []


def test_a_manifest_in_memory(fetching: Fetching) -> None:
    manifest = b'{"name":"people"}'
    root = fetching.url.removesuffix("/blob")
    fetching.site.files["/manifest"] = manifest
    sha256 = hashlib.sha256(manifest).hexdigest()
    assert fetching.store.fetch_bytes(f"{root}/manifest", len(manifest), sha256) == manifest
    with pytest.raises(BundleError, match="its sha256 is"):
        fetching.store.fetch_bytes(f"{root}/manifest", len(manifest), "0" * 64)
    with pytest.raises(BundleError, match="more than the 2097152 of any manifest"):
        fetching.store.fetch_bytes(f"{root}/manifest", 1 << 30, sha256)
    with pytest.raises(BundleError, match="it has 17 bytes, not 16"):
        fetching.store.fetch_bytes(f"{root}/manifest", len(manifest) - 1, sha256)
    assert not fetching.folder.exists()
