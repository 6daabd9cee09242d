"""What operators and a device say to one another about models and commands, as it stands in docs/mqtt.md and docs/schema.

Operators: C/models/M/desired and C/cmd. The device: D/models/M/reported and D/replies. Decoding checks everything that comes in;
unknown fields are ignored, since a later desk may send some.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent.checked import END, Name, Version
from agent.publish.messages import At, Count, Message, Milliseconds

MAX_ORDER_BYTES = 16 * 1024
YEAR_2200_MS = 7_258_118_400_000

Operation = Literal["pause", "resume", "cancel", "install", "factory", "snapshot"]
Phase = Literal[
    "idle",
    "accepted",
    "downloading",
    "verified",
    "vetting",
    "staged",
    "switching",
    "probation",
    "committed",
    "rejected",
    "failed",
    "rolled_back",
]
UpdateState = Phase | Literal["deferred"]
DeferReason = Literal["window", "clock", "disk", "memory", "temperature", "spread", "network"]
UpdateErrorCode = Literal[
    # of the wish
    "not_allowed",  # the slot's config does not have this bundle's name
    "conflict",  # one rev with two contents
    "expired",  # not_after has passed
    "quarantined",  # this digest has failed here before
    "no_repository",  # the config names none
    # of the repository
    "untrusted",  # signatures, versions or hashes of its metadata do not hold
    "metadata_expired",
    "clock",  # the device's is not set, so that nothing can be said of expiry
    "not_found",
    "withdrawn",
    "digest_mismatch",  # the wish names another digest than the repository
    # of the download
    "network",
    "too_slow",
    "hash_mismatch",
    "disk_full",
    "disk_error",
    # of the bundle, in vetting or probation
    "bundle_invalid",
    "device_unfit",  # no variant serves here
    "load",
    "crashed",
    "deadline",
    "memory",
    "protocol",  # shapes, counts or numbers that cannot be
    "constant_output",
    "golden_mismatch",
    "latency",
    "fps",
    "dried_up",  # the standby sees what it does not
    # of the deployment
    "superseded",
    "cancelled",
    "too_many_steps",
    "interrupted",  # the agent or the computer ended during probation, more than once
]

Order = TypeVar("Order")
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}" + END, description="sha256 of the bundle's canonical manifest, in hex")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}" + END)]
Who = Annotated[str, Meta(max_length=200)]
Rev = Annotated[int, Meta(ge=0, le=YEAR_2200_MS, description="Unix milliseconds at the desk, never below the last + 1")]


class UpdatePolicy(Struct, frozen=True, kw_only=True):
    """How a deployment goes on. The device's config sets floors below which nothing here goes.

    spread_s: over which devices begin, each at an instant of its own. swap: beside, never without the serving model; replace, the
    serving model ends first; auto, as memory allows. probation_s and probation_frames: both must have passed. force: also a digest
    that is in quarantine here.
    """

    spread_s: Annotated[int, Meta(ge=0, le=7 * 86400)] = 0
    swap: Literal["auto", "beside", "replace"] = "auto"
    probation_s: Annotated[int, Meta(ge=0, le=30 * 86400)] | None = None
    probation_frames: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    force: bool = False


class Desired(Struct, frozen=True, kw_only=True):
    """Which model a slot is to have. Retained; an empty payload means no wish."""

    v: Literal[1] = 1
    rev: Rev
    deployment: Id
    bundle: Name
    version: Version
    digest: Digest
    not_after: At | None = None
    by: Who = ""
    policy: UpdatePolicy = UpdatePolicy()


class Command(Struct, frozen=True, kw_only=True):
    """Something that the device is to do once, if its config allows `op`. Never retained."""

    id: Id
    op: Annotated[str, Meta(max_length=32)]
    args: dict[str, Any] = {}
    expires_at: At | None = None


class Reply(Message, frozen=True, kw_only=True):
    """What became of a command. error: one line, null where ok."""

    id: Id
    ok: bool
    error: str | None = None
    data: dict[str, Any] | None = None


class BundleRef(Struct, frozen=True, kw_only=True):
    """A bundle."""

    name: str
    version: str
    digest: Digest


class CurrentBundle(BundleRef, frozen=True, kw_only=True):
    """The bundle that a slot serves. variant: which of its models, null where it has one. withdrawn: by its publisher."""

    variant: str | None = None
    withdrawn: bool = False


class UpdateFailure(Struct, frozen=True, kw_only=True):
    """Why a deployment did not succeed. detail: one line for people. retryable: the same wish may succeed later."""

    code: UpdateErrorCode
    phase: Phase
    detail: str
    retryable: bool


class Swap(Struct, frozen=True, kw_only=True):
    """The switch. gap_ms: the longest time between two answers across it. frames_lost: at the workers."""

    gap_ms: Milliseconds
    frames_lost: Count


class Reported(Message, frozen=True, kw_only=True):
    """What a slot has, and how its newest deployment goes. Retained.

    rev_seen: the highest that was accepted. rev_applied: of the wish that is fulfilled. target: what the deployment is to bring.
    previous: what a rollback brings back. available: the newest in the repository that this slot may have and does not. deferred:
    what it waits for.
    """

    device: str
    at: At
    rev_seen: Count
    rev_applied: Count
    deployment: str | None
    by: str
    state: UpdateState
    deferred: DeferReason | None
    progress_pct: Annotated[float, Meta(ge=0, le=100)] | None
    current: CurrentBundle | None
    target: BundleRef | None
    previous: BundleRef | None
    available: BundleRef | None
    error: UpdateFailure | None
    swap: Swap | None


_DESIRED = msgspec.json.Decoder(Desired)
_COMMAND = msgspec.json.Decoder(Command)


def decode_desired(payload: bytes) -> Desired:
    """A wish, checked. ValueError, in one line, where it is none."""
    return _decode(payload, _DESIRED)


def decode_command(payload: bytes) -> Command:
    """A command, checked. ValueError, in one line, where it is none."""
    return _decode(payload, _COMMAND)


def _decode(payload: bytes, decoder: "msgspec.json.Decoder[Order]") -> Order:
    if len(payload) > MAX_ORDER_BYTES:
        raise ValueError(f"it has {len(payload)} bytes, more than {MAX_ORDER_BYTES}")
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None
