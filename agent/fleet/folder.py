"""Which folder the repository is: --repo, the environment, or where one is. Without TUF, so that --help is quick."""

import argparse
import os
from pathlib import Path

REPOSITORY = "EDGE_FLEET_REPO"


def add_repository_option(parser: argparse.ArgumentParser) -> None:
    """--repo."""
    parser.add_argument(
        "--repo", metavar="DIR", type=Path, help=f"the repository; ${REPOSITORY}, or the folder that you are in, if nothing is said"
    )


def repository_folder(args: argparse.Namespace) -> Path:
    """That which is meant, whether or not it is one."""
    return Path(args.repo or os.environ.get(REPOSITORY) or ".")
