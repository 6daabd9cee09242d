"""Run a model on pictures of which the truth is known, and show how often it is right."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.options import add_model_options
from agent.errors import UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from agent.cli.evaluation import Judge

EXAMPLES = """examples:
  edge-agent eval people/ --coco instances_val2017.json --images val2017     average precision
  edge-agent eval mobilenet.tflite --labels imagenet.txt --folders val       top 1 and top 5; val/CLASS/*.jpg
  edge-agent eval deeplab/ --masks maps --images photos                      mean IoU; maps/X.png for photos/X.jpg

--coco follows COCO's protocol: score floor 0.05, NMS IoU 0.45, at most 100 boxes a picture, unless options say otherwise."""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "eval",
        help="measure how often a model is right on pictures of which the truth is known",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file, a bundle's directory, or name@version in the store")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--coco", type=Path, metavar="FILE", help="boxes in COCO's JSON format, for a detector")
    truth.add_argument("--folders", type=Path, metavar="DIR", help="a folder of pictures for each class, for a classifier")
    truth.add_argument(
        "--masks", type=Path, metavar="DIR", help="class maps, PNG or BMP, named like their pictures, for segmentation"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="where the pictures of --coco or --masks lie")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge the model."""
    if (args.images is None) != (args.folders is not None):
        raise UsageError("eval: --images DIR goes with --coco and --masks, and is needed there")
    if args.images is not None and not os.path.isdir(args.images):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        raise UsageError(f"--images {args.images}: there is no such folder")
    judge = _judge(args)
    from agent.cli.evaluation.run import evaluate  # noqa: PLC0415  it needs OpenCV, which --help does not

    evaluate(args, judge)
    print(json.dumps({"model": args.model, **judge.figures()})) if args.json else print(*judge.lines(), sep="\n")
    return 0


def _judge(args: argparse.Namespace) -> "Judge":
    if args.coco is not None:
        from agent.cli.evaluation.coco import CocoJudge, read_coco  # noqa: PLC0415  numpy, which --help does without

        return CocoJudge(read_coco(args.coco), args.images)
    if args.masks is not None:
        from agent.cli.evaluation.masks import MasksJudge, read_pairs  # noqa: PLC0415  as above

        return MasksJudge(read_pairs(args.masks, args.images))
    from agent.cli.evaluation.folders import FoldersJudge, read_folders  # noqa: PLC0415  as above

    return FoldersJudge(args.folders, read_folders(args.folders))
