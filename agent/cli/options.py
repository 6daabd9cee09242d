"""Options of the verbs that run a model, and where their MODEL may be."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.bundles.load import in_store
from agent.checked import check
from agent.device import state_dir
from agent.document import Document
from agent.errors import UsageError
from agent.pipeline.config import ModelConfig
from agent.runtimes import RUNTIMES

if TYPE_CHECKING:
    from agent.bundles.store import Store


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """labels, score, iou, max_detections, threads, runtime, delegate: over what the model's bundle says; state_dir."""
    add_state_option(parser)
    add_labels_option(parser)
    parser.add_argument("--score", type=_fraction, help="least score, over the bundle's")
    parser.add_argument("--iou", type=_fraction, help="overlap above which NMS removes the weaker box, over the bundle's")
    parser.add_argument("--max-detections", type=up_to(5000), metavar="N", help="at most so many a frame, over the bundle's")
    add_runtime_options(parser)


def add_labels_option(parser: argparse.ArgumentParser) -> None:
    """For verbs that take a bare model file."""
    parser.add_argument("--labels", metavar="FILE", help="the label list of a bare model file")


def add_state_option(parser: argparse.ArgumentParser) -> None:
    """state_dir."""
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="the agent's state_dir, which has the store, where its config gives one"
    )


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """threads, runtime, delegate."""
    parser.add_argument("--threads", type=up_to(64), metavar="N", help="of one inference")
    parser.add_argument("--runtime", choices=tuple(RUNTIMES), help="what runs the model, where its file leaves a choice")
    parser.add_argument("--delegate", action="append", default=[], metavar="NAME", help="best first; may be given several times")


def store_for(model: str, state: Path | None = None) -> "Store | None":
    """The store of this device's daemon, to be looked into, where a MODEL is name@version; of a model file nothing.

    state: the agent's state_dir, where its config gives one.
    """
    if not in_store(model):
        return None
    from agent.bundles.store import Store  # noqa: PLC0415  a model file does without it

    return Store(state or state_dir(), 0, read_only=True)


def slot_config(args: argparse.Namespace) -> ModelConfig:
    """A model slot, from model, labels and what `add_runtime_options` adds. UsageError where they make no sense."""
    given = {"bundle": args.model, "labels": args.labels, "runtime": args.runtime, "threads": args.threads}
    problems: list[str] = []
    slot = check(Document({**given, "delegates": args.delegate}), ModelConfig, problems)
    if slot is None or problems:
        raise UsageError("\n".join(problem.replace("delegates", "--delegate", 1) for problem in problems))
    return slot


def up_to(most: int) -> Callable[[str], int]:
    """A whole number from 1, as `agent.pipeline.config` takes it too."""

    def number(text: str) -> int:
        with suppress(ValueError):
            if 1 <= int(text) <= most:
                return int(text)
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {most}, got {text}")

    return number


def _fraction(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
