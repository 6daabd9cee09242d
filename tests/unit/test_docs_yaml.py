"""The YAML in the docs and in device_configs is YAML that the agent takes, and the docs explain every key that it takes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.bundles.manifest import Manifest, read_manifest
from agent.bundles.manifest import json_schema as bundle_schema
from agent.checked import check
from agent.config import REFUSED, ConfigFile, json_schema, load_config
from agent.document import parse_yaml

DOCS = Path(__file__).parents[2] / "docs"
FILES = ("path", "bundle", "trust_root", "labels", "ca", "cert", "key_file", "password_file", "model", "source")


def blocks(name: str) -> list[str]:
    found = re.findall(r"^```yaml\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found


def keys(schema: dict[str, Any]) -> set[str]:
    """Every key of every map in a schema."""
    maps = [*schema["$defs"].values(), *schema["$defs"].get("Manifest", {}).get("properties", {}).get("head", {}).get("anyOf", [])]
    return {key for part in maps for key in part.get("properties", {})}


def named(data: object) -> Iterator[str]:
    """The files that a config names."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in FILES and isinstance(value, str) and "://" not in value:
                yield value
            else:
                yield from named(value)


@pytest.mark.parametrize(
    "text", [*blocks("config.md"), *(path.read_text() for path in (DOCS / "../device_configs").glob("*.yaml"))]
)
def test_configs(text: str, tmp_path: Path) -> None:
    env = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "1883") | {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    problems: list[str] = []
    document = parse_yaml(text, "config.md", problems, env)
    assert document is not None
    check(document, ConfigFile, problems, REFUSED)
    assert problems == []
    if isinstance(document.data, dict) and "mqtt" in document.data:
        for name in named({key: document.data[key] for key in document.data if key != "pipelines"}):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("x")
            (tmp_path / name).chmod(0o600)
        (tmp_path / "config.yaml").write_text(text)
        assert load_config(tmp_path / "config.yaml", env).pipelines


@pytest.mark.parametrize("text", blocks("bundles.md"))
def test_bundles(text: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").write_text(text)
    manifest, _ = read_manifest(tmp_path / "bundle.yaml")
    assert isinstance(manifest, Manifest)


@pytest.mark.parametrize(("name", "schema"), [("config.md", json_schema()), ("bundles.md", bundle_schema())])
def test_every_key_is_explained(name: str, schema: dict[str, Any]) -> None:
    text = (DOCS / name).read_text()
    explained = {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[^\w]+", code)}
    assert keys(schema) - explained == set()
