"""Measure the whole agent beside the bare runtime, by turns: same model, threads and pictures."""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.options import add_runtime_options, up_to
from agent.errors import OutputError, Reject, UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from agent.cli.benchmark.whole import Whole

DEMO_MODEL = "models/parts-1.0.0"
EXAMPLES = """examples:
  edge-agent bench people/ clip.mp4
  edge-agent bench yolov8n.tflite photos/ --labels coco.txt --threads 2 --json
  edge-agent bench people/ clip.mp4 --mqtt broker.lan          with a broker that is not here

A round runs the model in a tight loop, then the agent on the video as fast as it goes, then at the video's own pace, where latency
is measured. Figures are medians over the rounds. An inference has one thread unless --threads says otherwise."""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "bench",
        help="measure speed, latency and memory",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"a model file or a bundle's directory; {DEMO_MODEL} if left out")
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="a video or pictures; the synthetic belt if left out")
    parser.add_argument("--labels", metavar="FILE", help="the label list of a bare model file")
    parser.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="to measure for, in all; 60 if left out")
    parser.add_argument("--rounds", type=up_to(100), default=3, metavar="N", help="3 if left out")
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="a broker; else mosquitto is started, where it is installed")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    add_runtime_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure."""
    from agent.cli.benchmark.brokers import a_broker  # noqa: PLC0415  paho, which --help does without
    from agent.cli.benchmark.figures import figures, page  # noqa: PLC0415
    from agent.cli.benchmark.noise import Noise, processor  # noqa: PLC0415
    from agent.cli.benchmark.whole import run_agent  # noqa: PLC0415

    model = args.model or _demo_model()
    args.threads = args.threads or 1
    noise, part_s = Noise(), args.seconds / args.rounds / 3
    bares: list[dict[str, Any]] = []
    wholes: list[Whole] = []
    paced: list[Whole] = []
    with tempfile.TemporaryDirectory() as folder, a_broker(args.mqtt) as broker:
        pictures = args.source or _belt(Path(folder) / "belt.mp4")
        for number in range(1, args.rounds + 1):
            bares.append(_bare(args, model, pictures, part_s))
            source = bares[-1]["source"]
            config = _config(args, model)
            wholes.append(run_agent(_on(config, source | {"loop": True}), broker, Path(folder), part_s))
            if source["type"] == "file":
                pace = source | {"loop": True, "realtime": True}
                paced.append(run_agent(_on(config, pace), broker, Path(folder), part_s))
            bare_fps, fps = bares[-1]["fps"], wholes[-1].fps
            print(f"round {number} of {args.rounds}: bare {bare_fps:.1f} fps, agent {fps:.1f} fps", file=sys.stderr)
    about = {"processor": processor(), "model": model, "source": args.source or "the synthetic belt", "threads": args.threads}
    found = about | {"delegate": bares[0]["delegate"], "broker": broker.name} | figures(bares, wholes, paced)
    found["noise"] = noise.problems([bare["fps"] for bare in bares])
    print(json.dumps(found)) if args.json else print(*page(found), sep="\n")
    for problem in found["noise"]:
        print(f"edge-agent: not to be trusted, the computer was not quiet: {problem}", file=sys.stderr)
    return 0


def _belt(path: Path) -> str:
    """A video of the synthetic belt."""
    command = [sys.executable, "-P", "-m", "agent.cli.benchmark.belt", str(path)]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0:  # noqa: S603  ourselves
        raise OutputError(f"{path}: a video of the belt cannot be written there: is the disk full? Or say which SOURCE to run on")
    return str(path)


def _bare(args: argparse.Namespace, model: str, pictures: str, seconds: float) -> dict[str, Any]:
    """A `Bare`. Its process is another one so that this one does not share the libraries whose memory is to be measured."""
    job = {"model": model, "labels": args.labels, "source": pictures, "runtime": args.runtime, "threads": args.threads}
    text = json.dumps(job | {"delegates": args.delegate, "seconds": seconds})
    command = [sys.executable, "-P", "-m", "agent.cli.benchmark.bare", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    if done.returncode != 0:
        message = done.stderr.strip().rpartition("\n")[2] or f"the runtime ended with status {done.returncode}"
        raise (UsageError if done.returncode == UsageError.exit_status else Reject)(message)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _config(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """A config that publishes every result, empty ones too."""
    slot: dict[str, Any] = {"bundle": str(Path(model).absolute()), "threads": args.threads, "delegates": args.delegate}
    if args.labels is not None:
        slot["labels"] = str(Path(args.labels).absolute())
    if args.runtime is not None:
        slot["runtime"] = args.runtime
    pipelines = {"main": {"source": "main", "model": "main", "publish": {"empty": True}}}
    return {"models": {"main": slot}, "pipelines": pipelines}


def _on(config: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    return config | {"sources": {"main": source}}


def _demo_model() -> str:
    path = Path(__file__).parents[2] / DEMO_MODEL
    if not path.is_dir():
        raise UsageError(f"bench: say which MODEL to run; there is no {DEMO_MODEL} beside this agent")
    return str(path)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 1 <= float(text) <= 86400:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected seconds, from 1 to 86400, got {text}")
