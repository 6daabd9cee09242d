"""The model file that stands for those which cannot be made beside tflite-runtime."""

from pathlib import Path

import numpy as np

from tests.models import SCORES, SCORES_TFLITE, faded, write_tflite


def test_it_is_what_would_be_made(tmp_path: Path) -> None:
    made = write_tflite(tmp_path / "m.tflite", [faded("scores", np.array([SCORES], np.float32))])
    assert SCORES_TFLITE.read_bytes() == made.read_bytes()
