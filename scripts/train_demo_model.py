"""Train the demo's detector on pictures that this renders itself, and put it into models/parts-1.0.0 and models/parts-1.1.0.

From the root of the repository, after pip install -e '.[train]':

    python -m scripts.train_demo_model                            everything
    python -m scripts.train_demo_model --weights build/parts.pt   the exports and the figures alone

Takes about 20 minutes on two cores and 3 GB of memory: 1 to render, 17 to train, 2 to export and to measure. The same
seed renders the same pictures; weights differ in their last digits from computer to computer.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from agent.bundles.load import open_bundle
from agent.sources.belt import Belt
from scripts.demo_model.evaluate import labels_of, report
from scripts.demo_model.export import to_int8_onnx, to_onnx, to_tflite, with_classes
from scripts.demo_model.net import Detector
from scripts.demo_model.scene import LABELS, render
from scripts.demo_model.training import train

MODELS = Path(__file__).parents[1] / "models"
FIRST, SECOND = MODELS / "parts-1.0.0", MODELS / "parts-1.1.0"
FIRST_SIZE, SECOND_SIZE = (320, 320), (384, 288)
TRAINING_SEED, CALIBRATION_SEED, GOLDEN_SEED = 1, 3, 4  # 2 is what they are tested with
CALIBRATION_PICTURES = 160
GOLDEN_CANDIDATES, GOLDEN_PARTS, GOLDEN_QUALITY = 40, 5, 70  # pictures, the least number of parts in them, of JPEG


def main() -> int:
    """0, or 1 where a model is not as good as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights that an earlier run has saved: no training")
    parser.add_argument(
        "--save", type=Path, default=Path("build/parts.pt"), metavar="FILE", help="where to save them (%(default)s)"
    )
    parser.add_argument("--pictures", type=int, default=4400, metavar="N", help="to train on (%(default)s)")
    parser.add_argument("--steps", type=int, default=3200, metavar="N", help="batches of 16 (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of the processor (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.weights is None:
        net = train(render(args.pictures, TRAINING_SEED, args.threads), args.steps, TRAINING_SEED)
        args.save.parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), args.save)
    else:
        net = Detector(len(LABELS))
        net.load_state_dict(torch.load(args.weights))
        net.eval()
    with tempfile.TemporaryDirectory() as folder:
        whole = export(net, args.threads, Path(folder))
        good = [report(bundle, args.threads) for bundle in (whole, FIRST, SECOND)]
    for bundle in (FIRST, SECOND):
        write_golden(bundle)
    return 0 if all(good) else 1


def export(net: Detector, processes: int, folder: Path) -> Path:
    """Write both models into their bundles; returns the second one with the float net, in `folder`."""
    pictures = list(render(CALIBRATION_PICTURES, CALIBRATION_SEED, processes).pixels)
    whole = Path(shutil.copytree(SECOND, folder / "parts-float"))
    to_onnx(net, SECOND_SIZE, whole / "parts.onnx")
    to_int8_onnx(whole / "parts.onnx", SECOND_SIZE, pictures, SECOND / "parts.onnx")
    to_tflite(with_classes(net, len(labels_of(FIRST))), FIRST_SIZE, pictures, FIRST / "parts.tflite")
    return whole


def write_golden(bundle: Path) -> None:
    """Two pictures, and what the bundle finds in them."""
    labels = labels_of(bundle)
    belt = Belt((480, 360), 30, GOLDEN_SEED, [label for label in LABELS if label in labels])
    views = [np.empty((360, 480, 3), np.uint8) for _ in range(GOLDEN_CANDIDATES)]
    for seq, view in enumerate(views):
        belt.draw(20 * seq, view)
    heaps = render(GOLDEN_CANDIDATES, GOLDEN_SEED, 1, kinds=len(labels), belt_share=0).pixels[..., ::-1]
    for name, pictures in (("belt", views), ("heap", heaps)):
        with tempfile.TemporaryDirectory() as folder:
            for i, picture in enumerate(pictures):
                cv2.imwrite(f"{folder}/{i:02}.jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, GOLDEN_QUALITY])
            chosen, found = clearest(bundle, Path(folder))
            shutil.copy(chosen, bundle / f"{name}.jpg")
        lines = ",\n  ".join(json.dumps(one) for one in found)
        (bundle / f"{name}.json").write_text(f"[\n  {lines}\n]\n")


def clearest(bundle: Path, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The picture with several parts whose scores are farthest from the threshold, which other processors might cross."""
    threshold = open_bundle(bundle).manifest.nms.score or 0.0
    command = [sys.executable, "-m", "agent.cli.main", "predict", str(bundle), str(folder), "--json", "--score", str(threshold / 2)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    several = [result for result in results if len(result["detections"]) >= GOLDEN_PARTS]
    best = max(several, key=lambda result: min(abs(one["score"] - threshold) for one in result["detections"]))
    return folder / best["source"], [one for one in best["detections"] if one["score"] >= threshold]


if __name__ == "__main__":
    sys.exit(main())
