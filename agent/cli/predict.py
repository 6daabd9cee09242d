"""Run a model on pictures, videos or cameras, and show what it sees: a line a frame."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.options import add_model_options

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
    parser.add_argument("model", metavar="MODEL", help="a model file, a bundle's directory, or name@version in the store")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a picture, a folder, a video, a camera's number or a URL")
    parser.add_argument("--json", action="store_true", help="the result messages, as JSON lines")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write annotated pictures, or an annotated video")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict on every source in turn; the first failure ends it."""
    from agent.cli.predictor import predict  # noqa: PLC0415  it needs OpenCV, which --help does not

    predict(args)
    return 0
