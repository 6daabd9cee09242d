"""edge-fleet verify: the repository as a device sees it, every file of it hashed, and when what expires."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from agent.bundles.trust import Release
from agent.errors import PublishError
from agent.fleet.blobs import sha256_of
from agent.fleet.folder import add_repository_option
from agent.fleet.keys import SHORT
from agent.fleet.layout import target_path
from agent.fleet.options import open_repository
from agent.fleet.repository import Current, FleetRepository
from agent.progress import Progress

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet verify --repo models
  edge-fleet verify --repo models --root /etc/edge-agent/root.json    as a device with this updates.trust_root sees it

needs no key; exit status: 0 all is well, 1 something is wrong"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "verify",
        help="check every signature and file of the repository",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root", metavar="FILE", type=Path, help="a device's trust_root; the repository's first, if nothing is said"
    )
    add_repository_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what holds; 1 where something does not, a line each on stderr."""
    repository = open_repository(args)
    current = repository.current()
    print("\n".join(_roles(current)))
    problems = [*_as_device(repository, args.root or repository.layout.role("root", 1)), *_files(repository)]
    for problem in problems:
        print(f"edge-fleet: {problem}", file=sys.stderr)
    for release in repository.releases():
        print(f"release   {release.name}@{release.version}  {release.digest[:12]}{_withdrawn(release)}")
    print(f"{len(problems)} problems" if problems else "all is well")
    return 1 if problems else 0


def _withdrawn(release: Release) -> str:
    return "" if release.withdrawn is None else f"  withdrawn: {release.withdrawn}"


def _roles(current: Current) -> Iterator[str]:
    for metadata in current:
        signed = metadata.signed
        trusted = current.root.signed.roles[signed.type]
        days = (signed.expires - datetime.now(UTC)).days
        left = "EXPIRED" if days < 0 else f"{days} days left"
        ids = ", ".join(keyid[:SHORT] for keyid in trusted.keyids)
        yield f"{signed.type:9} {signed.version:4}  until {signed.expires:%Y-%m-%d}, {left:14} {trusted.threshold} of {ids}"


def _as_device(repository: FleetRepository, root: Path) -> Iterator[str]:
    """What a device that has this root would say of the metadata."""
    try:
        bootstrap = root.read_bytes()
    except OSError as error:
        raise PublishError(f"{root}: {error.strerror}") from None
    with TemporaryDirectory() as folder:
        try:
            updater = Updater(folder, str(repository.layout.metadata), fetcher=_LocalFetcher(), bootstrap=bootstrap)
            updater.refresh()
        except (RepositoryError, TufDownloadError, ValueError) as error:
            yield f"{repository.folder}: a device with {root} refuses it: {error}"


class _LocalFetcher(FetcherInterface):
    """Reads from this computer what a device would ask a web server for."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter([Path(url).read_bytes()])
        except FileNotFoundError:
            raise DownloadHTTPError(f"there is no {url}", 404) from None


def _files(repository: FleetRepository) -> Iterator[str]:
    """Each manifest and each blob that is not what it should be."""
    listed: set[str] = set()
    for release in repository.releases():
        path = repository.layout.manifest(target_path(release.name, release.version), release.digest)
        wrong = list(_wrong(path, release.digest))
        yield from wrong
        if not wrong:
            listed |= {entry["sha256"] for entry in json.loads(path.read_bytes())["files"].values()}
    with closing(Progress(len(listed), "files read")) as progress:
        for number, sha256 in enumerate(sorted(listed), 1):
            yield from _wrong(repository.layout.blob(sha256), sha256)
            progress.show(number)


def _wrong(path: Path, sha256: str) -> Iterator[str]:
    try:
        if sha256_of(path) != sha256:
            yield f"{path}: its bytes are not those that were published; publish the bundle again when this file is removed"
    except OSError as error:
        yield f"{path}: {error.strerror}; publishing the bundle again brings it back"
