"""Writes docs/asyncapi.yaml, which describes topics and messages for programs: python -m agent.publish.asyncapi docs

AsyncAPI 3.0.0, with the examples of docs/mqtt.md. See asyncapi/spec, spec/asyncapi.md, and asyncapi/bindings, mqtt/README.md.
"""

import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from agent.publish.connection import SESSION_EXPIRY_S
from agent.publish.messages import AnyResult, Event, EventKind, Health, Info, PipelineState, SourceStatus
from agent.publish.mqtt import WILL_DELAY_S
from agent.publish.orders import Command, Desired, Reply, Reported
from agent.publish.schema import SCHEMAS, schemas_of
from agent.publish.topics import Topics

HEAD = "# Written by python -m agent.publish.asyncapi docs; see docs/mqtt.md for the same in words.\n"
COMPONENTS = "#/components/schemas/"
TOPICS = Topics("{prefix}", "{device}")
PARAMETERS: dict[str, dict[str, Any]] = {
    "prefix": {"description": "`mqtt.topic_prefix` of the device's config.", "default": "edge"},
    "device": {"description": "The device's id, which is its user name and its client id, too."},
    "source": {"description": "A source of the device's config."},
    "pipeline": {"description": "A pipeline of the device's config."},
    "slot": {"description": "A model slot of the device's config."},
    "kind": {"description": "What an event is about.", "enum": list(typing.get_args(EventKind))},
}


class Channel(NamedTuple):
    """A topic with its messages. about: for people; a topic's or a message's own words otherwise."""

    topic: str
    messages: tuple[type, ...]
    qos: int
    retain: bool
    about: str


WRITTEN = {
    "info": Channel(TOPICS.info, (Info,), 1, True, "After the start, and again whenever a model has loaded."),
    "health": Channel(TOPICS.health, (Health,), 1, True, "Every 60 s, and when something changes, at most once a second."),
    "source": Channel(TOPICS.source("{source}"), (SourceStatus,), 1, True, str(Topics.source.__doc__)),
    "state": Channel(TOPICS.state("{pipeline}"), (PipelineState,), 1, True, str(Topics.state.__doc__)),
    "results": Channel(TOPICS.results("{pipeline}"), typing.get_args(AnyResult), 0, False, str(Topics.results.__doc__)),
    "events": Channel(TOPICS.events("{kind}"), (Event,), 1, False, str(Topics.events.__doc__)),  # type: ignore[arg-type]  # a parameter
    "reported": Channel(TOPICS.reported("{slot}"), (Reported,), 1, True, str(Topics.reported.__doc__)),
    "replies": Channel(TOPICS.replies, (Reply,), 1, False, "What became of each command."),
}
READ = {
    "desired": Channel(TOPICS.desired("{slot}"), (Desired,), 1, True, str(Topics.desired.__doc__) + " Empty: no wish."),
    "commands": Channel(TOPICS.commands, (Command,), 1, False, "What the device is to do once. A retained one is dropped."),
}
CHANNELS = WRITTEN | READ


def asyncapi(guide: str) -> dict[str, Any]:
    """The document. guide: docs/mqtt.md, whose messages are the examples."""
    kinds = [kind for channel in CHANNELS.values() for kind in channel.messages]
    _, schemas = schemas_of(kinds, COMPONENTS)
    examples = dict(_examples(guide))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edge-agent",
            "version": "1.0.0",
            "description": "What a device publishes, and what it is told. Ignore what is unknown: a later agent may add it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server("mqtt", "1883", "userPassword"), "broker-tls": _server("secure-mqtt", "8883", "certificate")},
        "channels": {
            "availability": _availability(),
            "snapshots": _snapshots(),
            **{name: _channel(channel) for name, channel in CHANNELS.items()},
        },
        "operations": {
            "sendAvailability": _operation("send", "availability", 1, retain=True),
            "sendSnapshots": _operation("send", "snapshots", 1, retain=False),
            **{f"send{name.capitalize()}": _operation("send", name, one.qos, retain=one.retain) for name, one in WRITTEN.items()},
            **{
                f"receive{name.capitalize()}": _operation("receive", name, one.qos, retain=one.retain) for name, one in READ.items()
            },
        },
        "components": {
            "messages": {kind.__name__: _message(kind, examples.get(kind)) for kind in kinds},
            "schemas": {name: _draft_7(schema) for name, schema in schemas.items()},
            "parameters": PARAMETERS,
            "securitySchemes": {
                "userPassword": {"type": "userPassword", "description": "The user name is the device's id."},
                "certificate": {"type": "X509", "description": "The certificate's common name is the device's id."},
            },
        },
    }


