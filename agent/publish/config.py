"""The `mqtt:` section."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.publish.orders import Operation


class TlsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ca: PEM file of the authorities to trust, the system's where it is left out. cert, key_file: the client certificate."""

    ca: str | None = None
    cert: str | None = None
    key_file: str | None = None


class MqttConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker. port: 1883, or 8883 with TLS. username: the device id where a password is given without one.

    commands: what operators may do over MQTT; `factory` and `snapshot` only where they are named.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: str | None = None
    tls: TlsConfig | None = None
    topic_prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,63}$")] = "edge"
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    commands: tuple[Operation, ...] = ("pause", "resume", "cancel", "install")
