"""edge-fleet rotate: other keys for a role, since one was lost, seen by others, or is old. Devices follow by themselves.

A key of a role that has several is named by the first digits of its id, as `edge-fleet verify` lists them. A lost key need not be
at hand. The root's own keys sign each change: as many as its threshold, of the old and of the new.
"""

import argparse
from copy import deepcopy
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Root

from agent.errors import UsageError
from agent.fleet.edition import Edition
from agent.fleet.folder import add_repository_option
from agent.fleet.keys import MOST_KEYS, SHORT
from agent.fleet.options import add_key_options, keyring, open_repository
from agent.fleet.root import bridge, next_root
from agent.fleet.values import count

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet rotate timestamp --repo models --keys models.keys --keys stick1 --keys stick2
  edge-fleet rotate root --replace 3f9c0a --repo models        a root key that was lost
  edge-fleet rotate root --add 2 --threshold 3 --repo models   three of five"""

SIGNED_WITH = {  # what is signed anew with a role's keys
    "root": (),
    "targets": ("targets", "snapshot", "timestamp"),
    "snapshot": ("snapshot", "timestamp"),
    "timestamp": ("timestamp",),
}


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "rotate",
        help="change the keys of a role",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("role", choices=tuple(SIGNED_WITH))
    parser.add_argument("--replace", metavar="ID", action="append", default=[], help="a key that is to go, for a new one")
    parser.add_argument("--remove", metavar="ID", action="append", default=[], help="a key that is to go")
    parser.add_argument("--add", metavar="N", type=count, default=0, help="so many new keys more")
    parser.add_argument("--threshold", metavar="N", type=count, help="how many are to sign from now on")
    add_repository_option(parser)
    add_key_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Change them. PublishError where keys that must sign are missing."""
    repository = open_repository(args)
    keys = keyring(args, repository.folder)
    with repository.written():
        current = repository.current()
        content = deepcopy(current.root.signed)
        going, coming = _going(args, content)
        trusted = content.roles[args.role]
        threshold = trusted.threshold if args.threshold is None else args.threshold
        left = len(trusted.keyids) - len(going) + coming
        if not 1 <= threshold <= left <= MOST_KEYS:
            raise UsageError(
                f"{args.role}: {threshold} of {left} keys cannot sign; say --threshold or --add, for 1 to {MOST_KEYS} keys"
            )
        for needed in {Root.type, *SIGNED_WITH[args.role]} - {args.role}:
            keys.of(needed, current.root.signed)  # before a key is made
        for keyid in going:
            content.revoke_key(keyid, args.role)
        new = [keys.create(args.role) for _ in range(coming)]
        for key in new:
            content.add_key(key.signer.public_key, args.role)
        trusted.threshold = threshold
        before = current.root.signed
        between: Metadata[Root] | None = None
        if args.role != Root.type and not keys.suffice(args.role, before):
            between = next_root(before, bridge(before, content, args.role), keys)
        root = next_root(between.signed if between is not None else before, content, keys)
        targets = deepcopy(current.targets.signed) if args.role == "targets" else None
        signed = SIGNED_WITH[args.role]
        Edition(repository.layout, current, keys, root, between).write(
            targets=targets, snapshot="snapshot" in signed, timestamp="timestamp" in signed
        )
    for keyid in going:
        print(f"gone      {keyid[:SHORT]}")
    for key in new:
        print(f"new       {key.id[:SHORT]}  {key.place}")
    print(f"{args.role:9} {threshold} of {left} must sign, from root {content.version} on")
    return 0


def _going(args: argparse.Namespace, root: Root) -> tuple[list[str], int]:
    """The ids of the keys that are to go, and how many are to come; where nothing is asked for, the only one is replaced."""
    held = root.roles[args.role].keyids
    replaced, removed = ([_full(prefix, held, args.role) for prefix in prefixes] for prefixes in (args.replace, args.remove))
    if not (replaced or removed or args.add or args.threshold is not None):
        if len(held) > 1:
            raise UsageError(
                f"{args.role} has several keys: say --replace ID or --remove ID, of {', '.join(keyid[:SHORT] for keyid in held)}"
            )
        replaced = list(held)
    return list(dict.fromkeys(replaced + removed)), len(set(replaced)) + args.add


def _full(prefix: str, held: list[str], role: str) -> str:
    found = [keyid for keyid in held if keyid.startswith(prefix)]
    if len(found) != 1:
        raise UsageError(f"{prefix}: not the id of one key of {role}; there are {', '.join(keyid[:SHORT] for keyid in held)}")
    return found[0]
