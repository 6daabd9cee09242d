"""The walk over types: each wrong value is told with its place, and nothing makes it stumble."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from agent.checked import Name, Refused, check, suggest
from agent.document import Document, parse_yaml


class Usb(Struct, tag_field="type", tag="usb", forbid_unknown_fields=True, kw_only=True):
    device: int | str
    size: tuple[int, int] | None = None


class Url(Struct, tag_field="type", tag="url", forbid_unknown_fields=True, kw_only=True):
    url: str
    password: str = ""


@dataclass(frozen=True)
class Options:
    strides: tuple[int, ...] = (8, 16)
    box: Literal["pixels", "off"] | None = None

    def __post_init__(self) -> None:
        if 0 in self.strides:
            raise ValueError("a stride of 0\nmakes no sense")


class Inner(Struct, forbid_unknown_fields=True, kw_only=True):
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    rate: Annotated[float, Meta(gt=0)] | None = None
    tls: bool = False
    version: str = ""
    code: Annotated[str, Meta(pattern="^[A-Z]{4}$")] = "MJPG"
    mode: Literal["on", "off"] = "off"
    format: Literal[1] = 1


class Root(Struct, forbid_unknown_fields=True, kw_only=True):
    needed: int
    sources: dict[Name, Usb | Url] = {}
    inner: Inner | str = ""
    words: Annotated[list[str], Meta(min_length=1)] | None = None
    options: Options = Options()
    anything: Any = None
    old: int = 0


REFUSED: Refused = {(Root, "later"): "not built yet", (Root, "old"): "say needed instead"}


def checked(text: str, **env: str) -> tuple[Root | None, list[str]]:
    problems: list[str] = []
    document = parse_yaml(text, "c.yaml", problems, env)
    assert document is not None
    return check(document, Root, problems, REFUSED), problems


def test_what_is_right_becomes_structs() -> None:
    text = """
