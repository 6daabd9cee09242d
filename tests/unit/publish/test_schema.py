"""docs/schema is what the code writes, and docs/mqtt.md shows messages that fit it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent.publish.schema import SCHEMAS, json_schema, main

DOCS = Path(__file__).parents[3] / "docs"
# a section's heading ends in the message's schema, and its first JSON block is the message
GUIDE = (DOCS / "mqtt.md").read_text()
EXAMPLES = dict(re.findall(r"^### .*?\(schema/(\w+)\.json\).*?```json\n(.*?)```", GUIDE, re.DOTALL | re.MULTILINE))


def without(tree: Any, name: str) -> Any:
    if isinstance(tree, dict):
        return {key: without(value, name) for key, value in tree.items() if key != name}
    return [without(value, name) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_files_are_current(name: str) -> None:
    written = json.loads((DOCS / f"schema/{name}.json").read_text())
    assert written == json_schema(SCHEMAS[name]), "run: python -m agent.publish.schema docs/schema"


def test_the_command_writes_every_file(tmp_path: Path) -> None:
    main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (DOCS / "schema").iterdir()}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_documented_message_fits(name: str) -> None:
    schema = json.loads((DOCS / f"schema/{name}.json").read_text())
    message = json.loads(EXAMPLES[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(message, schema)
    jsonschema.validate({**message, "field_of_a_later_agent": 1}, schema)


RESULTS = re.findall(r"^```json\n(.*?)```", GUIDE.partition("### State")[0], re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", RESULTS)
def test_results_of_every_task_fit(text: str) -> None:
    jsonschema.validate(json.loads(text), json.loads((DOCS / "schema/result.json").read_text()))


def test_the_guide_shows_how_to_decode_a_mask() -> None:
    (code,) = re.findall(r"^```python\n(import numpy.*?)```", GUIDE, re.DOTALL | re.MULTILINE)
    (result,) = (result for result in map(json.loads, RESULTS) if result["task"] == "segment")
    guide: dict[str, Any] = {}
    exec(code, guide)  # noqa: S102  the guide's own lines
    for segment in result["segments"]:
        assert guide["decode"](segment["mask"]).mean() == segment["area"]


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name not in ("desired", "command")])
def test_what_is_always_written_is_required(name: str) -> None:
    schema = json.loads((DOCS / f"schema/{name}.json").read_text())
    message = json.loads(EXAMPLES[name])
    for field in message:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in message.items() if key != field}, schema)


def test_operators_may_leave_out_what_has_a_default() -> None:
    for name, least in (("desired", {"rev", "deployment", "bundle", "version", "digest"}), ("command", {"id", "op"})):
        schema = json.loads((DOCS / f"schema/{name}.json").read_text())
        message = {key: value for key, value in json.loads(EXAMPLES[name]).items() if key in least}
        jsonschema.validate(message, schema)
        for field in least:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({key: value for key, value in message.items() if key != field}, schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_guide_explains_every_field(name: str) -> None:
    fields = {field for part in json_schema(SCHEMAS[name])["$defs"].values() for field in part["properties"]}
    assert {field for field in fields if not re.search(rf"\b{field}\b", GUIDE)} == set()
