"""Writes the JSON Schema of each message: python -m agent.publish.schema docs/schema"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from agent.publish.messages import AnyResult, Event, Health, Info, PipelineState, SourceStatus
from agent.publish.orders import Command, Desired, Reply, Reported

READ = ("Desired", "UpdatePolicy", "Command")  # by the agent, which does without what has a default
SCHEMAS: dict[str, Any] = {
    "result": AnyResult,
    "health": Health,
    "info": Info,
    "source": SourceStatus,
    "state": PipelineState,
    "event": Event,
    "desired": Desired,
    "reported": Reported,
    "command": Command,
    "reply": Reply,
}


def json_schema(kind: Any) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a message type; unknown fields are allowed, since a later agent may add some."""
    (schema,), components = schemas_of([kind], "#/$defs/")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "$defs": components}


def schemas_of(kinds: Iterable[Any], place: str) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """A schema of each message type, and what they refer to below `place`."""
    schemas, components = msgspec.json.schema_components(kinds, ref_template=place + "{name}")
    for title, component in components.items():
        # msgspec requires what a reader must find, and may do without fields that have a default; the agent writes those too
        if title not in READ:
            component["required"] += [name for name, field in component["properties"].items() if "default" in field]
    return schemas, components


def main(folder: Path) -> None:
    """Write all of them into `folder`."""
    for name, kind in SCHEMAS.items():
        (folder / f"{name}.json").write_text(json.dumps(json_schema(kind), indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
