"""The manifest of a published bundle: what bundle.yaml says, and length and SHA-256 of every file, see `agent.bundles.digest`."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, NoReturn

from msgspec import Meta, Struct

from agent.bundles.digest import canonical, digest
from agent.bundles.manifest import Manifest, check_agent, check_manifest
from agent.bundles.paths import clash, wrong_path
from agent.checked import check
from agent.document import Document, Origin, show
from agent.errors import BundleError

MAX_BYTES = 2 << 20
MAX_FILES = 4096
MAX_FILE_BYTES = 4 << 30
NO_CANONICAL_FORM = "not the canonical form of a manifest: JSON, UTF-8, sorted keys, no spaces, each key once"


class Blob(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a file. sha256: hex. length: bytes."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="64 digits of 0-9 and a-f")]
    length: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]


class _Files(Struct, frozen=True):
    files: Annotated[dict[str, Blob], Meta(min_length=1, max_length=MAX_FILES, description=f"a map of 1 to {MAX_FILES} files")]


class Published(Struct, frozen=True):
    """A manifest that was checked. files: by the bundle's own names."""

    digest: str
    manifest: Manifest
    files: Mapping[str, Blob]

    @property
    def title(self) -> str:
        """name@version, as people say it."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What its files hold, each once."""
        return tuple({blob.sha256: blob for blob in self.files.values()}.values())


def read_published(data: bytes, sha256: str) -> Published:
    """Check a manifest whose digest has to be `sha256`. BundleError with every problem, one a line."""
    files = read_files(data, sha256)
    written = json.loads(data)
    del written["files"]
    problems: list[str] = []
    manifest = check_manifest(Document(written, {(): Origin(_place(sha256))}), problems)
    if manifest is None or problems:
        raise BundleError("\n".join(problems))
    published = Published(sha256, manifest, files)
    if problems := _unlike(manifest, files):
        raise BundleError("\n".join(f"{published.title}: files: {problem}" for problem in problems))
    check_agent(published.title, manifest)
    return published


def read_files(data: bytes, sha256: str) -> dict[str, Blob]:
    """The files alone, which are known of a manifest of a later version, too. BundleError with every problem, one a line."""
    place = _place(sha256)
    if (found := digest(data)) != sha256:
        raise BundleError(f"{place}: it is not the manifest that was expected: its sha256 is {found}, not {sha256}")
    problems: list[str] = []
    document = Document({"files": _parsed(data, place).get("files")}, {(): Origin(place)})
    listed = check(document, _Files, problems)
    if listed is None or problems:
        raise BundleError("\n".join(problems))
    if problems := _wrong(listed.files):
        raise BundleError("\n".join(f"{place}: files: {problem}" for problem in problems))
    return listed.files


def _place(sha256: str) -> str:
    return f"manifest {sha256[:12]}"


def _parsed(data: bytes, place: str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise BundleError(f"{place}: {len(data)} bytes, more than the {MAX_BYTES} of any manifest")
    try:
        written = json.loads(data.decode(), parse_constant=_refuse)
        fits = isinstance(written, dict) and canonical(written) == data
    except (ValueError, RecursionError):
        fits = False
    if not fits:
        raise BundleError(f"{place}: {NO_CANONICAL_FORM}")
    return dict(written)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _wrong(files: Mapping[str, Blob]) -> list[str]:
    """What cannot be, whatever the bundle says of them."""
    wrong = [f"{show(name)}: {why}" for name in files if (why := wrong_path(name))]
    if not wrong and (why := clash(files)):
        wrong.append(why)
    lengths = {blob.sha256: blob.length for blob in files.values()}
    return wrong + [f"{name} has another length than its equal" for name, b in files.items() if b.length != lengths[b.sha256]]


def _unlike(manifest: Manifest, files: Mapping[str, Blob]) -> list[str]:
    """Where they are not those that the bundle names."""
    named, folders = set(manifest.files()), {PurePosixPath(model).parent for model in manifest.models()}
    # what else an ONNX model names is known once it is here, and looked at then: see `agent.bundles.store`
    beside = {name for name in files if folders & set(PurePosixPath(name).parents)}
    absent = [f"{name} is not among them, though the bundle names it" for name in sorted(named - files.keys())]
    return absent + [f"{name} is among them, though nothing names it" for name in sorted(files.keys() - named - beside)]
