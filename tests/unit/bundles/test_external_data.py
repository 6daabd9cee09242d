"""What an ONNX file names, wherever in it that stands."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from agent.bundles.external_data import MAX_TEXT_BYTES, external_data
from agent.bundles.load import open_bundle
from agent.errors import BundleError
from tests.bundle_folders import OUTPUT, with_numbers
from tests.models import write_onnx

Place = Callable[[ModelProto], TensorProto]


def nested(model: ModelProto) -> GraphProto:
    """A graph in an attribute of a node, in another such graph."""
    graph = model.graph
    for _ in range(3):
        graph = graph.node.add(op_type="If").attribute.add(name="then_branch", type=AttributeProto.GRAPH).g
    return graph


PLACES: dict[str, Place] = {
    "initializer": lambda m: m.graph.initializer.add(),
    "sparse values": lambda m: m.graph.sparse_initializer.add().values,
    "sparse indices": lambda m: m.graph.sparse_initializer.add().indices,
    "attribute": lambda m: m.graph.node.add(op_type="Constant").attribute.add(name="value").t,
    "attribute's list": lambda m: m.graph.node.add().attribute.add().tensors.add(),
    "sparse attribute": lambda m: m.graph.node.add().attribute.add().sparse_tensor.values,
    "sparse attribute's list": lambda m: m.graph.node.add().attribute.add().sparse_tensors.add().indices,
    "subgraph": lambda m: nested(m).initializer.add(),
    "subgraph's list": lambda m: m.graph.node.add().attribute.add().graphs.add().initializer.add(),
    "function": lambda m: m.functions.add().node.add().attribute.add().t,
    "function's default": lambda m: m.functions.add().attribute_proto.add().t,
    "training": lambda m: m.training_info.add().initialization.initializer.add(),
    "training's algorithm": lambda m: m.training_info.add().algorithm.node.add().attribute.add().t,
}


def written(folder: Path, place: Place, *pairs: tuple[str, str]) -> Path:
    """A model with a tensor there whose external_data are these pairs."""
    path = write_onnx(folder / "m.onnx", [OUTPUT])
    model = onnx.load(path)
    tensor = place(model)
    for key, value in pairs:
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_it_stands(tmp_path: Path, place: str) -> None:
    path = written(tmp_path, PLACES[place], ("offset", "0"), ("location", "numbers.bin"))
    assert external_data(path) == ("numbers.bin",)
    with pytest.raises(BundleError, match=r"m\.onnx: the file with its weights is missing; copy it beside .*: numbers\.bin$"):
        open_bundle(path)


@pytest.mark.parametrize("location", [TensorProto.DEFAULT, TensorProto.EXTERNAL])
def test_it_counts_whatever_the_tensor_says_of_its_place(tmp_path: Path, location: TensorProto.DataLocation) -> None:
    def tensor(model: ModelProto) -> TensorProto:
        added: TensorProto = model.graph.initializer.add()
        added.data_location = location
        return added

    assert external_data(written(tmp_path, tensor, ("location", "a"), ("location", "b"))) == ("a", "b")


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("/etc/passwd", "it does not lie in the bundle's directory"),
        ("../../etc/passwd", "it does not lie in the bundle's directory"),
        ("a/../../b", "it does not lie in the bundle's directory"),
        ("./a", "write it as a"),
        ("a//b", "write it as a/b"),
        ("", "a file's name is text"),
        (".", "it does not lie in the bundle's directory"),
        ("a\0b", "a file's name is text without control characters"),
        ("a\nb", "a file's name is text without control characters"),
        ("..\\b", "a file's name is text"),
        ("C:b", "a file's name is text"),
        ("*/_ORT_MEM_ADDR_/140000", "a file's name is text"),
    ],
)
def test_tricks(tmp_path: Path, location: str, why: str) -> None:
    path = written(tmp_path, PLACES["initializer"], ("location", location))
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 64)
    path = written(tmp_path / "out", PLACES["initializer"], ("location", "numbers.bin"))
    (tmp_path / "out" / "numbers.bin").symlink_to(secret)
    with pytest.raises(BundleError, match=r"numbers\.bin is not in the bundle's directory; put a copy there"):
        open_bundle(path)


def test_of_two_values_the_last_counts_as_for_protobuf(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", [OUTPUT])
    entry = b"".join(bytes([tag, len(text)]) + text for tag, text in ((10, b"x"), (18, b"a"), (10, b"location"), (18, b"b")))
    tensor = bytes([13 << 3 | 2, len(entry)]) + entry
    graph = bytes([5 << 3 | 2, len(tensor)]) + tensor
    path.write_bytes(path.read_bytes() + bytes([7 << 3 | 2, len(graph)]) + graph)
    assert onnx.ModelProto.FromString(path.read_bytes()).graph.initializer[-1].external_data[0].value == "b"
    assert external_data(path) == ("b",)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    long = written(tmp_path, PLACES["initializer"], ("location", "a" * (MAX_TEXT_BYTES + 1)))
    with pytest.raises(BundleError, match="an ONNX model with 4097 bytes where a file's name belongs"):
        external_data(long)
    graph = b""
    for _ in range(60):
        attribute = bytes([6 << 3 | 2]) + _varint(len(graph)) + graph
        node = bytes([5 << 3 | 2]) + _varint(len(attribute)) + attribute
        graph = bytes([1 << 3 | 2]) + _varint(len(node)) + node
    long.write_bytes(b"\x08\x07" + bytes([7 << 3 | 2]) + _varint(len(graph)) + graph)
    with pytest.raises(BundleError, match="nested deeper than 100"):
        external_data(long)


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value > 0x7F else bytes([value])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200), start=st.sampled_from([b"", b"\x3a", b"\x3a\x20\x2a\x1e\x6a", b"\xca\x01\x10\x3a"]))
def test_any_bytes_end_in_names_or_a_reason(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(start + content)
    with contextlib.suppress(BundleError):
        external_data(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=60), start=st.sampled_from([b"\x3a\x10\x2a\x0e\x6a\x0c\x0a\x08location", b"\x3a", b""]))
def test_what_protobuf_finds_is_found(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(start + content)
    try:
        model = ModelProto.FromString(start + content)
    except Exception:  # noqa: BLE001  protobuf's own, whatever they are: such a file loads nowhere
        return
    with contextlib.suppress(BundleError):
        found = external_data(path)
        assert {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"} <= set(found)


def test_a_model_with_its_numbers_beside_it_is_a_bundle_of_both(tmp_path: Path) -> None:
    path = with_numbers(tmp_path / "m.onnx")
    before = open_bundle(path).digest
    numbers = tmp_path / "m.onnx.data"
    numbers.write_bytes(numbers.read_bytes()[::-1])
    assert open_bundle(path).digest != before
