"""docs/asyncapi.yaml is what the code writes, says what docs/mqtt.md says, and its examples fit its schemas."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.publish.asyncapi import asyncapi, main
from agent.publish.messages import Event
from agent.publish.schema import SCHEMAS

DOCS = Path(__file__).parents[3] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


ACTIONS = {"D": "send", "C": "receive"}
ROOTS = {"send": "{prefix}/v1/{device}/", "receive": "{prefix}-ctl/v1/{device}/"}


def at(reference: str) -> Any:
    """What a reference points to."""
    found: Any = DOCUMENT
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def references(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [tree["$ref"]] if "$ref" in tree else [found for value in tree.values() for found in references(value)]
    return [found for value in tree for found in references(value)] if isinstance(tree, list) else []


def schema_of(name: str) -> dict[str, Any]:
    return {"$schema": "http://json-schema.org/draft-07/schema#", **MESSAGES[name]["payload"], "components": DOCUMENT["components"]}


def test_the_file_is_current(tmp_path: Path) -> None:
    assert asyncapi((DOCS / "mqtt.md").read_text()) == DOCUMENT, "run: python -m agent.publish.asyncapi docs"
    (tmp_path / "mqtt.md").write_text((DOCS / "mqtt.md").read_text())
    main(tmp_path)
    assert (tmp_path / "asyncapi.yaml").read_text() == (DOCS / "asyncapi.yaml").read_text()


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)
    assert len(found) > 20
    assert [reference for reference in found if at(reference) is None] == []


def test_the_channels_are_those_of_the_guide() -> None:
    """Topic, retained and QoS, as the table of docs/mqtt.md has them."""
    rows = re.findall(r"^\| `([DC])/(\S+)` \| (yes|no) \| (\d) \|", (DOCS / "mqtt.md").read_text(), re.MULTILINE)
    guide = {(ACTIONS[root], topic.partition("/")[0], retained == "yes", int(qos)) for root, topic, retained, qos in rows}
    described = set()
    for operation in DOCUMENT["operations"].values():
        channel, binding = at(operation["channel"]["$ref"]), operation["bindings"]["mqtt"]
        assert channel["address"].startswith(ROOTS[operation["action"]])
        assert set(channel["parameters"]) == set(re.findall(r"\{(\w+)\}", channel["address"]))
        described.add((operation["action"], channel["address"].split("/")[3], binding["retain"], binding["qos"]))
    assert described == guide
    assert len(DOCUMENT["channels"]) == len(rows)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(schema_of(name))
    assert "prefixItems" not in json.dumps(schema_of(name))
    for reference in references(schema_of(name)):
        assert at(reference)


@pytest.mark.parametrize("name", [name for name, message in MESSAGES.items() if "examples" in message])
def test_the_examples_fit(name: str) -> None:
    validator = jsonschema.Draft7Validator(schema_of(name))
    for example in MESSAGES[name]["examples"]:
        validator.validate(example["payload"])
        assert not validator.is_valid({**example["payload"], "v": 2} if "v" in example["payload"] else {})


def test_each_kind_of_message_has_an_example() -> None:
    shown = {name for name, message in MESSAGES.items() if "examples" in message}
    assert {"DetectResult", "Health", "Info", "SourceStatus", "PipelineState", Event.__name__} <= shown
    assert len(shown) >= len(SCHEMAS)


def test_boxes_keep_their_four_numbers() -> None:
    validator = jsonschema.Draft7Validator(schema_of("DetectResult"))
    message = MESSAGES["DetectResult"]["examples"][0]["payload"]
    for box in ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 1.4]):
        assert not validator.is_valid({**message, "detections": [{**message["detections"][0], "box": box}]})
