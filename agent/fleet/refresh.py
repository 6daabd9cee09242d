"""edge-fleet refresh: sign anew what would expire. Without --role, snapshot and timestamp, by the keys of these two alone."""

import argparse
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Root

from agent.fleet.edition import Edition
from agent.fleet.folder import add_repository_option
from agent.fleet.options import add_key_options, keyring, open_repository
from agent.fleet.repository import Current
from agent.fleet.root import next_root
from agent.fleet.values import count

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet refresh --repo models                              daily, by cron, where the keys of snapshot and timestamp are
  edge-fleet refresh --if-expires-within 3 --repo models        changes nothing as long as all is good for 3 days more
  edge-fleet refresh --role root --role targets --keys stick1 --keys stick2 --repo models      once a year"""
ROLES = ("root", "targets", "snapshot", "timestamp")


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "refresh",
        help="sign anew what expires",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--role", action="append", choices=ROLES, help="may be given several times; snapshot and timestamp, if not")
    parser.add_argument("--if-expires-within", type=count, metavar="DAYS", help="only what is good for no longer than this")
    add_repository_option(parser)
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sign anew; what refers to a role is signed with it."""
    repository = open_repository(args)
    keys = keyring(args, repository.folder)
    with repository.written():
        current = repository.current()
        roles = {role for role in args.role or ("snapshot", "timestamp") if _due(current, role, args.if_expires_within)}
        if not roles:
            print(f"nothing expires within {args.if_expires_within} days; nothing changed")
            return 0
        root: Metadata[Root] | None = None
        if "root" in roles:
            root = next_root(current.root.signed, deepcopy(current.root.signed), keys)
        targets = deepcopy(current.targets.signed) if "targets" in roles else None
        snapshot = targets is not None or "snapshot" in roles
        Edition(repository.layout, current, keys, root).write(
            targets=targets, snapshot=snapshot, timestamp=snapshot or "timestamp" in roles
        )
        renewed = repository.current()
    for role in ROLES:
        before, after = (getattr(state, role).signed for state in (current, renewed))
        if after.version != before.version:
            print(f"{role:9} version {after.version}, good until {after.expires:%Y-%m-%d}")
    return 0


def _due(current: Current, role: str, days: int | None) -> bool:
    expires: datetime = getattr(current, role).signed.expires
    return days is None or expires <= datetime.now(UTC) + timedelta(days=days)
