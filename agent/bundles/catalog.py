"""Public models by address: what `edge-agent model fetch` knows of them, and the bundle's folder that it makes.

A catalog is a YAML file. The agent's own lies beside this module; models/catalog.yaml in the source tree is a link to it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import yaml
from msgspec import Meta, Struct

from agent.bundles.download import download
from agent.bundles.labels import LABELS, write_labels
from agent.bundles.load import MANIFEST, open_bundle
from agent.bundles.manifest import read_manifest
from agent.checked import Name, check
from agent.core.spec import Task
from agent.document import load_yaml
from agent.errors import BundleError

BUILT_IN = Path(__file__).with_name("catalog.yaml")

FileName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", description="a file's name of letters, digits, . _ and -, no folder")
]
Url = Annotated[str, Meta(pattern=r"^https://[^\s/]+/\S+$", description="an address that begins with https://")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="64 digits of 0-9 and a-f")]


class RemoteFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a bundle, and where it is."""

    url: Url
    bytes: Annotated[int, Meta(ge=1, le=1 << 30)]
    sha256: Sha256


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model. about: one line for people. labels: become labels.txt. bundle: what else its bundle.yaml says."""

    about: str
    license: str
    task: Task
    files: Annotated[dict[FileName, RemoteFile], Meta(min_length=1)]
    labels: list[str] = []
    bundle: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.bytes for file in self.files.values())


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models by name."""

    models: dict[Name, Entry]


def read_catalog(path: Path) -> dict[str, Entry]:
    """The models of a catalog by name. BundleError with every problem, one a line."""
    problems: list[str] = []
    document = load_yaml(path, problems)
    catalog = check(document, Catalog, problems) if document else None
    if problems or catalog is None:
        raise BundleError("\n".join(problems))
    return catalog.models


def fetch(name: str, entry: Entry, folder: Path, progress: Callable[[str, int], None]) -> None:
    """Make `folder`, a bundle. It is called `folder`.part until all of it is there, and a later call goes on with that.

    progress: called with a file's name and how many of its bytes are there. Raises DownloadError, BundleError as `download` does,
    BundleError too where the catalog's bundle does not fit its files, and OSError where it cannot be written.
    """
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    if entry.labels:
        write_labels(part, entry.labels)
    (part / MANIFEST).write_text(_manifest(name, entry), encoding="utf-8")
    read_manifest(part / MANIFEST)
    for file_name, file in entry.files.items():
        download(file.url, part / file_name, file.bytes, file.sha256, partial(progress, file_name))
    open_bundle(part)
    part.rename(folder)


def _manifest(name: str, entry: Entry) -> str:
    data = {
        "name": name,
        "license": entry.license,
        "task": entry.task,
        **({"labels": LABELS} if entry.labels else {}),
        **entry.bundle,
        "provenance": {file_name: file.url for file_name, file in entry.files.items()},
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return f"# How edge-agent uses this model. Its docs/bundles.md explains every field.\n{text}"
