"""edge-fleet deploy: give devices a bundle."""

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent.bundles.trust import Release
from agent.checked import NAME, suggest
from agent.errors import BundleError, UsageError
from agent.fleet.broker import Desk, access_of, add_broker_options
from agent.fleet.devices import Device, collect
from agent.fleet.folder import add_repository_option, repository_folder
from agent.fleet.layout import name_and_version
from agent.fleet.values import add_device_options, count, instant, seconds, shown
from agent.fleet.wishes import Order, Wish, deployment_id, publish, who
from agent.publish.orders import BundleRef, UpdatePolicy

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet deploy people@1.3.0 --slot people --device gate-03 --repo /srv/models --mqtt broker.example
  edge-fleet deploy people@1.3.0 --slot people --select ring=canary --probation 30m
  edge-fleet deploy people@1.3.0 --slot people --select site=lyon --spread 1h --not-after 12h
  edge-fleet deploy people@1.3.0 --slot people --select site=lyon --dry-run     who would get it

Each device gets a wish of its own, which the broker keeps for those that are away.
REPO is --repo, or $EDGE_FLEET_REPO, or the folder that you are in.

exit status: 0 the wishes stand, 1 not all of them do, or the bundle is withdrawn or not published, 2 wrong usage"""


class Target(NamedTuple):
    """A device that is to get the bundle, and what its operator should know."""

    device: Device
    notes: tuple[str, ...]


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "deploy",
        help="give devices a bundle",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="NAME@VERSION", help="as it was published")
    parser.add_argument("--slot", required=True, metavar="S", help="the model slot of the devices' configs")
    add_device_options(parser, required=True)
    add_repository_option(parser)
    parser.add_argument("--spread", type=seconds, default=0, metavar="TIME", help="over which devices begin, such as 1h; at once")
    parser.add_argument(
        "--swap",
        choices=("auto", "beside", "replace"),
        default="auto",
        help="beside: never without the serving model; replace: that ends first; auto: as the device's memory allows",
    )
    parser.add_argument("--probation", type=seconds, metavar="TIME", help="for which it is watched, such as 30m; 10m")
    parser.add_argument("--probation-frames", type=count, metavar="N", help="and this many frames; 500")
    parser.add_argument("--not-after", type=instant, metavar="TIME", help="after which no device begins: 12h, or an instant in UTC")
    parser.add_argument("--force", action="store_true", help="also where this bundle has failed before, and is in quarantine")
    parser.add_argument("--dry-run", action="store_true", help="say what would be wished, and publish nothing")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_broker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish the wishes; 1 where not all of them stand."""
    return deploy(args, _releases)


def deploy(args: argparse.Namespace, published: Callable[[argparse.Namespace], Sequence[Release]]) -> int:
    """As `run`. published: what the repository that is meant holds."""
    name, version = name_and_version(args.bundle)
    if not NAME.fullmatch(args.slot):
        raise UsageError(f"--slot {args.slot}: no name of a model slot")
    policy = _policy(args)
    access = access_of(args)
    bundle = release_of(published(args), name, version)
    with Desk(access) as desk:
        targets = _targets(collect(desk).chosen(args.device, args.select), args)
        order = Order(deployment_id(f"{name}-{version}"), who(), policy, args.not_after)
        wishes = [order.wish(target.device, args.slot, bundle) for target in targets]
        problems = [] if args.dry_run else publish(desk, wishes)
    _print(args, order, bundle, targets, wishes, problems)
    for problem in problems:
        print(f"edge-fleet: {problem}", file=sys.stderr)
    return 1 if problems else 0