needed: 1
sources: {a: {type: usb, device: 0, size: [640, 480]}, b: {type: url, url: rtsp://x}}
inner: {rate: 2, tls: yes, version: "1.10", mode: "on"}
words: [a, b]
options: {strides: [8], box: pixels}
anything: [1, {a: b}]
"""
    root, problems = checked(text)
    assert problems == []
    assert root == Root(
        needed=1,
        sources={"a": Usb(device=0, size=(640, 480)), "b": Url(url="rtsp://x")},
        inner=Inner(rate=2.0, tls=True, version="1.10", mode="on"),
        words=["a", "b"],
        options=Options(strides=(8,), box="pixels"),
        anything=[1, {"a": "b"}],
    )
    assert isinstance(root.inner, Inner)
    assert isinstance(root.inner.rate, float)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ward: [a]", "ward: unknown key; did you mean words?"),
        ("zzz: 1", "zzz: unknown key; known here: needed, sources, inner, words, options, anything"),
        ("later: 1", "later: not built yet"),
        ("old: 1", "old: say needed instead"),
        ("words: []", "words: expected a list of at least 1, got a list of 0"),
        ("words: [a, 1]", 'words[1]: expected text, got 1; put it in quotes: "1"'),
        ("words: [no]", 'words[0]: expected text, got false; put it in quotes: "no"'),
        ("words: a", 'words: expected a list of at least 1, got "a"'),
        ("inner: [1]", "inner: expected a map or text, got a list of 1"),
        ("inner:", "inner: expected a map or text, got nothing"),
        ("inner: {port: 0}", "inner.port: expected an integer from 1 to 65535, got 0"),
        ("inner: {port: '1883'}", 'inner.port: expected an integer from 1 to 65535, got "1883"; write 1883 without quotes'),
        ("inner: {port: 1.5}", "inner.port: expected an integer from 1 to 65535, got 1.5"),
        ("inner: {port: true}", "inner.port: expected an integer from 1 to 65535, got true"),
        ("inner: {rate: 0}", "inner.rate: expected a number above 0, got 0"),
        ("inner: {rate: .nan}", "inner.rate: expected a number above 0, got nan"),
        ("inner: {rate: .inf}", "inner.rate: expected a number above 0, got inf"),
        ("inner: {tls: 'yes'}", 'inner.tls: expected true or false, got "yes"; write true or false without quotes'),
        ("inner: {version: 1.10}", 'inner.version: expected text, got 1.1; put it in quotes: "1.10"'),
        ("inner: {version: 2026-01-02, tls: 5}", "inner.tls: expected true or false, got 5"),
        ('inner: {version: "a\\0b"}', 'inner.version: expected text, got "a\\u0000b"'),
        ("inner: {code: ab}", 'inner.code: expected text that matches ^[A-Z]{4}$, got "ab"'),
        ("inner: {mode: on}", 'inner.mode: expected one of off, on, got true; put it in quotes: "on"'),
        ("inner: {mode: offf}", 'inner.mode: expected one of off, on, got "offf"; did you mean off?'),
        ("inner: {format: 2}", "inner.format: expected 1, got 2"),
        ("inner: {format: 1.0}", "inner.format: expected 1, got 1.0"),
        ("options: {strides: [8, 0]}", "options: a stride of 0 makes no sense"),
        (
            "options: {strides: [8, x], bx: off}",
            'options.strides[1]: expected an integer, got "x"|options.bx: unknown key; did you mean box?',
        ),
        ("sources: {Gate: {type: usb, device: 0}}", "sources.Gate: expected a name of"),
        ("sources: {a: {type: ubs, device: 0}}", 'sources.a.type: expected one of usb, url, got "ubs"; did you mean usb?'),
        ("sources: {a: {tpye: usb}}", "sources.a.type: missing: expected one of usb, url; you wrote tpye"),
        ("sources: {a: {url: rtsp://x}}", "sources.a.type: missing: expected one of usb, url; say type: url"),
        ("sources: {a: {type: usb}}", "sources.a.device: missing: expected an integer or text"),
        ("sources: {a: {type: usb, device: [0]}}", "sources.a.device: expected an integer or text, got a list of 1"),
        (
            "sources: {a: {type: usb, device: 0, size: [1]}}",
            "sources.a.size: expected a list of 2, each an integer, got a list of 1",
        ),
        ("sources: {a: rtsp://x}", 'sources.a: expected a map, got "rtsp://x"'),
        (
            "sources: {a: {type: url, url: rtsp://x, password: 12345}}",
            "sources.a.password: expected text, got something else, which is not shown",
        ),
        ("needed: 99999999999999999999", "needed: expected an integer, got 99999999999999999999"),
    ],
)
def test_each_problem_has_place_value_and_way_out(text: str, line: str) -> None:
    _, problems = checked(text if text.startswith("needed") else f"needed: 1\n{text}")
    place = "c.yaml:1: " if text.startswith("needed") else "c.yaml:2: "
    for problem, expected in zip(problems, line.split("|"), strict=True):
        assert problem.startswith(place + expected)


def test_all_problems_come_at_once_and_the_rest_is_kept() -> None:
    root, problems = checked(
        "needed: 1\nwords: 5\nsources:\n  a: {type: usb}\n  b: {type: usb, device: 0, sizw: 1}\ninner: {port: x, tls: yes}"
    )
    assert [problem.split(": ")[1] for problem in problems] == ["words", "sources.a.device", "sources.b.sizw", "inner.port"]
    assert root is not None
    assert root.sources == {"b": Usb(device=0)}
    assert root.inner == Inner(tls=True)


def test_without_what_is_needed_nothing_is_left() -> None:
    assert checked("words: [a]") == (None, ["c.yaml:1: needed: missing: expected an integer"])
    assert checked("- 1") == (None, ["c.yaml:1: expected a map, got a list of 1"])


def test_what_a_variable_holds_is_not_shown() -> None:
    _, problems = checked("needed: ${HIDDEN}", HIDDEN="hunter2")
    assert problems == ['c.yaml:1: needed: expected an integer, got "${HIDDEN}"']
    _, problems = checked("needed: '${NUMBER}'", NUMBER="123")
    assert problems == ['c.yaml:1: needed: expected an integer, got "${NUMBER}"; write ${NUMBER} without quotes']


def test_a_suggestion_only_where_something_is_near() -> None:
    assert suggest("gaet", ["gate", "bench"]) == "; did you mean gate?"
    assert suggest("xyz", ["gate", "bench"]) == ""


keys = (
    st.sampled_from(["needed", "sources", "inner", "words", "options", "type", "device", "url", "port", "strides", "box"])
    | st.text()
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(), inner, max_size=4), max_leaves=20
)


@given(values | st.fixed_dictionaries({"needed": st.just(1)}, optional=dict.fromkeys(("sources", "inner", "options"), values)))
def test_any_data_gives_a_value_or_problems(value: object) -> None:
    problems: list[str] = []
    root = check(Document(value), Root, problems, REFUSED)
    assert problems or isinstance(root, Root)
    assert all("\n" not in problem for problem in problems)
    "\n".join(problems).encode()
