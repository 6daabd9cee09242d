"""Run a model on pictures, videos or cameras, and show what it sees: a line a frame."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.runtimes import RUNTIMES

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-agent predict yolov8n.tflite street.jpg
  edge-agent predict people/ clip.mp4 --save out --score 0.4
  edge-agent predict mobilenet.tflite photos/ --labels imagenet.txt --json
  edge-agent predict people/ rtsp://viewer:secret@10.0.0.5/1      until Ctrl-C"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "predict",
        help="run a model on pictures, videos or cameras and show what it sees",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file or a bundle's directory")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a picture, a folder, a video, a camera's number or a URL")
    parser.add_argument("--labels", metavar="FILE", help="the label list of a bare model file")
    parser.add_argument("--score", type=_fraction, help="least score, over the bundle's")
    parser.add_argument("--iou", type=_fraction, help="overlap above which NMS removes the weaker box, over the bundle's")
    parser.add_argument("--max-detections", type=_up_to(5000), metavar="N", help="at most so many a frame, over the bundle's")
    parser.add_argument("--threads", type=_up_to(64), metavar="N", help="of one inference")
    parser.add_argument("--runtime", choices=tuple(RUNTIMES), help="what runs the model, where its file leaves a choice")
    parser.add_argument("--delegate", action="append", default=[], metavar="NAME", help="best first; may be given several times")
    parser.add_argument("--json", action="store_true", help="the result messages, as JSON lines")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write annotated pictures, or an annotated video")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict on every source in turn; the first failure ends it."""
    from agent.cli.predictor import predict  # noqa: PLC0415  it needs OpenCV, which --help does not

    predict(args)
    return 0


def _fraction(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")


def _up_to(most: int) -> Callable[[str], int]:
    """What `agent.pipeline.config` takes too."""

    def number(text: str) -> int:
        with suppress(ValueError):
            if 1 <= int(text) <= most:
                return int(text)
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {most}, got {text}")

    return number
