"""edge-fleet forget: clear what the broker keeps of a device that is no more."""

import argparse
from typing import TYPE_CHECKING

from agent.errors import BrokerError, UsageError
from agent.fleet.broker import Desk, access_of, add_broker_options
from agent.fleet.values import device, shown
from agent.publish.outgoing import Publication
from agent.publish.topics import Topics

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet forget gate-03 --mqtt broker.example

Wishes for the device go, so that nobody who comes with its name gets them. What the device itself has written goes where the broker
lets you clear it: docs/acl/mosquitto.acl does not let operators.

exit status: 0 no wish is left, 1 the broker did not clear one, or the device is online, 2 wrong usage"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "forget",
        help="clear what the broker keeps of a device",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", metavar="DEVICE", type=device, help="its id")
    parser.add_argument("--force", action="store_true", help="also when it is online: it writes its own topics again then")
    add_broker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Clear the topics and say which are left; 1 where a wish is."""
    access = access_of(args)
    control, own = f"{access.prefix}-ctl/v1/{args.device}", f"{access.prefix}/v1/{args.device}"
    filters = (f"{control}/#", f"{own}/#")
    with Desk(access) as desk:
        before = _kept(desk, filters)
        if not before:
            raise UsageError(f"{desk.broker} has nothing of a device {args.device}; edge-fleet status says which there are")
        if before.get(Topics(access.prefix, args.device).availability) == b"online" and not args.force:
            raise BrokerError(f"{args.device} is online, and would write again what is cleared: stop it first, or say --force")
        desk.publish([Publication(topic, b"", 1, retain=True) for topic in sorted(before)])
        left = _kept(desk, filters)
    for topic in sorted(before.keys() - left):
        print(f"cleared {shown(topic)}")
    for topic in sorted(left):
        print(f"left    {shown(topic)}")
    if any(topic.startswith(f"{own}/") for topic in left):
        print(f"what is left under {own} only a user may clear whom the broker's access list lets write there")
    return 1 if any(topic.startswith(f"{control}/") for topic in left) else 0


def _kept(desk: Desk, filters: tuple[str, ...]) -> dict[str, bytes]:
    """What the broker has retained: topic to payload."""
    found: dict[str, bytes] = {}

    def take(topic: str, payload: bytes) -> None:
        found[topic] = payload
        if not payload:
            del found[topic]

    desk.retained(filters, take)
    return dict(found)  # `take` goes on to be told
