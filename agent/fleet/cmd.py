"""edge-fleet cmd: have devices do something once."""

import argparse
import secrets
import time
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from agent.checked import suggest
from agent.errors import UsageError
from agent.fleet.broker import Desk, access_of, add_broker_options
from agent.fleet.devices import Device, collect
from agent.fleet.values import add_device_options, pair, seconds, shown
from agent.publish.messages import utc_text
from agent.publish.orders import Command, Operation, Reply
from agent.publish.outgoing import Publication
from agent.publish.topics import Topics

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet cmd pause --device gate-03 pipeline=gate --mqtt broker.example
  edge-fleet cmd resume --select site=lyon pipeline=gate
  edge-fleet cmd cancel --device gate-03 slot=people           the deployment that is under way
  edge-fleet cmd factory --device gate-03 slot=people          back to the model that its config names

A device does only what its config allows: mqtt.commands. Its answer is waited for.

exit status: 0 every device has done it, 1 some refused, failed, are offline or did not answer, 2 wrong usage"""
_REPLY = msgspec.json.Decoder(Reply)


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "cmd",
        help="have devices do something once",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("op", metavar="OP", help=", ".join(get_args(Operation)))
    parser.add_argument("args", nargs="*", type=pair, default=[], metavar="NAME=VALUE", help="what it is to be done to")
    add_device_options(parser, required=True)
    parser.add_argument("--timeout", type=seconds, default=30, metavar="TIME", help="for the answers; %(default)s s")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_broker_options(parser)
    parser.set_defaults(run=run)
    parse = parser.parse_known_args

    def parse_in_any_order(words: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Also takes NAME=VALUE behind an option, which argparse of Python 3.11 leaves over."""
        args, left = parse(words, namespace)
        late = [word for word in left if "=" in word and not word.startswith("-")]
        args.args = [*args.args, *map(pair, late)]
        return args, [word for word in left if word not in late]

    parser.parse_known_args = parse_in_any_order  # type: ignore[assignment,method-assign]


def run(args: argparse.Namespace) -> int:
    """Send the command and wait for the answers; 1 where one is missing or says no."""
    if args.op not in get_args(Operation):
        known = get_args(Operation)
        raise UsageError(f"there is no command {args.op}{suggest(args.op, known) or '; there are ' + ', '.join(known)}")
    with Desk(access_of(args)) as desk:
        devices = collect(desk).chosen(args.device, args.select)
        outcomes = _ask(desk, [device for device in devices if device.online], args)
    for device in devices:
        outcomes.setdefault(device.name, _silent(device, args.timeout))
    done = sum(reply.ok for reply in outcomes.values())
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(outcomes)).decode())
    else:
        for name, reply in sorted(outcomes.items()):
            print(f"{shown(name)}: {_text(reply)}")
        if len(outcomes) > 1:
            print(f"{args.op}: done by {done} of {len(outcomes)} devices")
    return 0 if done == len(outcomes) else 1


def _ask(desk: Desk, devices: list[Device], args: argparse.Namespace) -> dict[str, Reply]:
    """The answers that come in time, by device."""
    if not devices:
        return {}
    topics = {device.name: Topics(desk.prefix, device.name) for device in devices}
    names = {topic.replies: name for name, topic in topics.items()}
    command = Command(
        id=f"{args.op}-{secrets.token_hex(8)}",
        op=args.op,
        args={key: _value(text) for key, text in args.args},
        expires_at=utc_text(time.time_ns() + args.timeout * 1_000_000_000),
    )
    replies: dict[str, Reply] = {}

    def take(topic: str, payload: bytes) -> None:
        try:
            reply = _REPLY.decode(payload)
        except ValueError:  # of another command, perhaps; ours stays without an answer
            return
        if reply.id == command.id and topic in names:
            replies.setdefault(names[topic], reply)

    desk.subscribe(names, take)
    deadline = time.monotonic() + args.timeout
    payload = msgspec.json.encode(command)
    sent = {topic.commands: name for name, topic in topics.items()}
    for topic in desk.publish([Publication(topic, payload, 1, retain=False) for topic in sent]):
        replies[sent[topic]] = Reply(id=command.id, ok=False, error=f"{desk.broker} does not let {desk.user} publish to {topic}")
    desk.listen(lambda: len(replies) == len(devices), deadline)
    return replies


def _silent(device: Device, timeout_s: int) -> Reply:
    """What stands for the answer of a device that gave none."""
    if device.online:
        error = f"no answer within {timeout_s} s"
    elif device.online is None:
        error = "not sent: the broker does not know this device; is the name right?"
    else:
        error = "not sent: the device is offline"
    return Reply(id="none", ok=False, error=error)


def _value(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


def _text(reply: Reply) -> str:
    if not reply.ok:
        return shown(reply.error or "it says no, and not why")
    return f"done, {shown(msgspec.json.encode(reply.data).decode())}" if reply.data else "done"
