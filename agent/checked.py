"""What people wrote, checked against msgspec Structs and dataclasses: every problem at once, with its place and a way out.

msgspec itself stops at the first error and names only the parent of an unknown key; hence a walk of our own over the description
of the types that `msgspec.inspect` gives. Problems are lines, appended to a list that the caller gives.
"""

import difflib
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec.inspect as mi
from msgspec import Meta

from agent.document import MAX_SHOWN, REPORTED, Document, Keys, line, show

T = TypeVar("T")
Sized = mi.ListType | mi.VarTupleType | mi.DictType | mi.StrType
Refused = Mapping[tuple[Any, str], str]  # (class, key) to what to say of it

END = r"$(?!\n)"  # of a text: Python's $ alone also matches before a line's end
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
Name = Annotated[
    str,
    Meta(pattern=f"^{NAME.pattern}{END}", description="a name of a-z, 0-9, _ and -, beginning with a letter or digit, 63 at most"),
]
Version = Annotated[
    str,
    Meta(
        # semver.org, without build metadata
        pattern=r"^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?" + END,
        description='a semantic version in quotes, such as "1.0.0"',
    ),
]

_SECRET = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_KINDS: dict[type, str] = {
    mi.NoneType: "nothing",
    mi.BoolType: "bool",
    mi.IntType: "number",
    mi.FloatType: "number",
    mi.StrType: "text",
    mi.ListType: "list",
    mi.TupleType: "list",
    mi.VarTupleType: "list",
    mi.DictType: "map",
    mi.StructType: "map",
    mi.DataclassType: "map",
}


def check(document: Document, type_: type[T], problems: list[str], refused: Refused | None = None, under: Keys = ()) -> T | None:
    """The document's data as `type_`. What is wrong becomes a problem and is left out; None where too little remains.

    type_: a msgspec Struct or a dataclass. refused: what to say of a key of a class. under: the path of the data in its file.
    """
    value = _Walk(document, problems, refused or {}).value(mi.type_info(type_), document.data, under)
    return None if value is REPORTED else value


