"""YAML files that people write: plain data, with the place where each value was written.

Against PyYAML's habits: duplicate keys are refused, keys are text, dates and sexagesimal numbers stay text, and what a file can
make of a process is bounded. Problems are lines, appended to a list that the caller gives.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Keys = tuple[str | int, ...]
REPORTED: Any = object()  # stands in data for a value whose problem has been reported

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000  # aliases counted as often as they are used
MAX_DEPTH = 32
MAX_SHOWN = 60

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("null", "bool", "int", "float", "str")}
_AS_TEXT = {_TAG + name for name in ("timestamp", "value", "merge")}
_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USERINFO = re.compile(r"(?<=://)\S*@|^(?!\S*://)\S*:\S*@")  # to the last @: a password may hold anything


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written, `file:line`, and a scalar as it was written there."""

    place: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Data as YAML gave it, and where each value came from."""

    data: object
    origins: dict[Keys, Origin] = field(default_factory=dict)

    def written(self, keys: Keys) -> str:
        """A scalar as it stands in the file, empty for anything else."""
        return self.origins[keys].text if keys in self.origins else ""

    def problem(self, keys: Keys, message: str) -> str:
        """One line: the place of the nearest thing that was written, the path, the message."""
        prefixes = (keys[:n] for n in range(len(keys), -1, -1))
        place = next((self.origins[prefix].place for prefix in prefixes if prefix in self.origins), "")
        return line(place, dotted(keys), message)


def load_yaml(path: Path, problems: list[str], env: Mapping[str, str] | None = None) -> Document | None:
    """Read a YAML file of at most `MAX_BYTES`. None, and a problem, where nothing of it can be used."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        problems.append(line(str(path), os.strerror(error.errno or 0)))
        return None
    except UnicodeDecodeError as error:
        problems.append(line(str(path), f"not UTF-8 text (byte {error.start})"))
        return None
    if len(raw) > MAX_BYTES:
        problems.append(line(str(path), f"larger than {MAX_BYTES // 1024} KiB"))
        return None
    return parse_yaml(text, str(path), problems, env)


