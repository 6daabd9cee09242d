"""Whatever arrives as an order is one, or a ValueError in one line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.publish.orders import MAX_ORDER_BYTES, Command, Desired, decode_command, decode_desired

DESIRED: dict[str, Any] = {
    "v": 1,
    "rev": 1_795_600_000_000,
    "deployment": "d-1",
    "bundle": "people",
    "version": "1.4.0",
    "digest": "ab" * 32,
    "not_after": "2026-12-02T00:00:00.000Z",
    "by": "anna",
    "policy": {"spread_s": 3600, "swap": "auto", "probation_s": 900, "probation_frames": 10, "force": False},
}
COMMAND: dict[str, Any] = {"id": "c-1", "op": "pause", "args": {"pipeline": "gate"}, "expires_at": "2026-12-02T00:00:00.000Z"}
DECODERS: list[tuple[Callable[[bytes], Any], dict[str, Any]]] = [(decode_desired, DESIRED), (decode_command, COMMAND)]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


def tried(decode: Callable[[bytes], Any], payload: bytes) -> Any:
    """The order, or None for what is refused as it should be."""
    try:
        return decode(payload)
    except ValueError as error:
        complaint = str(error)
    assert complaint
    assert complaint.isprintable()
    return None


def test_orders() -> None:
    desired = decode_desired(json.dumps(DESIRED).encode())
    assert isinstance(desired, Desired)
    assert desired.policy.probation_frames == 10
    command = decode_command(json.dumps({**COMMAND, "of_a_later_desk": 1}).encode())
    assert command == Command(**COMMAND)
    least = {key: DESIRED[key] for key in ("rev", "deployment", "bundle", "version", "digest")}
    assert decode_desired(json.dumps(least).encode()).policy.force is False


@pytest.mark.parametrize(("decode", "good"), DECODERS)
@settings(max_examples=300)
@given(data=st.data())
def test_any_field_may_hold_anything(decode: Callable[[bytes], Any], good: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(good)))
    value = data.draw(JSON)
    order = tried(decode, json.dumps({**good, field: value}).encode("utf-8", "surrogatepass"))
    if order is not None and field in ("id", "deployment", "bundle", "version", "digest", "expires_at", "not_after"):
        assert value is None or str(value).isprintable()


@pytest.mark.parametrize(("decode", "good"), DECODERS)
@settings(max_examples=300)
@given(data=st.data())
def test_bytes_may_be_lost_and_turned(decode: Callable[[bytes], Any], good: dict[str, Any], data: st.DataObject) -> None:
    payload = bytearray(json.dumps(good).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    tried(decode, bytes(payload[: data.draw(st.integers(0, len(payload)))]))


@pytest.mark.parametrize(("decode", "good"), DECODERS)
@given(payload=st.binary(max_size=400))
def test_any_bytes(decode: Callable[[bytes], Any], good: dict[str, Any], payload: bytes) -> None:
    assert tried(decode, payload) is None
    assert tried(decode, json.dumps(good).encode()) is not None


@pytest.mark.parametrize("decode", [decode_desired, decode_command])
@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[" * MAX_ORDER_BYTES, b'{"a":' * 2000, b'{"args":' + b"[" * 8000, b'"' + b"x" * MAX_ORDER_BYTES],
)
def test_what_would_cost_much(decode: Callable[[bytes], Any], payload: bytes) -> None:
    assert tried(decode, payload) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("rev", -1),
        ("rev", 9_999_999_999_999),
        ("rev", 1.5),
        ("rev", True),
        ("rev", "1795600000000"),
        ("deployment", ""),
        ("deployment", "../x"),
        ("deployment", "d\n"),
        ("bundle", "../people"),
        ("bundle", "people\n"),
        ("version", "1.4"),
        ("version", "1.4.0\n"),
        ("version", "newest"),
        ("digest", "ab" * 31),
        ("digest", "AB" * 32),
        ("digest", "ab" * 32 + "\n"),
        ("not_after", "tomorrow"),
        ("not_after", "2026-12-02T00:00:00.000Z\n"),
        ("by", "x" * 201),
        ("policy", {"spread_s": -1}),
        ("policy", {"swap": "never"}),
        ("policy", {"probation_s": 10**9}),
        ("policy", {"force": 1}),
    ],
)
def test_what_no_wish_has(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"\$\.{field}"):
        decode_desired(json.dumps({**DESIRED, field: value}).encode())
