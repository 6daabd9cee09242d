"""The `updates:` section."""

from typing import Annotated

from msgspec import Meta, Struct

Window = Annotated[
    str,
    Meta(
        pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description='a time of day in which models may be switched, such as "02:00-05:00"',
    ),
]


class UpdatesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where models come from, and what must hold before one is switched.

    repository: the address of the published folder, http or https. trust_root: the root.json of that repository, the first that is
    trusted. check_every_h: how often it is looked at. window: of the switch alone, in `timezone`, else in the computer's.
    min_probation_s, min_probation_frames: the least that a new model has to stand; an operator may ask for more. sideload: whether
    a bundle's directory in `sideload` below the agent's state is installed, unsigned. reserve_mb: of the disk, kept free.
    max_temperature_c: of the computer, above which no model is vetted.
    """

    repository: str | None = None
    trust_root: str | None = None
    check_every_h: Annotated[float, Meta(gt=0, le=8760)] = 6.0
    window: Window | None = None
    timezone: str | None = None
    min_probation_s: Annotated[int, Meta(ge=0, le=30 * 86400)] = 600
    min_probation_frames: Annotated[int, Meta(ge=0, le=100_000_000)] = 500
    sideload: bool = False
    reserve_mb: Annotated[int, Meta(ge=0)] = 64
    max_temperature_c: Annotated[float, Meta(gt=0)] = 85.0