def release_of(releases: Collection[Release], name: str, version: str) -> BundleRef:
    """The published bundle. BundleError for one that is not, or that is withdrawn."""
    found = next((release for release in releases if (release.name, release.version) == (name, version)), None)
    if found is None:
        versions = [release.version for release in releases if release.name == name]
        names = sorted({release.name for release in releases})
        there = (
            f"of {name} there are {', '.join(versions[-10:])}"
            if versions
            else f"there are {', '.join(names[:20]) or 'no bundles yet'}"
        )
        hint = suggest(version, versions) if versions else suggest(name, names)
        raise BundleError(f"{name}@{version} is not published{hint or '; ' + there}")
    if found.withdrawn is not None:
        raise BundleError(f"{name}@{version} is withdrawn ({found.withdrawn}): devices would refuse it; deploy another version")
    return BundleRef(name=found.name, version=found.version, digest=found.digest)


def _releases(args: argparse.Namespace) -> Sequence[Release]:
    from agent.fleet.repository import FleetRepository  # noqa: PLC0415  --help does without TUF

    return FleetRepository(repository_folder(args)).releases()


def _policy(args: argparse.Namespace) -> UpdatePolicy:
    policy = UpdatePolicy(
        spread_s=args.spread,
        swap=args.swap,
        probation_s=args.probation,
        probation_frames=args.probation_frames,
        force=args.force,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(policy), UpdatePolicy)
    except msgspec.ValidationError as error:
        limit, _, field = str(error).partition(" - at `$.")
        option = field.strip("`").removesuffix("_s").replace("_", "-")
        raise UsageError(f"--{option}: {limit[:1].lower()}{limit[1:]}") from None


def _targets(devices: Sequence[Device], args: argparse.Namespace) -> list[Target]:
    """The devices to publish to. One that was named gets the wish in any case; one that labels name needs the slot."""
    targets = []
    for device in devices:
        lacks = device.info is not None and args.slot not in device.info.models
        if lacks and args.select:
            there = ", ".join(sorted(device.info.models)) if device.info else ""
            print(f"edge-fleet: {device.name} is left out: it has no slot {args.slot}, but {there or 'none'}", file=sys.stderr)
        else:
            targets.append(Target(device, tuple(_notes(device, args.slot, lacks=lacks))))
    if not targets:
        raise UsageError(f"none of the devices that were selected has a slot {args.slot}")
    return targets


def _notes(device: Device, slot: str, *, lacks: bool) -> list[str]:
    notes = []
    if device.online is None and device.info is None:
        notes.append("the broker does not know it: is the name right? It gets the wish if it ever connects")
    elif not device.online:
        notes.append("offline: it gets the wish when it connects")
    if lacks:
        notes.append(f"it has no slot {slot}")
    return notes


def _print(
    args: argparse.Namespace,
    order: Order,
    bundle: BundleRef,
    targets: Sequence[Target],
    wishes: Sequence[Wish],
    problems: Sequence[str],
) -> None:
    if args.json:
        data = {
            "deployment": order.deployment,
            "published": not args.dry_run,
            "wishes": [
                {"device": wish.device, "slot": wish.slot, "desired": wish.desired, "notes": target.notes}
                for wish, target in zip(wishes, targets, strict=True)
            ],
            "problems": problems,
        }
        print(msgspec.json.format(msgspec.json.encode(data)).decode())
        return
    for target in targets:
        has = _has(target.device, args.slot)
        print(f"{shown(target.device.name)}: {has}{''.join(f'; {note}' for note in target.notes)}")
    many = "1 device" if len(targets) == 1 else f"{len(targets)} devices"
    what = f"{bundle.name} {bundle.version} ({bundle.digest[:12]}) for slot {args.slot} of {many}"
    if args.dry_run:
        print(f"would be deployed: {what}")
    else:
        print(f"deployment {order.deployment}: {what}")
        print(f"to see how it goes: edge-fleet status --deployment {order.deployment} --watch")


def _has(device: Device, slot: str) -> str:
    reported = device.reported.get(slot)
    if reported is not None and reported.current is not None:
        return f"has {reported.current.name} {reported.current.version}"
    held = None if device.info is None else device.info.models.get(slot)
    return f"has {held.name} {held.version}" if held is not None and held.name else "has told of no model there"
