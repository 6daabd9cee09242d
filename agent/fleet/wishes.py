"""Wishes: one desired a device and slot, published, and read back to see that no other operator's stands there."""

import getpass
import secrets
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from agent.errors import BundleError
from agent.fleet.broker import Desk
from agent.fleet.devices import Device, Fleet
from agent.fleet.values import shown
from agent.publish.orders import YEAR_2200_MS, BundleRef, Desired, UpdatePolicy, decode_desired
from agent.publish.outgoing import Publication
from agent.publish.topics import Topics

MAX_WHO = 200
STEM_LENGTH = 78  # of a deployment's id, which has at most 100


class Wish(NamedTuple):
    """A desired for one slot of one device."""

    device: str
    slot: str
    desired: Desired


class Order(NamedTuple):
    """What all wishes of one deployment share."""

    deployment: str
    by: str
    policy: UpdatePolicy
    not_after: str | None = None

    def wish(self, device: Device, slot: str, bundle: BundleRef) -> Wish:
        """The wish for one device. BundleError where bundle or rev cannot be wished for."""
        desired = Desired(
            rev=next_rev(device, slot),
            deployment=self.deployment,
            bundle=bundle.name,
            version=bundle.version,
            digest=bundle.digest,
            not_after=self.not_after,
            by=self.by,
            policy=self.policy,
        )
        try:
            decode_desired(msgspec.json.encode(desired))
        except ValueError as error:
            raise BundleError(f"{device.name}: {bundle.name} {bundle.version} cannot be wished for: {error}") from None
        return Wish(device.name, slot, desired)


def who() -> str:
    """The operator, as user@host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:MAX_WHO]


def deployment_id(stem: str) -> str:
    """Readable, and unique among operators: people-1.3.0-20261125T003012-3f2a. stem: what is deployed."""
    text = "".join(character if character.isalnum() or character in ".-" else "-" for character in stem)
    return f"{text[:STEM_LENGTH]}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


def next_rev(device: Device, slot: str) -> int:
    """Unix milliseconds, but above every rev that this slot was given or has seen. BundleError where none is left."""
    last = -1
    if slot in device.desired:
        last = device.desired[slot].rev
    if slot in device.reported:
        last = max(last, device.reported[slot].rev_seen)
    rev = max(time.time_ns() // 1_000_000, last + 1)
    if rev > YEAR_2200_MS:
        raise BundleError(f"{device.name}: the last rev of slot {slot} is {last}, which leaves no higher one: its clock was wrong")
    return rev


def publish(desk: Desk, wishes: Sequence[Wish]) -> list[str]:
    """Publish wishes and read them back; a line for each that does not stand. BrokerError where the connection fails."""
    topics = {_topic(desk, wish): wish for wish in wishes}
    refused = desk.publish([Publication(topic, msgspec.json.encode(wish.desired), 1, True) for topic, wish in topics.items()])
    if refused:
        some = f"{refused[0]} and {len(refused) - 1} more" if len(refused) > 1 else refused[0]
        return [f"{desk.broker} does not let {desk.user} publish to {some}: check its access list"]
    standing = Fleet(desk.prefix)
    desk.retained({f"{desk.prefix}-ctl/v1/+/models/{wish.slot}/desired" for wish in wishes}, standing.take)
    if not standing.devices:
        rights = f"may {desk.user} write and read {desk.prefix}-ctl/v1/#?"
        return [f"{desk.broker} gives nothing of what was published back: {rights} See docs/acl/mosquitto.acl"]
    return [problem for wish in wishes if (problem := _conflict(wish, standing))]


def _topic(desk: Desk, wish: Wish) -> str:
    return Topics(desk.prefix, wish.device).desired(wish.slot)


def _conflict(wish: Wish, standing: Fleet) -> str | None:
    device = standing.devices.get(wish.device)
    other = None if device is None else device.desired.get(wish.slot)
    if other == wish.desired:
        return None
    if other is None:
        return f"{wish.device}: the wish does not stand: another operator has cleared it, or the broker does not keep it"
    return (
        f"{wish.device}: another operator's wish stands there: {other.bundle} {other.version} by {shown(other.by) or 'somebody'} "
        f"(deployment {other.deployment}, rev {other.rev}; yours {wish.desired.rev}): agree with them, and deploy again"
    )
