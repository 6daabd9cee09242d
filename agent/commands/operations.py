"""The operations, and what each takes in `args`."""

from typing import get_args

from msgspec import Struct

from agent.checked import Name, Version
from agent.publish.orders import Operation

REMOTE: tuple[str, ...] = get_args(Operation)  # over MQTT, where the config allows it
LOCAL = (*REMOTE, "activate", "rollback", "verify", "list", "reported")  # on the computer itself


class OfPipeline(Struct, frozen=True, forbid_unknown_fields=True):
    """Of pause, resume and snapshot."""

    pipeline: str


class OfSlot(Struct, frozen=True, forbid_unknown_fields=True):
    """Of cancel, factory, rollback and reported."""

    slot: str


class OfBundle(Struct, frozen=True, forbid_unknown_fields=True):
    """Of verify."""

    bundle: Name
    version: Version


class OfInstall(OfSlot, frozen=True, forbid_unknown_fields=True):
    """Of install, and of activate, which takes what is in the store already. force: also what is in quarantine."""

    bundle: Name
    version: Version
    force: bool = False


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """Of list."""


ARGUMENTS: dict[str, type[Struct]] = {
    "pause": OfPipeline,
    "resume": OfPipeline,
    "snapshot": OfPipeline,
    "cancel": OfSlot,
    "factory": OfSlot,
    "install": OfInstall,
    "activate": OfInstall,
    "rollback": OfSlot,
    "verify": OfBundle,
    "list": Nothing,
    "reported": OfSlot,
}
