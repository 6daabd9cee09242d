"""edge-fleet withdraw: no device installs a version any more, and one that runs it says so.

Its entry stays, so that the version can never be published again with other bytes.
"""

import argparse
from copy import deepcopy
from typing import TYPE_CHECKING

from agent.checked import suggest
from agent.errors import PublishError, UsageError
from agent.fleet.edition import Edition
from agent.fleet.folder import add_repository_option
from agent.fleet.layout import name_and_version, target_path
from agent.fleet.options import add_key_options, keyring, open_repository

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet withdraw people@1.3.0 --reason "misses people at night" --repo models
  edge-fleet withdraw people@1.3.0 --undo --repo models

needs the keys of targets, snapshot and timestamp"""
MOST_CHARS = 500


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "withdraw",
        help="stop installs of a version",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("release", metavar="NAME@VERSION", help="what is published")
    why = parser.add_mutually_exclusive_group(required=True)
    why.add_argument("--reason", metavar="TEXT", help="what devices and people are told")
    why.add_argument("--undo", action="store_true", help="let it be installed again")
    add_repository_option(parser)
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Withdraw it, or undo that. PublishError where it is not published."""
    target = target_path(*name_and_version(args.release))
    reason = None if args.undo else " ".join(args.reason.split())
    if reason is not None and not 0 < len(reason) <= MOST_CHARS:
        raise UsageError(f"--reason: expected a line of at most {MOST_CHARS} characters")
    repository = open_repository(args)
    keys = keyring(args, repository.folder)
    with repository.written():
        current = repository.current()
        content = deepcopy(current.targets.signed)
        entry = content.targets.get(target)
        if entry is None:
            known = [path.rpartition("/")[0].replace("/", "@") for path in content.targets]
            raise PublishError(f"{args.release} is not published in {repository.folder}{suggest(args.release, known)}")
        if (entry.custom or {}).get("withdrawn") == reason:
            print(f"{args.release} is {'not withdrawn' if args.undo else 'withdrawn'} already; nothing changed")
            return 0
        if reason is None:
            del entry.unrecognized_fields["custom"]
        else:
            entry.unrecognized_fields["custom"] = {"withdrawn": reason}
        Edition(repository.layout, current, keys).write(targets=content)
    print(f"{args.release} can be installed again" if reason is None else f"withdrew {args.release}: {reason}")
    return 0
