"""What the broker has retained of the devices: how they are, what they have, what operators want them to have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from agent.checked import suggest
from agent.errors import UsageError
from agent.fleet.broker import Desk
from agent.fleet.values import shown
from agent.publish.messages import Health, Info
from agent.publish.orders import Desired, Reported, decode_desired

Payload = TypeVar("Payload")

_INFO = msgspec.json.Decoder(Info)
_HEALTH = msgspec.json.Decoder(Health)
_REPORTED = msgspec.json.Decoder(Reported)


@dataclass(slots=True)
class Device:
    """A device. online: None where it has never said. unreadable: topics whose payload is not what this edge-fleet knows.

    desired, reported: by slot.
    """

    name: str
    online: bool | None = None
    info: Info | None = None
    health: Health | None = None
    reported: dict[str, Reported] = field(default_factory=dict)
    desired: dict[str, Desired] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)

    @property
    def labels(self) -> Mapping[str, str]:
        """Of its config; none where it has never said."""
        return {} if self.info is None else self.info.labels


class Fleet:
    """Every device of which the broker has something."""

    def __init__(self, prefix: str) -> None:
        self.devices: dict[str, Device] = {}
        self._written = f"{prefix}/v1/"
        self._control = f"{prefix}-ctl/v1/"
        both = (f"{prefix}/v1/+/{tail}" for tail in ("availability", "info", "health", "models/+/reported"))
        self.filters = (*both, f"{prefix}-ctl/v1/+/models/+/desired")

    def take(self, topic: str, payload: bytes) -> None:
        """Note a message on one of `filters`; an empty one ends what its topic said."""
        root = self._control if topic.startswith(self._control) else self._written
        name, _, what = topic.removeprefix(root).partition("/")
        device = self.devices.setdefault(name, Device(name))
        device.unreadable.discard(topic)
        try:
            self._note(device, what, payload)
        except ValueError:
            device.unreadable.add(topic)

    def chosen(self, names: Sequence[str], labels: Sequence[tuple[str, str]]) -> list[Device]:
        """The devices that --device names, or that have every label of --select; all of them where neither is given.

        One that is named and of which the broker has nothing is new and empty. UsageError where no device has the labels.
        """
        if names:
            return [self.devices.get(name) or Device(name) for name in dict.fromkeys(names)]
        ordered = [self.devices[name] for name in sorted(self.devices)]
        found = [device for device in ordered if all(device.labels.get(key) == value for key, value in labels)]
        if labels and not found:
            wanted = " and ".join(f"{key}={value}" for key, value in labels)
            there = sorted({f"{key}={value}" for device in ordered for key, value in device.labels.items()})
            hint = suggest(wanted, there) or ("; there are " + ", ".join(there[:20]) if there else "; no device here has labels")
            raise UsageError(f"no device has the label {wanted}{shown(hint)}")
        return found

    def _note(self, device: Device, what: str, payload: bytes) -> None:
        if what == "availability":
            device.online = payload == b"online" if payload else None
        elif what == "info":
            device.info = _decoded(payload, _INFO)
        elif what == "health":
            device.health = _decoded(payload, _HEALTH)
        elif what.endswith("/reported"):
            _put(device.reported, _slot(what), _decoded(payload, _REPORTED))
        else:
            _put(device.desired, _slot(what), decode_desired(payload) if payload else None)


def collect(desk: Desk) -> Fleet:
    """What the broker has retained of all devices."""
    fleet = Fleet(desk.prefix)
    desk.retained(fleet.filters, fleet.take)
    return fleet


def _slot(what: str) -> str:
    """`people` of models/people/reported."""
    return what.split("/")[1]


def _decoded(payload: bytes, decoder: msgspec.json.Decoder[Payload]) -> Payload | None:
    return decoder.decode(payload) if payload else None  # its errors are ValueErrors


def _put(table: dict[str, Payload], slot: str, value: Payload | None) -> None:
    if value is None:
        table.pop(slot, None)
    else:
        table[slot] = value
