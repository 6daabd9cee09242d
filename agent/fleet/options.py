"""What verbs of the repository share: the repository that is meant, and the keys that are at hand."""

import argparse
import os
from pathlib import Path

from agent.errors import UsageError
from agent.fleet.folder import repository_folder
from agent.fleet.keys import PASSPHRASE, Keyring
from agent.fleet.private import read_secret
from agent.fleet.repository import FleetRepository


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """--keys and --passphrase-file."""
    parser.add_argument(
        "--keys",
        metavar="DIR",
        type=Path,
        action="append",
        help="where private keys are, as ROLE-N.pem; may be given several times; REPO.keys beside REPO, if nothing is said; "
        "$EDGE_FLEET_TARGETS_KEY and so on may hold them as well",
    )
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=Path, help=f"of encrypted keys; or ${PASSPHRASE}; new keys are encrypted with it"
    )


def open_repository(args: argparse.Namespace) -> FleetRepository:
    """That which --repo names. PublishError where it is none."""
    return FleetRepository(repository_folder(args))


def keyring(args: argparse.Namespace, repository: Path) -> Keyring:
    """The keys that are at hand. UsageError where they would lie in what is published."""
    published = repository.resolve()
    folders = args.keys or [published.with_name(f"{published.name}.keys")]
    for folder in folders:
        if folder.resolve().is_relative_to(published):
            raise UsageError(f"--keys {folder}: it lies in {repository}, which is published; keep private keys elsewhere")
    return Keyring(folders, _passphrase(args.passphrase_file), os.environ)


def _passphrase(file: Path | None) -> bytes | None:
    if file is not None:
        return read_secret(file, "--passphrase-file").encode()
    return os.environ.get(PASSPHRASE, "").encode() or None