def suggest(word: object, known: Collection[str]) -> str:
    """A phrase that names the known word nearest to a misspelt one, or nothing."""
    near = difflib.get_close_matches(word[:MAX_SHOWN], known, n=1) if isinstance(word, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def suggest_file(path: Path) -> str:
    """As `suggest`, for a file that is not there: the nearest name beside it."""
    try:
        return suggest(path.name, os.listdir(path.parent))  # noqa: PTH208  names are wanted, not paths
    except OSError:
        return ""


class _Walk:
    def __init__(self, document: Document, problems: list[str], refused: Refused) -> None:
        self._document = document
        self._problems = problems
        self._refused = refused

    def value(self, info: mi.Type, data: Any, keys: Keys) -> Any:  # noqa: C901, PLR0911  one case a type is the clearest
        """`data` as `info` describes it, or REPORTED."""
        match info:
            case _ if data is REPORTED:
                return REPORTED
            case mi.UnionType():
                return self._union(info, data, keys)
            case _ if not _fits(info, data):
                return self._wrong(info, data, keys)
            case mi.Metadata():
                return self.value(info.type, data, keys)
            case mi.StructType() if info.tag_field:
                return self._tagged({str(info.tag): info}, data, keys)
            case mi.StructType() | mi.DataclassType():
                return self._fields(info, data, keys)
            case mi.DictType():
                return self._dict(info, data, keys)
            case mi.TupleType():
                return self._items(info.item_types, data, keys, tuple)
            case mi.VarTupleType():
                return self._items((info.item_type,) * len(data), data, keys, tuple)
            case mi.ListType():
                return self._items((info.item_type,) * len(data), data, keys, list)
            case mi.FloatType():
                return float(data)
        return data

    def _union(self, info: mi.UnionType, data: Any, keys: Keys) -> Any:
        structs = {str(t.tag): t for t in info.types if isinstance(t, mi.StructType) and t.tag_field}
        if len(structs) > 1 and _kind_of(data) == "map":
            return self._tagged(structs, data, keys)
        fitting = [t for t in info.types if _fits(t, data)] or [t for t in info.types if _kind(t) == _kind_of(data)]
        return self.value(fitting[0], data, keys) if fitting else self._wrong(info, data, keys)

    def _tagged(self, structs: dict[str, mi.StructType], data: Any, keys: Keys) -> Any:
        """A map whose tag field says which struct it is."""
        tag_field = next(iter(structs.values())).tag_field or ""
        names = ", ".join(structs)
        tag = data.get(tag_field, REPORTED)
        if tag is REPORTED:
            able = [tag for tag, info in structs.items() if data.keys() <= {f.encode_name for f in info.fields}]
            near = difflib.get_close_matches(tag_field, data, n=1)
            hint = f"; you wrote {near[0]}" if near else f"; say {tag_field}: {able[0]}" if len(able) == 1 else ""
            return self._report((*keys, tag_field), f"missing: expected one of {names}{hint}")
        if not isinstance(tag, str) or tag not in structs:
            return self._report((*keys, tag_field), f"expected one of {names}, got {show(tag)}{suggest(tag, structs)}")
        return self._fields(structs[tag], data, keys)

    def _fields(self, info: mi.StructType | mi.DataclassType, data: Any, keys: Keys) -> Any:
        tag_field = info.tag_field if isinstance(info, mi.StructType) else None
        fields = {f.encode_name: f for f in info.fields if (info.cls, f.encode_name) not in self._refused}
        values: dict[str, Any] = {}
        for key, item in data.items():
            if (info.cls, key) in self._refused:
                self._report((*keys, key), self._refused[info.cls, key])
            elif key in fields:
                values[fields[key].name] = self.value(fields[key].type, item, (*keys, key))
            elif key != tag_field:
                self._report((*keys, key), f"unknown key{suggest(key, fields) or '; known here: ' + ', '.join(fields)}")
        for name, f in fields.items():
            if f.required and name not in data:
                self._report((*keys, name), f"missing: expected {expected(f.type)}")
        good = {name: value for name, value in values.items() if value is not REPORTED}
        if any(f.required and f.name not in good for f in info.fields):
            return REPORTED
        try:
            return info.cls(**good)
        except (TypeError, ValueError) as error:
            return self._report(keys, str(error))

    def _dict(self, info: mi.DictType, data: Any, keys: Keys) -> Any:
        pairs = [
            (self.value(info.key_type, key, (*keys, key)), self.value(info.value_type, data[key], (*keys, key))) for key in data
        ]
        return {key: value for key, value in pairs if key is not REPORTED and value is not REPORTED}

    def _items(self, types: tuple[mi.Type, ...], data: Any, keys: Keys, made: type) -> Any:
        values = [self.value(t, item, (*keys, i)) for i, (t, item) in enumerate(zip(types, data, strict=True))]
        return REPORTED if any(value is REPORTED for value in values) else made(values)

    def _wrong(self, info: mi.Type, data: Any, keys: Keys) -> Any:
        written = self._document.written(keys)
        if any(isinstance(key, str) and _SECRET.search(key) for key in keys):
            got, hint = "something else, which is not shown", ""
        else:
            got, hint = show(written if "${" in written else data), _hint(info, data, written or str(data))
        return self._report(keys, f"expected {expected(info)}, got {got}{hint}")

    def _report(self, keys: Keys, message: str) -> Any:
        self._problems.append(self._document.problem(keys, message))
        return REPORTED


def _kind(info: mi.Type) -> str:
    """The kind of YAML value that a type takes."""
    if isinstance(info, mi.Metadata):
        return _kind(info.type)
    return _kind_of(info.values[0]) if isinstance(info, mi.LiteralType) else _KINDS.get(type(info), "any")


def _kind_of(data: object) -> str:  # noqa: PLR0911  one case a kind is the clearest
    match data:
        case None:
            return "nothing"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case dict() if all(isinstance(key, str) for key in data):
            return "map"
    return "other"


def _fits(info: mi.Type, data: Any) -> bool:  # noqa: C901, PLR0911  one case a type is the clearest
    """Whether `data` itself, whatever it contains, is what `info` describes."""
    match info:
        case mi.AnyType():
            return True
        case mi.Metadata():
            return _fits(info.type, data)
        case mi.UnionType():
            return any(_fits(t, data) for t in info.types)
        case _ if _kind(info) != _kind_of(data):
            return False
        case mi.LiteralType():
            return any(data == value and type(data) is type(value) for value in info.values)
        case mi.IntType():
            return isinstance(data, int) and _within(info, data)
        case mi.FloatType():
            return _within(info, data)
        case mi.StrType():
            return (
                _sized(info, data) and not _CONTROL.search(data) and (info.pattern is None or bool(re.search(info.pattern, data)))
            )
        case mi.TupleType():
            return len(data) == len(info.item_types)
        case mi.ListType() | mi.VarTupleType() | mi.DictType():
            return _sized(info, data)
    return True


def _sized(info: Sized, data: str | list[Any] | dict[str, Any]) -> bool:
    return (info.min_length or 0) <= len(data) <= (math.inf if info.max_length is None else info.max_length)


def _within(info: mi.IntType | mi.FloatType, number: float) -> bool:
    return (
        -(1 << 63) <= number < 1 << 63  # what messages between processes can carry; NaN is no number here
        and (info.gt is None or number > info.gt)
        and (info.ge is None or number >= info.ge)
        and (info.lt is None or number < info.lt)
        and (info.le is None or number <= info.le)
    )


def expected(info: mi.Type) -> str:  # noqa: PLR0911  one case a type is the clearest
    """What a type takes, for people."""
    match info:
        case mi.Metadata():
            return str((info.extra_json_schema or {}).get("description") or expected(info.type))
        case mi.UnionType():
            return " or ".join(dict.fromkeys(expected(t) for t in info.types if not isinstance(t, mi.NoneType)))
        case mi.LiteralType():
            values = [value if isinstance(value, str) else json.dumps(value) for value in info.values]
            return f"{'one of ' if len(values) > 1 else ''}{', '.join(values)}"
        case mi.IntType():
            return "an integer" + _range(info)
        case mi.FloatType():
            return "a number" + _range(info)
        case mi.StrType():
            return "text" + (f" that matches {info.pattern}" if info.pattern else "")
        case mi.TupleType():
            return f"a list of {len(info.item_types)}, each {' or '.join(dict.fromkeys(expected(t) for t in info.item_types))}"
        case mi.ListType() | mi.VarTupleType():
            return "a list" + (f" of at least {info.min_length}" if info.min_length else "")
    return {"map": "a map", "bool": "true or false", "nothing": "nothing"}.get(_kind(info), "anything")


def _range(info: mi.IntType | mi.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    bounds = (("above", info.gt), ("at least", info.ge), ("below", info.lt), ("at most", info.le))
    return ",".join(f" {word} {bound}" for word, bound in bounds if bound is not None)


def _hint(info: mi.Type, data: object, written: str) -> str:
    """How to write what was probably meant, `written` being how it was."""
    kinds = {_kind(t): t for t in (info.types if isinstance(info, mi.UnionType) else (info,))}
    if "text" in kinds and isinstance(data, bool | int | float) and _fits(kinds["text"], written):
        return f"; put it in quotes: {show(written)}"
    if not isinstance(data, str):
        return ""
    if "bool" in kinds and data.lower() in ("true", "yes", "on", "false", "no", "off"):
        return "; write true or false without quotes"
    if "number" in kinds and re.fullmatch(r"[+-]?\d+(\.\d+)?", data):
        return f"; write {line(written)} without quotes"
    literal = kinds.get("text")
    return suggest(data, [str(value) for value in literal.values]) if isinstance(literal, mi.LiteralType) else ""
