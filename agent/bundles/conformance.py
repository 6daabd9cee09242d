"""The device's TUF client on a command line of its own, as the conformance suite of the TUF project drives clients.

python -m agent.bundles.conformance --metadata-dir D init ROOT
python -m agent.bundles.conformance --metadata-dir D --metadata-url U refresh
python -m agent.bundles.conformance --metadata-dir D --metadata-url U --target-name T … --target-dir TD --target-base-url B download

Exit status 0, or 1 and a line on stderr. Command line: theupdateframework/tuf-conformance, CLIENT-CLI.md.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from agent import durable

TRUSTED_ROOT = "trusted_root"  # what `init` was given; root.json becomes a link to the newest one


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m agent.bundles.conformance", description="Try the device's TUF client.")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    args = parser.parse_args()
    if args.command != "init" and not args.metadata_url:
        parser.error("--metadata-url is missing")
    if args.command == "download" and not (args.target_name and args.target_dir and args.target_base_url):
        parser.error("download takes --target-name, --target-dir and --target-base-url")
    try:
        return _init(args.metadata_dir, args.root) if args.command == "init" else _use(args)
    except OSError as error:
        return _fail(str(error))


def _init(folder: Path, root: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    data = root.read_bytes()
    durable.write(folder / TRUSTED_ROOT, data)
    durable.write(folder / "root.json", data)
    return 0


def _use(args: argparse.Namespace) -> int:
    from tuf.api.exceptions import DownloadError, RepositoryError  # noqa: PLC0415  `init` starts without TUF

    from agent.bundles.trust import LIMITS  # noqa: PLC0415  as above
    from agent.bundles.tuf_client import Client  # noqa: PLC0415  as above
    from agent.bundles.tuf_fetcher import Fetcher  # noqa: PLC0415  as above

    root = (args.metadata_dir / TRUSTED_ROOT).read_bytes()
    try:
        client = Client(args.metadata_dir, args.metadata_url, root, Fetcher(LIMITS), datetime.now(UTC))
        client.refresh()
        for name in args.target_name if args.command == "download" else ():
            if client.fetch(name, args.target_base_url, args.target_dir) is None:
                return _fail(f"{name}: no such target")
    except (RepositoryError, DownloadError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"{' '.join(message.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
