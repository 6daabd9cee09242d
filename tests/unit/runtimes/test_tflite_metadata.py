"""What a TFLite file tells of itself, and files that lie."""

import json
import random
import zipfile
from pathlib import Path

import flatbuffers
import pytest

from agent.runtimes.tflite_metadata import MAX_FILE_BYTES, MAX_FILES, SUMMARY, read_tflite_metadata
from tests.models import Found, write_tflite, yolo

OUTPUT = yolo([Found((8, 8, 24, 24))], normalized=True)


def _table(builder: flatbuffers.Builder, offsets: dict[int, int], bytes_: dict[int, int] | None = None) -> int:
    """A table of 8 fields: offsets and bytes by their number."""
    builder.StartObject(8)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, value in (bytes_ or {}).items():
        builder.PrependUint8Slot(number, value, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def summary(*, color: int = 1, mean: list[float] | None = None, std: list[float] | None = None, file_type: int = 2) -> bytes:
    """A ModelMetadata; the numbers of the fields are those of metadata_schema.fbs."""
    builder = flatbuffers.Builder(256)
    image = _table(builder, {}, {0: color})
    content = _table(builder, {1: image}, {0: 2})
    normalization = _table(builder, {0: _floats(builder, mean or [127.5]), 1: _floats(builder, std or [127.5])})
    unit = _table(builder, {1: normalization}, {0: 1})
    picture = _table(builder, {3: content, 4: _vector(builder, [unit])})
    labels = _table(builder, {0: builder.CreateString("labels.txt")}, {2: file_type})
    scores = _table(builder, {0: builder.CreateString("score"), 6: _vector(builder, [labels])})
    subgraph = _table(builder, {2: _vector(builder, [picture]), 3: _vector(builder, [scores])})
    name, license_ = builder.CreateString("tiny"), builder.CreateString("MIT")
    builder.Finish(_table(builder, {0: name, 3: _vector(builder, [subgraph]), 5: license_}), b"M001")
    return bytes(builder.Output())


def read(path: Path) -> dict[str, object]:
    """The summary of a file."""
    found: dict[str, object] = json.loads(read_tflite_metadata(path).get(SUMMARY, "{}"))
    return found


def test_tflite_metadata(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", [OUTPUT], files={"labels.txt": "a\nb"}, metadata=summary())
    assert read_tflite_metadata(path)["labels.txt"] == "a\nb"
    assert read(path) == {
        "name": "tiny",
        "license": "MIT",
        "color": "rgb",
        "mean": [127.5],
        "std": [127.5],
        "labels": "labels.txt",
        "outputs": ["score"],
    }


def test_numbers_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    for mean, std in (([float("nan")], [1.0]), ([0.0], [0.0]), ([0.0], [float("inf")])):
        path = write_tflite(tmp_path / "m.tflite", [OUTPUT], metadata=summary(mean=mean, std=std, color=7, file_type=1))
        assert read(path) == {"name": "tiny", "license": "MIT", "outputs": ["score"]}


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    assert read_tflite_metadata(write_tflite(tmp_path / "m.tflite", [OUTPUT])) == {}
    for content in (b"", b"x", b"\0" * 64, b"PK\x03\x04"):
        (tmp_path / "m.tflite").write_bytes(content)
        assert read_tflite_metadata(tmp_path / "m.tflite") == {}
    with pytest.raises(FileNotFoundError):
        read_tflite_metadata(tmp_path / "none.tflite")


def test_a_zip_of_any_size_is_read_within_bounds(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", [OUTPUT])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("huge.txt", b" " * (MAX_FILE_BYTES + 1))
        archive.writestr("binary.bin", b"\xff\xfe\x00")
        archive.writestr(SUMMARY, "{}")
        for i in range(2 * MAX_FILES):
            archive.writestr(f"{i}.txt", str(i))
    found = read_tflite_metadata(path)
    assert "huge.txt" not in found
    assert "binary.bin" not in found
    assert SUMMARY not in found
    assert found["3.txt"] == "3"
    assert len(found) <= MAX_FILES


def test_damaged_files_never_hurt(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", [OUTPUT], files={"labels.txt": "a\nb"}, metadata=summary())
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(1500):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 20)):
            raw[chance.randrange(len(raw))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(raw[: chance.randint(1, len(raw))] if chance.random() < 0.3 else raw)
        for name, text in read_tflite_metadata(path).items():
            assert isinstance(name, str)
            assert isinstance(text, str)


def test_offsets_that_point_anywhere_never_hurt(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite", [OUTPUT], metadata=summary())
    whole = path.read_bytes()
    start = whole.index(b"M001") - 4
    chance = random.Random(8)
    for _ in range(1500):
        raw = bytearray(whole)
        at = start + 4 * chance.randrange((len(summary()) - 4) // 4)
        raw[at : at + 4] = chance.choice((0, 4, 2**31 - 1, 2**32 - 1, chance.randrange(2**32), chance.randrange(300))).to_bytes(
            4, "little"
        )
        path.write_bytes(raw)
        read_tflite_metadata(path)
