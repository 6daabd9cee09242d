"""The digest names what a bundle does, and nothing else."""

import hashlib
from pathlib import Path

from agent.bundles.digest import canonical_manifest, digest


def test_the_canonical_form(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"abc")
    manifest = canonical_manifest({"version": "1.0.0", "name": "é", "nms": {"iou": 0.5, "score": 1}}, {"m.tflite": model})
    sha256 = hashlib.sha256(b"abc").hexdigest()
    expected = (
        f'{{"files":{{"m.tflite":{{"length":3,"sha256":"{sha256}"}}}},"name":"é","nms":{{"iou":0.5,"score":1}},"version":"1.0.0"}}'
    )
    assert manifest == expected.encode()
    assert digest(manifest) == hashlib.sha256(manifest).hexdigest()
