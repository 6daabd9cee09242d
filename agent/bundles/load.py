"""MODEL, as people say it, becomes Bundles: a model file, a directory with a bundle.yaml, or name@version."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent import __version__
from agent.bundles.content import format_of, model_files
from agent.bundles.digest import canonical_manifest, digest
from agent.bundles.labels import read_labels
from agent.bundles.manifest import Manifest, read_manifest
from agent.checked import NAME, suggest_file
from agent.errors import BundleError, UsageError
from agent.runtimes import READERS, RuntimeName

MANIFEST = "bundle.yaml"
METADATA = "metadata.yaml"
STORED = re.compile(rf"({NAME.pattern})@([0-9][^/\s]*)")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model on disk. Its manifest may leave much open: `agent.bundles.resolve` decides that when the model is loaded.

    digest: sha256 hex. model: the model file; runtime: what is to run it; runtimes: what may. labels: None where no list is named.
    place: what messages name, its bundle.yaml or the bare model file. variant: where the bundle has several, which one this is;
    its manifest then is that of this one alone.
    """

    name: str
    version: str
    digest: str
    model: Path
    runtime: RuntimeName
    runtimes: tuple[RuntimeName, ...]
    labels: tuple[str, ...] | None
    labels_file: Path | None
    manifest: Manifest
    place: Path
    variant: str | None = None

    @property
    def bare(self) -> bool:
        """Whether it is a model file without a manifest."""
        return self.place == self.model


def in_store(model: str) -> bool:
    """Whether a MODEL is meant as name@version."""
    return STORED.fullmatch(model) is not None and not os.path.exists(model)  # noqa: PTH110  never raises


def open_bundle(model: str | Path, labels: str | Path | None = None) -> Bundle:
    """As `open_variants`, of a MODEL that has no variants; BundleError where it has."""
    bundles = open_variants(model, labels)
    if bundles[0].variant is not None:
        raise BundleError(f"{bundles[0].place}: it has variants; give the model file of one")
    return bundles[0]


def open_variants(model: str | Path, labels: str | Path | None = None) -> tuple[Bundle, ...]:
    """Read a MODEL, without loading it: a Bundle a variant, best first. labels: a label list, for a bare model file.

    Raises UsageError where there is no such file, BundleError where it cannot be used.
    """
    path = Path(model)
    if in_store(str(model)):
        raise BundleError(f"{model}: there is no store of bundles in this version yet; give a model file or a bundle's directory")
    if not os.path.exists(path):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise UsageError(f"{path}: there is no such model file or bundle{suggest_file(path)}")
    if path.is_dir():
        path /= MANIFEST
        if not path.is_file():
            raise BundleError(f"{path.parent}: there is no {MANIFEST} in it; edge-agent model init MODEL-FILE writes one")
    elif path.name != MANIFEST:
        return (_bare(path, None if labels is None else Path(labels)),)
    if labels is not None:
        raise UsageError(f"{path}: a label list goes with a bare model file; name it in {MANIFEST} instead")
    return _from_directory(path)


@dataclass(frozen=True, slots=True)
class Directory:
    """A bundle as people write it. data: what bundle.yaml says. files: all that belong to it, by the names that it has for them."""

    manifest: Manifest
    data: dict[str, Any]
    files: dict[str, Path]


def read_directory(place: Path) -> Directory:
    """What lies beside a bundle.yaml. BundleError where a file is missing, or lies elsewhere."""
    manifest, data = read_manifest(place)
    least = manifest.requires.agent
    if least is not None and _numbers(__version__) < _numbers(least.removeprefix(">=")):
        raise BundleError(f"{place}: requires.agent: it needs an edge-agent {least}, this is {__version__}")
    return Directory(manifest, data, _with_metadata({name: _inside(place, name) for name in manifest.files()}))


def _from_directory(place: Path) -> tuple[Bundle, ...]:
    directory = read_directory(place)
    manifest, files = directory.manifest, directory.files
    sha256 = digest(manifest_bytes(place, directory.data, files))
    for sample in [*manifest.golden, *(sample for variant in manifest.variants for sample in variant.golden or [])]:
        _check_json(place, files[sample.expect])
    if not manifest.variants:
        return (_bundle(manifest, sha256, files, place),)
    return tuple(_bundle(manifest.alone(variant), sha256, files, place, variant.id) for variant in manifest.variants)


def _bare(path: Path, labels_file: Path | None) -> Bundle:
    if labels_file is not None and not os.path.isfile(labels_file):  # noqa: PTH113  Path.is_file raises for a name that is too long
        raise UsageError(f"{labels_file}: there is no such label list")
    format_of(path)  # before its files are read whole
    manifest = Manifest(name=name_for(path), version="0.0.0", model=path.name)
    files = _with_metadata({part.name: part for part in model_files(path)})
    if labels_file is not None:
        listed = f"labels/{labels_file.name}"
        manifest, files = msgspec.structs.replace(manifest, labels=listed), {**files, listed: labels_file}
    # not of the whole Manifest, which gets new fields: a file's digest stays what it is
    sha256 = digest(manifest_bytes(path, {"name": manifest.name, "version": manifest.version, "model": path.name}, files))
    return _bundle(manifest, sha256, files, path)


def _bundle(manifest: Manifest, sha256: str, files: dict[str, Path], place: Path, variant: str | None = None) -> Bundle:
    model = files[str(manifest.model)]
    runtimes = READERS[format_of(model)]
    wanted = manifest.requires.runtime
    if wanted is not None and wanted not in runtimes:
        raise BundleError(f"{place}: requires.runtime: {wanted} does not run {model.name}; {' or '.join(runtimes)} does")
    labels_file = files[manifest.labels] if manifest.labels else None
    return Bundle(
        name=manifest.name,
        version=manifest.version,
        digest=sha256,
        model=model,
        runtime=wanted or runtimes[0],
        runtimes=(wanted,) if wanted else runtimes,
        labels=read_labels(labels_file) if labels_file else None,
        labels_file=labels_file,
        manifest=manifest,
        place=place,
        variant=variant,
    )


def manifest_bytes(place: Path, data: dict[str, Any], files: Mapping[str, Path]) -> bytes:
    """The canonical manifest of a bundle's directory. BundleError where there is none."""
    try:
        return canonical_manifest(data, files)
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise BundleError(f"{place}: JSON cannot hold what it says: {error}") from None


def _with_metadata(files: dict[str, Path]) -> dict[str, Path]:
    """With the metadata.yaml that Ultralytics writes beside an OpenVINO model, which is read with it."""
    beside = {
        str(Path(name).with_name(METADATA)): path.with_name(METADATA) for name, path in files.items() if path.suffix == ".xml"
    }
    return files | {name: path for name, path in beside.items() if path.is_file()}


def _check_json(place: Path, expect: Path) -> None:
    try:
        json.loads(expect.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{place}: golden: {expect.name} is not JSON: {' '.join(str(error).split())}") from None


def _inside(place: Path, name: str) -> Path:
    """A file of the bundle, which may lie nowhere but in its directory."""
    root = place.parent.resolve()
    path = place.parent / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(root):
        raise BundleError(f"{place}: {name} is not in the bundle's directory; put a copy there")
    if not os.path.isfile(path):  # noqa: PTH113  as above
        raise BundleError(f"{place}: there is no {name} beside it{suggest_file(path)}")
    return path


def name_for(path: Path) -> str:
    """A model's name from that of its file."""
    return re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_")[:63] or "model"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
