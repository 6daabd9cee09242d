"""edge-fleet rollback: take a deployment back, on every device that has it."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from agent.errors import AgentError, UsageError
from agent.fleet.broker import Desk, access_of, add_broker_options
from agent.fleet.devices import Device, Fleet, collect
from agent.fleet.rollout import SETTLING
from agent.fleet.values import shown
from agent.fleet.wishes import Order, Wish, deployment_id, publish, who
from agent.publish.orders import BundleRef, Reported, UpdatePolicy

if TYPE_CHECKING:
    from argparse import _SubParsersAction

TOOK = (*SETTLING, "committed")
EXAMPLES = """examples:
  edge-fleet rollback people-1.3.0-20261125T003012-3f2a --mqtt broker.example
  edge-fleet rollback people-1.3.0-20261125T003012-3f2a --dry-run      what each device would go back to

A device that serves the deployment's bundle goes back to the one before; one that has not come so far keeps what it serves. Both at
once: no spread. A device that has been given something newer is left alone. It needs no repository.

exit status: 0 every device of the deployment has a wish for what it had before, 1 some have not, 2 no device has this deployment"""


class Part(NamedTuple):
    """A slot of a device that a deployment is for. problem: why it cannot go back, None where it can."""

    device: Device
    slot: str
    back_to: BundleRef | None
    problem: str | None


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "rollback",
        help="take a deployment back, on every device that has it",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("deployment", metavar="DEPLOYMENT", help="as deploy and status name it")
    parser.add_argument("--swap", choices=("auto", "beside", "replace"), default="auto", help="as of deploy")
    parser.add_argument("--force", action="store_true", help="also to a bundle that is in quarantine on the device")
    parser.add_argument("--dry-run", action="store_true", help="say what would be wished, and publish nothing")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_broker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish the wishes; 1 where not every device of the deployment gets one that stands."""
    with Desk(access_of(args)) as desk:
        fleet = collect(desk)
        parts = list(parts_of(fleet, args.deployment))
        if not parts:
            raise UsageError(f"no device has a deployment {args.deployment}; edge-fleet status says which there are")
        order = Order(deployment_id(f"rollback-of-{_stem(args.deployment)}"), who(), UpdatePolicy(swap=args.swap, force=args.force))
        wishes, problems = _wishes(order, parts)
        if wishes and not args.dry_run:
            problems += publish(desk, wishes)
    _print(args, order, wishes, parts)
    for problem in problems:
        print(f"edge-fleet: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parts_of(fleet: Fleet, deployment: str) -> Iterator[Part]:
    """Every slot that was given the deployment, and what it is to go back to."""
    for _, device in sorted(fleet.devices.items()):
        for slot in sorted(device.desired.keys() | device.reported.keys()):
            desired, reported = device.desired.get(slot), device.reported.get(slot)
            wished = desired is not None and desired.deployment == deployment
            under_way = reported is not None and reported.deployment == deployment
            if not wished and desired is not None and under_way:
                newer = f"{desired.bundle} {desired.version} by {shown(desired.by) or 'somebody'}, deployment {desired.deployment}"
                yield Part(device, slot, None, f"left alone: it has been given something newer, {newer}")
            elif wished or under_way:
                yield _part(device, slot, reported, digest=desired.digest if desired is not None else None, under_way=under_way)


def _part(device: Device, slot: str, reported: Reported | None, *, digest: str | None, under_way: bool) -> Part:
    if reported is None or reported.current is None:
        return Part(device, slot, None, "it has not reported what it serves, so that there is nothing to go back to")
    took = reported.current.digest == digest if digest is not None else under_way and reported.state in TOOK
    if not took:
        return Part(device, slot, reported.current, None)
    if reported.previous is None:
        way_out = f"deploy another version to it, or: edge-fleet cmd factory --device {device.name} slot={slot}"
        return Part(device, slot, None, f"it has no previous bundle: {way_out}")
    return Part(device, slot, reported.previous, None)


def _stem(deployment: str) -> str:
    """The deployment's id without its instant and what follows."""
    return deployment.rsplit("-", 2)[0].removeprefix("rollback-of-")


def _wishes(order: Order, parts: list[Part]) -> tuple[list[Wish], list[str]]:
    wishes, problems = [], []
    for part in parts:
        if part.back_to is None:
            problems.append(f"{shown(part.device.name)}, slot {shown(part.slot)}: {part.problem}")
            continue
        try:
            wishes.append(order.wish(part.device, part.slot, part.back_to))
        except AgentError as error:
            problems.append(str(error))
    return wishes, problems


def _print(args: argparse.Namespace, order: Order, wishes: list[Wish], parts: list[Part]) -> None:
    if args.json:
        data = {
            "deployment": order.deployment,
            "published": not args.dry_run,
            "wishes": [{"device": wish.device, "slot": wish.slot, "desired": wish.desired} for wish in wishes],
            "without": [{"device": part.device.name, "slot": part.slot, "why": part.problem} for part in parts if part.problem],
        }
        print(msgspec.json.format(msgspec.json.encode(data)).decode())
        return
    online = {part.device.name: part.device.online for part in parts}
    for wish in wishes:
        late = "" if online[wish.device] else "; offline: it gets the wish when it connects"
        print(f"{shown(wish.device)}: slot {shown(wish.slot)} back to {wish.desired.bundle} {wish.desired.version}{late}")
    many = f"{len(wishes)} of {len(parts)}"
    if args.dry_run:
        print(f"would be taken back: {args.deployment} on {many}")
    elif wishes:
        print(f"deployment {order.deployment}: takes {args.deployment} back on {many}")
        print(f"to see how it goes: edge-fleet status --deployment {order.deployment} --watch")
