"""The store of bundles, on a disk that is full, read-only or damaged."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from agent.bundles.digest import canonical, digest
from agent.bundles.load import Bundle, open_bundle, open_variants
from agent.bundles.store import Blob, Origin, Store
from agent.errors import BundleError, StorageError, UsageError
from agent.runtimes import RuntimeOptions
from agent.runtimes.onnx import OnnxRuntime
from tests.bundle_folders import Publication, publish, with_numbers, write_bundle
from tests.disks import remount, small_disk


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "people")


def put(store: Store, state: Path, publication: Publication, origin: Origin = "repository") -> None:
    """A bundle as it is after its download."""
    for blob in store.add_manifest(publication.manifest, publication.digest, origin):
        (state / "blobs" / "sha256" / blob.sha256).write_bytes(publication.blobs[blob.sha256])


def refusal(error: pytest.ExceptionInfo[StorageError]) -> str:
    assert "\n" not in str(error.value)
    return error.value.code


def test_a_directory_becomes_a_stored_bundle(store: Store, folder: Path, tmp_path: Path) -> None:
    stored = store.import_directory(folder, "factory")
    assert store.bundles() == (stored,)
    assert (stored.name, stored.version, stored.origin, stored.complete) == ("people", "1.0.0", "factory", True)
    (bundle,) = store.open(stored.digest)
    plain = open_bundle(folder)
    assert (bundle.digest, bundle.labels, bundle.manifest) == (plain.digest, plain.labels, plain.manifest)
    assert bundle.digest == stored.digest
    assert bundle.model.name == "m.onnx"
    assert bundle.model.read_bytes() == plain.model.read_bytes()
    assert Store(tmp_path / "state", 0).bundles() == (stored,)
    shutil.rmtree(folder)
    store.verify(stored.digest)


def test_name_and_version_on_the_command_line(store: Store, folder: Path) -> None:
    store.import_directory(folder, "factory")
    (bundle,) = open_variants("people@1.0.0", store=store)
    assert isinstance(bundle, Bundle)
    assert str(bundle.place) == "people@1.0.0"
    with pytest.raises(BundleError, match=r"people@1\.1\.0: it is not in the store of this device; of people it has 1\.0\.0; give"):
        open_variants("people@1.1.0", store=store)
    with pytest.raises(UsageError, match=r"people@1\.0\.0: a label list goes with a bare model file"):
        open_variants("people@1.0.0", "labels.txt", store)


def test_what_is_missing(store: Store, folder: Path, tmp_path: Path) -> None:
    publication = publish(folder)
    missing = store.add_manifest(publication.manifest, publication.digest, "repository")
    assert {blob.sha256: blob.length for blob in missing} == {sha256: len(data) for sha256, data in publication.blobs.items()}
    assert store.missing(publication.digest) == missing
    assert [bundle.complete for bundle in store.bundles()] == [False]
    with pytest.raises(BundleError, match=r"people@1\.0\.0: m\.onnx is not here yet; install it again"):
        store.open(publication.digest)
    put(store, tmp_path / "state", publication)
    assert store.missing(publication.digest) == ()
    store.open(publication.digest)
    with pytest.raises(BundleError, match="it has no bundle with the digest 0000"):
        store.missing("0" * 64)


def test_an_empty_file_is_missing_until_it_is_there(store: Store, folder: Path) -> None:
    publication = publish(folder)
    empty = Blob(sha256=digest(b""), length=0)
    files = {name: {"length": 0, "sha256": empty.sha256} for name in ("m.onnx", "labels.txt")}
    assert store.add_manifest(*publication.changed(files=files), "repository") == (empty,)


def test_bundles_share_what_is_equal(store: Store, folder: Path, tmp_path: Path) -> None:
    one = store.import_directory(folder, "factory")
    publication = publish(write_bundle(tmp_path / "later", version="1.1.0", labels="a\nb\n"))
    (missing,) = store.add_manifest(publication.manifest, publication.digest, "repository")
    assert publication.blobs[missing.sha256] == b"a\nb\n"
    put(store, tmp_path / "state", publication)
    freed = store.collect({publication.digest})
    assert freed > len("person\ncar\n")
    store.verify(publication.digest)
    assert [bundle.digest for bundle in store.bundles()] == [publication.digest]
    with pytest.raises(BundleError):
        store.open(one.digest)


def test_what_is_proven_comes_first_and_is_remembered(store: Store, folder: Path, tmp_path: Path) -> None:
    store.import_directory(folder, "sideload")
    other = publish(write_bundle(tmp_path / "other", labels="a\nb\n"))
    put(store, tmp_path / "state", other)
    found = store.find("people", "1.0.0")
    assert found is not None
    assert (found.digest, found.origin) == (other.digest, "repository")
    store.import_directory(folder, "repository")
    assert {bundle.origin for bundle in Store(tmp_path / "state", 0).bundles()} == {"repository"}


def test_a_view_is_made_anew(store: Store, folder: Path, tmp_path: Path) -> None:
    stored = store.import_directory(folder, "factory")
    view = tmp_path / "state" / "views" / stored.digest
    (view / "m.onnx").unlink()
    (view / "labels.txt").unlink()
    (view / "labels.txt").symlink_to("/etc/passwd")
    (bundle,) = store.open(stored.digest)
    assert bundle.labels == ("person", "car")
    shutil.rmtree(view)
    assert store.open(stored.digest) == (bundle,)


def test_damage_is_found_and_removed(store: Store, folder: Path, tmp_path: Path) -> None:
    stored = store.import_directory(folder, "factory")
    blob = (tmp_path / "state" / "views" / stored.digest / "labels.txt").resolve()
    blob.write_bytes(b"person\nbus\n")
    looking = Store(tmp_path / "state", 0, read_only=True)
    for reader in (looking, store):
        with pytest.raises(BundleError, match=r"people@1\.0\.0: labels\.txt is damaged on this disk; install it again"):
            reader.open(stored.digest)
    assert [blob.sha256 for blob in store.missing(stored.digest)] == [blob.name]
    store.import_directory(folder, "factory")
    store.verify(stored.digest)


def test_a_damaged_manifest_loses_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    stored = store.import_directory(folder, "factory")
    blobs = sorted((tmp_path / "state" / "blobs" / "sha256").iterdir())
    (tmp_path / "state" / "manifests" / f"{stored.digest}.factory.json").write_bytes(b"\0" * 100)
    assert store.bundles() == ()
    store.collect({stored.digest})
    assert sorted((tmp_path / "state" / "blobs" / "sha256").iterdir()) == blobs
    store.import_directory(folder, "factory")
    assert store.bundles() == (stored,)


def test_collecting(store: Store, folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    stored = store.import_directory(folder, "factory")
    kept = {path for path in state.rglob("*") if path.is_file()}
    for stray in ("blobs/sha256/" + "0" * 64, "partial/" + "1" * 64 + ".part", "partial/" + "1" * 64 + ".part.etag"):
        (state / stray).write_bytes(b"12345")
    (state / "manifests" / f"{'2' * 64}.repository.json.part").write_bytes(b"12345")
    (state / "views" / ("3" * 64)).mkdir()
    assert store.collect({stored.digest, "4" * 64}) == 20
    assert {path for path in state.rglob("*") if path.is_file()} == kept
    store.open(stored.digest)
    assert store.collect(()) > 0
    assert [path for path in state.rglob("*") if not path.is_dir() or path.is_symlink()] == []


def test_a_store_that_was_never_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "none", 0)
    assert store.bundles() == ()
    assert store.collect(()) == 0
    assert not (tmp_path / "none").exists()


def test_a_manifest_of_a_later_version_keeps_its_files(store: Store, folder: Path, tmp_path: Path) -> None:
    manifest, sha256 = publish(folder).changed(sheen="bright")
    store.import_directory(folder, "factory")
    (tmp_path / "state" / "manifests" / f"{sha256}.repository.json").write_bytes(manifest)
    store.collect({sha256})
    assert len(list((tmp_path / "state" / "blobs" / "sha256").iterdir())) == 2


def test_numbers_in_another_file(store: Store, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "people")
    with_numbers(folder / "m.onnx")
    stored = store.import_directory(folder, "factory")
    (bundle,) = store.open(stored.digest)
    assert (bundle.model.parent / "m.onnx.data").is_symlink()
    shutil.rmtree(folder)
    OnnxRuntime(str(bundle.model), RuntimeOptions()).close()


def test_numbers_that_are_not_listed(store: Store, folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "m.onnx")
    tensor = model.graph.initializer.add(name="secret", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    for location, why in (
        ("labels.bin", "m.onnx keeps numbers in labels.bin, which is no file of"),
        ("../../x", "it does not lie in"),
    ):
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=location)
        publication = changed_model(folder, model.SerializeToString())
        put(store, tmp_path / "state", publication)
        with pytest.raises(BundleError, match=why):
            store.open(publication.digest)


def test_a_file_that_nothing_names(store: Store, folder: Path, tmp_path: Path) -> None:
    publication = changed_model(folder, (folder / "m.onnx").read_bytes(), extra=b"extra")
    put(store, tmp_path / "state", publication)
    with pytest.raises(BundleError, match=r"people@1\.0\.0: extra: nothing in the bundle names it"):
        store.open(publication.digest)


def changed_model(folder: Path, model: bytes, **more: bytes) -> Publication:
    """What its author published by hand, of a folder with another model and more files."""
    files = {"m.onnx": model, "labels.txt": (folder / "labels.txt").read_bytes(), **more}
    listed = {name: {"length": len(data), "sha256": digest(data)} for name, data in files.items()}
    manifest = canonical({"name": "people", "version": "1.0.0", "model": "m.onnx", "labels": "labels.txt", "files": listed})
    return Publication(manifest, digest(manifest), {digest(data): data for data in files.values()})


def test_a_directory_that_cannot_be_published(store: Store, folder: Path) -> None:
    (folder / "a b\\c.txt").write_text("person\ncar\n")
    text = (folder / "bundle.yaml").read_text().replace("labels.txt", '"a b\\\\c.txt"')
    (folder / "bundle.yaml").write_text(text)
    with pytest.raises(BundleError, match="a file's name is text without control characters and without"):
        store.import_directory(folder, "sideload")
    assert store.bundles() == ()


def test_the_reserve(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "state", 1 << 60)
    with pytest.raises(StorageError, match="bytes more would leave less than the 1152921504606846976 that are kept free") as error:
        store.import_directory(folder, "factory")
    assert refusal(error) == "disk_full"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one."""
    with small_disk(tmp_path / "disk", 256) as path:
        yield path