def parse_yaml(text: str, name: str, problems: list[str], env: Mapping[str, str] | None = None) -> Document | None:
    """Parse one YAML document; an empty one is an empty map. None, and a problem, where it is no YAML.

    env: where given, `${NAME}` in a scalar is replaced by its variable before YAML gives the scalar a type; `$${` stands for `${`.
    """
    try:
        # Not CSafeLoader: libyaml's composer recurses in C without a limit, so that a file of "[[[[…" crashes the process.
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        builder = _Builder(loader, name, problems, env)
        data = None if node is None else builder.build(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problems.append(line(place, "not YAML", ", ".join(part for part in (error.context, error.problem) if part)))
    except yaml.reader.ReaderError as error:
        problems.append(line(name, "not YAML", f"{error.reason} (character {error.position})"))
    except RecursionError:
        problems.append(line(name, f"nested deeper than {MAX_DEPTH}"))
    except _TooMuchError as error:
        problems.append(str(error))
    else:
        return Document({} if data is None else data, builder.origins)
    return None


class _TooMuchError(Exception):
    """The document is larger than anything that a person writes."""


class _Builder:
    """Plain data from YAML nodes, and the origin of each value."""

    def __init__(self, loader: yaml.SafeLoader, name: str, problems: list[str], env: Mapping[str, str] | None) -> None:
        self._loader = loader
        self._name = name
        self._problems = problems
        self._env = env
        self._nodes = 0
        self.origins: dict[Keys, Origin] = {(): Origin(name)}

    def build(self, node: yaml.Node, keys: Keys) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooMuchError(line(self._name, f"more than {MAX_NODES} values, aliases counted as often as they are used"))
        if len(keys) > MAX_DEPTH:
            raise _TooMuchError(line(self._place(node), f"nested deeper than {MAX_DEPTH}"))
        self.origins[keys] = Origin(self._place(node), node.value if isinstance(node, yaml.ScalarNode) else "")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, keys)
            case yaml.SequenceNode():
                return [self.build(item, (*keys, i)) for i, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, keys)
        return None

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, object]:
        merged: dict[str, object] = {}
        own: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged = self._merged(value_node, keys) | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, keys, "a key must be text, not a list or a map")
                continue
            key = key_node.value
            if key in own:
                self._problem(key_node, (*keys, key), f"duplicate key, first in line {lines[key]}; keep one of them")
                continue
            lines[key] = key_node.start_mark.line + 1
            own[key] = self.build(value_node, (*keys, key))
        return merged | own

    def _merged(self, node: yaml.Node, keys: Keys) -> dict[str, object]:
        """What the maps behind `<<` give, the first of a list over those after it."""
        merged: dict[str, object] = {}
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(part, yaml.MappingNode):
                self._nodes += 1  # an alias of an empty map costs nothing else
                merged = self._mapping(part, keys) | merged
            else:
                self._problem(part, keys, "<< takes an alias of a map, or a list of them")
        return merged

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> object:
        value, tag, plain = node.value, node.tag, node.style is None
        if self._env is not None and "${" in value:
            problems = len(self._problems)
            value = self._expand(node, keys, self._env)
            if len(self._problems) > problems:
                return REPORTED
            if plain:
                tag = self._loader.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        if tag in _AS_TEXT or (plain and tag in _SCALARS and ":" in value):  # 2:30 would be 150
            return value
        if tag not in _SCALARS:
            self._problem(node, keys, f"the tag {tag} is not taken here; leave it out")
            return REPORTED
        try:
            return self._loader.construct_object(yaml.ScalarNode(tag, value))
        except (ValueError, KeyError):
            self._problem(node, keys, f"{show(value)} is no {tag.removeprefix(_TAG)}")
            return REPORTED

    def _expand(self, node: yaml.ScalarNode, keys: Keys, env: Mapping[str, str]) -> str:
        def replacement(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return "${" + name + "}"
            if not _VARIABLE.fullmatch(name):
                self._problem(node, keys, f"{show(match[0])} names no variable; write $${{ where ${{ itself is meant")
            elif name not in env:
                self._problem(node, keys, f"the environment has no variable {name}")
            return env.get(name, "")

        return _REFERENCE.sub(replacement, node.value)

    def _problem(self, node: yaml.Node, keys: Keys, message: str) -> None:
        self._problems.append(line(self._place(node), dotted(keys), message))

    def _place(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"


def merge(documents: Iterable[Document]) -> Document:
    """Documents over one another: maps merge, anything else of a later one wins."""
    data: object = {}
    origins: dict[Keys, Origin] = {}
    for document in documents:
        data = _over(data, document.data)
        origins |= document.origins
    return Document(data, origins)


def _over(base: object, later: object) -> object:
    if not isinstance(base, dict) or not isinstance(later, dict):
        return later
    return base | {key: _over(base[key], value) if key in base else value for key, value in later.items()}


def line(*parts: str) -> str:
    """The parts that are not empty, joined by colons into one line."""
    return " ".join(": ".join(part for part in parts if part).encode("utf-8", "backslashreplace").decode().split())


def dotted(keys: Keys) -> str:
    """A path for people: sources.gate.url, golden[0].iou."""
    return "".join(_steps(keys)).removeprefix(".")


def _steps(keys: Keys) -> Iterator[str]:
    for key in keys:
        if isinstance(key, int):
            yield f"[{key}]"
        else:
            yield f".{key}" if re.fullmatch(r"[\w-]{1,63}", key) else f".{show(key)}"


def show(data: object) -> str:
    """A value in one line: shortened, control characters escaped, the user and password of a URL masked."""
    if isinstance(data, str):
        text = _USERINFO.sub("***@", data)
        return line(json.dumps(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…", ensure_ascii=False))
    if isinstance(data, dict):
        return "a map"
    if isinstance(data, list):
        return f"a list of {len(data)}"
    return "nothing" if data is None else json.dumps(data) if isinstance(data, bool) else line(repr(data))[:MAX_SHOWN]
