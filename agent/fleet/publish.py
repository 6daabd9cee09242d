"""edge-fleet publish: from now on, devices can fetch a bundle."""

import argparse
import json
from collections.abc import Mapping
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import TargetFile

from agent import durable
from agent.bundles.digest import digest
from agent.bundles.load import MANIFEST, manifest_bytes, open_variants, read_directory
from agent.errors import PublishError, UsageError
from agent.fleet.blobs import copy_blob, has_blob
from agent.fleet.edition import Edition
from agent.fleet.folder import add_repository_option
from agent.fleet.layout import Layout, target_path
from agent.fleet.options import add_key_options, keyring, open_repository
from agent.progress import Progress

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet publish people --repo models
  EDGE_FLEET_REPO=models EDGE_FLEET_TARGETS_KEY="$(cat key)" edge-fleet publish people    in CI

needs the keys of targets, snapshot and timestamp"""
MIB = 1 << 20


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "publish",
        help="put a bundle into the repository",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="DIR", type=Path, help="a bundle's folder, with its bundle.yaml")
    add_repository_option(parser)
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish it. PublishError where its version is there with other bytes."""
    if not args.bundle.is_dir():
        raise UsageError(f"{args.bundle}: expected a bundle's folder; edge-agent model init MODEL-FILE writes one")
    repository = open_repository(args)
    keys = keyring(args, repository.folder)
    bundle = open_variants(args.bundle)[0]
    place = args.bundle / MANIFEST
    directory = read_directory(place)
    manifest = manifest_bytes(place, directory.data, directory.files)
    sha256 = digest(manifest)
    target = target_path(bundle.name, bundle.version)
    said = f"{bundle.name}@{bundle.version}"
    with repository.written():
        current = repository.current()
        for role in ("targets", "snapshot", "timestamp"):
            keys.of(role, current.root.signed)  # before gigabytes are copied
        before = current.targets.signed.targets.get(target)
        if before is not None and before.hashes["sha256"] != sha256:
            raise PublishError(
                f"{said} is published with other bytes (digest {before.hashes['sha256'][:12]}, this is {sha256[:12]}); "
                f"a version never changes: give {place} a new one"
            )
        _store(repository.layout, manifest, directory.files)
        _store_manifest(repository.layout.manifest(target, sha256), manifest)
        if before is None:
            content = deepcopy(current.targets.signed)
            content.targets[target] = TargetFile(len(manifest), {"sha256": sha256}, target)
            Edition(repository.layout, current, keys).write(targets=content)
    size = sum(entry["length"] for entry in json.loads(manifest)["files"].values())
    if before is None:
        print(f"published {said}: {len(directory.files)} files, {size / MIB:.1f} MiB")
    elif "withdrawn" in (before.custom or {}):
        print(f"{said} is published and withdrawn; to undo that: edge-fleet withdraw {said} --undo")
    else:
        print(f"{said} is published already, byte for byte; nothing changed")
    print(f"digest    {sha256}")
    return 0


def _store(layout: Layout, manifest: bytes, files: Mapping[str, Path]) -> None:
    """Put there what is not there yet: files, then the manifest that names them."""
    listed = json.loads(manifest)["files"]
    missing = {entry["sha256"]: (files[name], entry["length"]) for name, entry in listed.items() if not has_blob(layout, entry)}
    done = 0
    with closing(Progress(sum(length for _, length in missing.values()) // MIB, "MiB copied")) as progress:
        for sha256, (path, length) in missing.items():
            for copied in copy_blob(path, layout.blob(sha256), sha256):
                progress.show((done + copied) // MIB)
            done += length


def _store_manifest(path: Path, manifest: bytes) -> None:
    folder, version = path.parent.parent, path.parent
    version.mkdir(parents=True, exist_ok=True)
    for made in (folder.parent, folder):
        durable.sync_folder(made)
    if not path.is_file() or path.read_bytes() != manifest:
        durable.write(path, manifest)