def test_a_full_disk(disk: Path, folder: Path) -> None:
    store = Store(disk / "state", 0)
    stored = store.import_directory(folder, "factory")
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))
    later = publish(write_bundle(folder.parent / "later", version="1.1.0"))
    for reserve in (0, 4096):
        with pytest.raises(StorageError) as error:
            Store(disk / "state", reserve).add_manifest(later.manifest, later.digest, "repository")
        assert refusal(error) == "disk_full"
    store.open(stored.digest)
    store.collect(())
    assert store.bundles() == ()


def test_a_read_only_disk(disk: Path, folder: Path) -> None:
    stored = Store(disk / "state", 0).import_directory(folder, "factory")
    later = publish(write_bundle(folder.parent / "later", version="1.1.0"))
    for view in (True, False):
        if not view:
            shutil.rmtree(disk / "state" / "views")
        remount(disk, read_only=True)
        store = Store(disk / "state", 0)
        (bundle,) = store.open(stored.digest)
        assert bundle.model.is_relative_to(disk) == view
        assert bundle.labels == ("person", "car")
        assert store.open(stored.digest) == (bundle,)
        with pytest.raises(StorageError, match="Read-only file system") as error:
            store.add_manifest(later.manifest, later.digest, "repository")
        assert refusal(error) == "disk_error"
        with pytest.raises(StorageError):
            store.collect(())
        remount(disk, read_only=False)


def test_looking_into_a_store_writes_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    stored = store.import_directory(folder, "factory")
    shutil.rmtree(tmp_path / "state" / "views")
    before = sorted((tmp_path / "state").rglob("*"))
    (bundle,) = Store(tmp_path / "state", 0, read_only=True).open(stored.digest)
    assert not bundle.model.is_relative_to(tmp_path / "state")
    assert sorted((tmp_path / "state").rglob("*")) == before
