"""Bundles as people write them, and as they are published."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from agent.bundles.digest import canonical, digest
from agent.bundles.load import manifest_bytes, read_directory
from tests.models import Found, write_onnx, yolo

OUTPUT = yolo([Found((8, 8, 24, 24))], normalized=True)


def write_bundle(folder: Path, *, name: str = "people", version: str = "1.0.0", labels: str = "person\ncar\n") -> Path:
    """A bundle of an ONNX model and its labels. Two of them differ in what is said here."""
    folder.mkdir(parents=True)
    write_onnx(folder / "m.onnx", [OUTPUT])
    (folder / "labels.txt").write_text(labels)
    (folder / "bundle.yaml").write_text(f'name: {name}\nversion: "{version}"\nmodel: m.onnx\nlabels: labels.txt\n')
    return folder


@dataclass(frozen=True, slots=True)
class Publication:
    """A manifest, its digest, and the content of its files by their hashes."""

    manifest: bytes
    digest: str
    blobs: Mapping[str, bytes]

    def changed(self, **changes: object) -> tuple[bytes, str]:
        """Another manifest, and its digest. A field that becomes None is left out."""
        data = json.loads(self.manifest) | changes
        manifest = canonical({key: value for key, value in data.items() if value is not None})
        return manifest, digest(manifest)


def publish(folder: Path) -> Publication:
    """What a repository has of a bundle's directory."""
    directory = read_directory(folder / "bundle.yaml")
    manifest = manifest_bytes(folder, directory.data, directory.files)
    blobs = {entry["sha256"]: directory.files[name].read_bytes() for name, entry in json.loads(manifest)["files"].items()}
    return Publication(manifest, digest(manifest), blobs)


def with_numbers(path: Path) -> Path:
    """A model that keeps its numbers in PATH.data."""
    model = onnx.load(write_onnx(path, [OUTPUT]))
    model.graph.initializer.append(
        helper.make_tensor("large", TensorProto.FLOAT, [4096], np.ones(4096, np.float32).tobytes(), raw=True)
    )
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
    return path
