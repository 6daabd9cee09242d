"""YAML as people write it, by mistake and on purpose."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.document import MAX_BYTES, Document, Origin, dotted, load_yaml, merge, parse_yaml, show


def parsed(text: str, **env: str) -> object:
    problems: list[str] = []
    document = parse_yaml(text, "c.yaml", problems, env)
    assert not problems
    assert document is not None
    return document.data


def problem(text: str, **env: str) -> str:
    """The one problem of a text."""
    problems: list[str] = []
    parse_yaml(text, "c.yaml", problems, env)
    (line,) = problems
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a: 1\nb: [x, 2.5, true, null]", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("on: 1\n5: 2\nnull: 3", {"on": 1, "5": 2, "null": 3}),
        ("a: 2:30\nb: 02:00-05:00\nc: 2026-01-02\nd: =", {"a": "2:30", "b": "02:00-05:00", "c": "2026-01-02", "d": "="}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}", {"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}}),
    ],
)
def test_it_gives_what_was_meant(text: str, data: object) -> None:
    assert parsed(text) == data


def test_variables_are_put_in_before_a_value_gets_its_type() -> None:
    text = "port: ${PORT}\nquoted: '${PORT}'\nurl: rtsp://u:${PW}@h/1\nplain: $${PORT}\nno: $PORT"
    assert parsed(text, PORT="1883", PW="p@ss") == {
        "port": 1883,
        "quoted": "1883",
        "url": "rtsp://u:p@ss@h/1",
        "plain": "${PORT}",
        "no": "$PORT",
    }


def test_without_variables_a_reference_is_text() -> None:
    problems: list[str] = []
    document = parse_yaml("a: ${X}", "c.yaml", problems)
    assert document is not None
    assert document.data == {"a": "${X}"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [b", "c.yaml:1:6: not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "c.yaml:1:5: not YAML: mapping values are not allowed here"),
        (
            "a:\n\tb: 1",
            "c.yaml:2:1: not YAML: while scanning for the next token, found character '\\t' that cannot start any token",
        ),
        ("a: *b", "c.yaml:1:4: not YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "c.yaml:2:1: not YAML: expected a single document in the stream, but found another document"),
        ("a: \x00", "c.yaml: not YAML: special characters are not allowed (character 3)"),
        ("a: {x: 1,\n  y: 2,\n  x: 3}", "c.yaml:3: a.x: duplicate key, first in line 1; keep one of them"),
        ("[1]: 2", "c.yaml:1: a key must be text, not a list or a map"),
        ("a: {<<: 5}", "c.yaml:1: a: << takes an alias of a map, or a list of them"),
        (
            "a: !!python/object:os.system x",
            "c.yaml:1: a: the tag tag:yaml.org,2002:python/object:os.system is not taken here; leave it out",
        ),
        ("a: !!int x", 'c.yaml:1: a: "x" is no int'),
        ("a: ${B}", "c.yaml:1: a: the environment has no variable B"),
        ("a: ${B C}", 'c.yaml:1: a: "${B C}" names no variable; write $${ where ${ itself is meant'),
        ("[" * 100_000, "c.yaml: nested deeper than 32"),
        ("[" * 40 + "]" * 40, "c.yaml:1: nested deeper than 32"),
        ("a: &a [*a]", "c.yaml:1: nested deeper than 32"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)),
            "c.yaml: more than 20000 values, aliases counted as often as they are used",
        ),
        (
            "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30)),
            "c.yaml: more than 20000 values, aliases counted as often as they are used",
        ),
    ],
)
def test_a_mistake_is_one_line(text: str, line: str) -> None:
    assert problem(text) == line


def test_files(tmp_path: Path) -> None:
    good, latin, large = tmp_path / "good.yaml", tmp_path / "latin.yaml", tmp_path / "large.yaml"
    good.write_bytes(b"\xef\xbb\xbfa: caf\xc3\xa9\r\n")
    latin.write_bytes(b"a: caf\xe9")
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    problems: list[str] = []
    document = load_yaml(good, problems)
    assert document is not None
    assert document.data == {"a": "café"}
    for path in (latin, large, tmp_path / "none.yaml", tmp_path):
        assert load_yaml(path, problems) is None
    assert problems == [
        f"{latin}: not UTF-8 text (byte 6)",
        f"{large}: larger than 256 KiB",
        f"{tmp_path / 'none.yaml'}: No such file or directory",
        f"{tmp_path}: Is a directory",
    ]


def test_later_documents_go_over_earlier_ones() -> None:
    first = Document({"a": {"x": 1, "y": [1, 2]}, "b": 1}, {("a", "x"): Origin("1.yaml:1"), ("b",): Origin("1.yaml:2")})
    second = Document({"a": {"y": [3], "z": 4}, "b": {"c": 1}}, {("b",): Origin("2.yaml:1")})
    merged = merge([first, second])
    assert merged.data == {"a": {"x": 1, "y": [3], "z": 4}, "b": {"c": 1}}
    assert merged.problem(("a", "x"), "wrong") == "1.yaml:1: a.x: wrong"
    assert merged.problem(("b", "c"), "wrong") == "2.yaml:1: b.c: wrong"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("rtsp://viewer:pa/ss@word@10.0.0.5/1", '"rtsp://***@10.0.0.5/1"'),
        ("a\nb\x07", '"a\\nb\\u0007"'),
        ("x" * 100, '"' + "x" * 59 + '…"'),
        ("\ud800", '"\\ud800"'),
        ({"a": 1}, "a map"),
        ([1, 2], "a list of 2"),
        (True, "true"),
        (None, "nothing"),
        (1.5, "1.5"),
    ],
)
def test_a_value_is_shown_in_one_safe_line(data: object, shown: str) -> None:
    assert show(data) == shown


def test_paths_read_like_those_of_a_program() -> None:
    assert dotted(("sources", "gate", "size", 1)) == "sources.gate.size[1]"
    assert dotted(("a b", "c")) == '"a b".c'
    assert dotted(()) == ""


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
data = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20)


@given(st.text() | st.text(alphabet="ab:-{}[]&*!<>|#'\"\n \t,?${}%@`~0.e_"))
def test_any_text_gives_data_or_problems(text: str) -> None:
    problems: list[str] = []
    document = parse_yaml(text, "c.yaml", problems, {})
    assert document is not None or problems
    assert all("\n" not in line and line.startswith("c.yaml") for line in problems)
    "\n".join(problems).encode()


@given(data)
def test_any_data_that_yaml_can_write_is_read(value: object) -> None:
    problems: list[str] = []
    parse_yaml(yaml.safe_dump(value, allow_unicode=True), "c.yaml", problems)
    assert all("\n" not in line for line in problems)