def _server(protocol: str, port: str, security: str) -> dict[str, Any]:
    will = {"topic": TOPICS.availability, "qos": 1, "message": "offline", "retain": True}
    session = {"clientId": "{device}", "cleanSession": False, "lastWill": will, "sessionExpiryInterval": SESSION_EXPIRY_S}
    return {
        "host": "{host}:{port}",
        "protocol": protocol,
        "protocolVersion": "5",
        "description": "MQTT 3.1.1 works, too, with a clean session.",
        "variables": {"host": {"default": "localhost"}, "port": {"default": port}},
        "security": [{"$ref": f"#/components/securitySchemes/{security}"}],
        "bindings": {"mqtt": session},
    }


def _availability() -> dict[str, Any]:
    return {
        "address": TOPICS.availability,
        "description": f"Whether the device is there. Where it vanishes, the broker says offline for it, {WILL_DELAY_S} s later.",
        "parameters": _parameters(TOPICS.availability),
        "messages": {
            "Availability": {"contentType": "text/plain", "payload": {"type": "string", "enum": ["online", "offline"]}},
        },
    }


def _snapshots() -> dict[str, Any]:
    topic = TOPICS.snapshot("{pipeline}")
    return {
        "address": topic,
        "description": Topics.snapshot.__doc__,
        "parameters": _parameters(topic),
        "messages": {"Snapshot": {"contentType": "image/jpeg", "payload": {"type": "string", "format": "binary"}}},
    }


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "address": channel.topic,
        "description": channel.about,
        "parameters": _parameters(channel.topic),
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in channel.messages},
    }


def _parameters(topic: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/parameters/{name}"} for name in re.findall(r"\{(\w+)\}", topic)}


def _operation(action: str, channel: str, qos: int, *, retain: bool) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"mqtt": {"qos": qos, "retain": retain}},
    }


def _message(kind: type, examples: list[Any] | None) -> dict[str, Any]:
    return {
        "title": kind.__name__,
        "summary": inspect.getdoc(kind),
        "payload": {"$ref": COMPONENTS + kind.__name__},
        **({"examples": [{"payload": example} for example in examples]} if examples else {}),
    }


def _examples(guide: str) -> Iterator[tuple[type, list[Any]]]:
    """The messages that stand in the guide, each below a heading that names its schema."""
    for name, section in re.findall(r"^### .*?\(schema/(\w+)\.json\)$(.*?)(?=^##)", guide, re.DOTALL | re.MULTILINE):
        blocks = re.findall(r"^```json\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        decoded = [(type(msgspec.json.decode(block, type=SCHEMAS[name])), json.loads(block)) for block in blocks]
        for kind in dict.fromkeys(kind for kind, _ in decoded):
            yield kind, [message for other, message in decoded if other is kind]


def _draft_7(schema: Any) -> Any:
    """The schema in draft 7 of JSON Schema, which AsyncAPI's own is based on: a tuple's items have another name there."""
    if isinstance(schema, list):
        return [_draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _draft_7(value) for key, value in schema.items()}
    if "prefixItems" in converted:
        converted |= {"items": converted.pop("prefixItems"), "additionalItems": False}
    return converted


class _Dumper(yaml.SafeDumper):
    """Repeats what occurs twice, instead of pointing to it."""

    ignore_aliases: Callable[..., bool] = lambda *_: True


def main(folder: Path) -> None:
    """Write asyncapi.yaml into the folder that has mqtt.md."""
    document = asyncapi((folder / "mqtt.md").read_text())
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    (folder / "asyncapi.yaml").write_text(HEAD + text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
