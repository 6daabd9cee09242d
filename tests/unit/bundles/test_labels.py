"""Label lists as people have them."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bundles.labels import parse_labels, read_labels
from agent.errors import BundleError


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("person\nbicycle\n", ("person", "bicycle")),
        ("person\r\ntraffic light\r\n\r\n", ("person", "traffic light")),
        ("0  person\n1  bicycle\n", ("person", "bicycle")),
        ("0: person\n1: bicycle", ("person", "bicycle")),
        ("1 bicycle\n0 person", ("person", "bicycle")),
        ("0 person\n2 car", ("person", "1", "car")),
        ("3 pounds\nfeather", ("3 pounds", "feather")),
        ("tench, Tinca tinca\n???", ("tench, Tinca tinca", "???")),
        ("5", ("5",)),
        ("käse", ("käse",)),
    ],
)
def test_lists(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no label in it"),
        ("\n \n", "there is no label in it"),
        ("person\n\ncar", "line 2 is empty; each line is a label"),
        ("person\nc\x07r", "line 2 is not text"),
        ("0 person\n0 car", "class id 0 is there twice"),
        ("0 person\n999999 car", "class id 999999 is too large"),
        ("x\n" * 100_001, "100001 labels"),
    ],
)
def test_what_is_no_list(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_labels(text)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfperson\r\ncar\r\n")
    assert read_labels(path) == ("person", "car")
    path.write_bytes(b"caf\xe9")
    with pytest.raises(BundleError, match=r"labels\.txt: not UTF-8 text \(byte 3\)"):
        read_labels(path)
    with pytest.raises(BundleError, match=r"none\.txt: No such file"):
        read_labels(tmp_path / "none.txt")
    with pytest.raises(BundleError, match="Is a directory"):
        read_labels(tmp_path)


@given(st.text())
def test_any_text_gives_labels_or_a_reason(text: str) -> None:
    with contextlib.suppress(ValueError):
        labels = parse_labels(text)
        assert labels
        assert all(label.isprintable() and label for label in labels)
