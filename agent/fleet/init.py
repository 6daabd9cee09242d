"""edge-fleet init: a repository without a model yet, and the keys that sign it."""

import argparse
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import MetaFile, Role, Root, Snapshot, T, Targets, Timestamp

from agent import durable
from agent.errors import UsageError
from agent.fleet.edition import EXPIRY_DAYS, SIGNED_AT, renew, sign, stamp
from agent.fleet.keys import MOST_KEYS, SHORT, HeldKey, Keyring
from agent.fleet.layout import Layout
from agent.fleet.options import add_key_options, keyring
from agent.fleet.repository import writing

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet init models                                    keys in models.keys, beside it
  edge-fleet init models --keys /media/stick --passphrase-file secret
  edge-fleet init models --root-keys 5 --root-threshold 3   keys that lie in --keys as ROLE-N.pem are used, the rest is made"""
# how many keys, how many of them must sign, and for how many days that is good
DEFAULTS = {"root": (3, 2, 365), "targets": (1, 1, 365), "snapshot": (1, 1, 30), "timestamp": (1, 1, 7)}
MOST_DAYS = 3650


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "init",
        help="make a repository and its keys",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repo", metavar="REPO", type=Path, help="the folder to make, which a web server is to serve")
    add_key_options(parser)
    for role, (keys, threshold, days) in DEFAULTS.items():
        parser.add_argument(f"--{role}-keys", type=int, default=keys, metavar="N", help=f"keys of {role}; %(default)s")
        parser.add_argument(f"--{role}-threshold", type=int, default=threshold, metavar="N", help="of which must sign; %(default)s")
        parser.add_argument(f"--{role}-days", type=int, default=days, metavar="DAYS", help="until it expires; %(default)s")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make it; whatever was begun before is taken up."""
    wanted = {role: tuple(getattr(args, f"{role}_{what}") for what in ("keys", "threshold", "days")) for role in DEFAULTS}
    for role, (count, threshold, days) in wanted.items():
        if not 1 <= threshold <= count <= MOST_KEYS:
            raise UsageError(
                f"--{role}-threshold {threshold}: of {count} keys, and there may be {MOST_KEYS}, from 1 to all must sign"
            )
        if not 1 <= days <= MOST_DAYS:
            raise UsageError(f"--{role}-days {days}: expected 1 to {MOST_DAYS}")
    repo: Path = args.repo
    if repo.name in ("", ".."):
        raise UsageError(f"{repo}: it has no name of its own; name a folder that is to be made")
    if repo.exists() and not (repo.is_dir() and not any(repo.iterdir())):
        raise UsageError(f"{repo}: it is there already; name a folder that is to be made")
    keys = keyring(args, repo)
    with writing(repo):
        held = {role: _keys(keys, role, count) for role, (count, _, _) in wanted.items()}
        _write(
            repo, held, {role: threshold for role, (_, threshold, _) in wanted.items()}, {r: d for r, (_, _, d) in wanted.items()}
        )
    for role, (_, threshold, days) in wanted.items():
        print(f"{role:9} {threshold} of {len(held[role])} must sign, for {days} days")
        for key in held[role]:
            print(f"          {key.id[:SHORT]}  {key.place}")
    print(f"publish   {repo}, by any web server; never {', '.join(map(str, keys.folders))}")
    print(f"devices   get {Layout(repo).role(Root.type, 1)}, as updates.trust_root")
    print("then      take the root keys off this computer, each to a place of its own: docs/fleet.md")
    return 0


def _keys(keys: Keyring, role: str, count: int) -> list[HeldKey]:
    held = keys.held(role)[:count]
    return held + [keys.create(role) for _ in range(count - len(held))]


def _write(repo: Path, held: dict[str, list[HeldKey]], thresholds: dict[str, int], days: dict[str, int]) -> None:
    """The first version of each role, in a folder that gets its name when all is there."""
    now = datetime.now(UTC).replace(microsecond=0)
    part = Layout(repo.with_name(f"{repo.name}.part"))
    shutil.rmtree(part.folder, ignore_errors=True)
    for folder in (part.metadata, part.blobs, part.folder / "targets"):
        folder.mkdir(parents=True)
    root = Root(roles={role: Role([], thresholds[role]) for role in DEFAULTS})
    for role, keys in held.items():
        for key in keys:
            root.add_key(key.signer.public_key, role)
    _put(part, root, held, days, now)
    snapshot = Snapshot(meta={"targets.json": _put(part, Targets(), held, days, now)})
    timestamp = Timestamp(snapshot_meta=_put(part, snapshot, held, days, now), unrecognized_fields={SIGNED_AT: stamp(now)})
    _put(part, timestamp, held, days, now)
    part.folder.rename(repo)
    durable.sync_folder(repo.parent)


def _put(layout: Layout, content: T, held: dict[str, list[HeldKey]], days: dict[str, int], now: datetime) -> MetaFile:
    content.unrecognized_fields[EXPIRY_DAYS] = days[content.type]
    renew(content, now)
    data = sign(content, held[content.type]).to_bytes()
    durable.write(layout.role(content.type, content.version), data)
    return MetaFile.from_data(content.version, data, ["sha256"])
