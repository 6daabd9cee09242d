"""The bundles in models/ find what they are for: their golden samples, and the parts on the belt."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.bundles.load import Bundle, open_bundle
from scripts.demo.score import iou
from scripts.demo_model.evaluate import on_belt
from scripts.demo_model.scene import LABELS

ROOT = Path(__file__).parents[2]
LARGEST_SAMPLE_BYTES = 40_000
LARGEST_MODEL_BYTES = 1_000_000


@pytest.fixture(params=["parts-1.0.0", "parts-1.1.0"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(ROOT / "models" / request.param)


def alike(found: dict[str, Any], expected: dict[str, Any], least_iou: float, most_apart: float) -> bool:
    same = (found["label"], found["class_id"]) == (expected["label"], expected["class_id"])
    return (
        same
        and iou(tuple(found["box"]), tuple(expected["box"])) >= least_iou
        and abs(found["score"] - expected["score"]) <= most_apart
    )


def test_is_small_and_whole(bundle: Bundle) -> None:
    assert bundle.model.stat().st_size < LARGEST_MODEL_BYTES
    assert (bundle.labels, bundle.manifest.license) == (LABELS[: len(bundle.labels or ())], "Apache-2.0")
    assert len(bundle.manifest.golden) >= 2


def test_reproduces_its_golden_samples(bundle: Bundle) -> None:
    for sample in bundle.manifest.golden:
        picture = bundle.place.parent / sample.input
        assert picture.stat().st_size <= LARGEST_SAMPLE_BYTES
        command = [sys.executable, "-m", "agent.cli.main", "predict", str(bundle.place.parent), str(picture), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)["detections"]
        expected = json.loads((bundle.place.parent / sample.expect).read_text())
        assert len(expected) >= 3
        assert len(found) == len(expected)
        for one in expected:
            assert sum(alike(other, one, sample.iou, sample.score) for other in found) == 1


def test_names_the_parts_on_the_belt(bundle: Bundle) -> None:
    seen = on_belt(bundle.place.parent, bundle.labels or (), range(0, 450, 15))
    assert seen.in_view > 300
    assert seen.named_pct >= 95
    assert seen.false_alarms <= 0.05 * seen.in_view
