"""edge-agent run: the daemon."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import Config, config_from_parts, load_config
from agent.errors import UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

DEFAULT_CONFIG = Path("/etc/edge-agent/config.yaml")
EXAMPLES = f"""examples:
  edge-agent run config.yaml
  edge-agent run                                   the same as: edge-agent run {DEFAULT_CONFIG}
  edge-agent run --model yolov8n.tflite --source 0 --mqtt localhost
  edge-agent run --model people/ --source rtsp://viewer:secret@10.0.0.5/1 --mqtt broker.lan:1884

It runs until SIGTERM or Ctrl-C, or until every source has come to its end and what it showed is published; for that it waits for a
broker that is away."""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "run", help="run the agent", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG", help=f"a YAML file; {DEFAULT_CONFIG} if nothing is said")
    parser.add_argument("--model", metavar="MODEL", help="a model file or a bundle's directory, instead of a config")
    parser.add_argument("--labels", metavar="FILE", help="the label list of a bare model file")
    parser.add_argument("--source", metavar="SOURCE", help="a camera's number or device, a URL, a video, pictures or a folder")
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="the broker; localhost if nothing is said")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the agent until it is told to end."""
    config = _config(args)
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    from agent.app.app import App  # noqa: PLC0415  a wrong config is told without importing the rest

    return App(config, show_native_messages=args.log_level == "debug").run()


def _config(args: argparse.Namespace) -> Config:
    parts: dict[str, Any] = {"--model": args.model, "--source": args.source, "--mqtt": args.mqtt, "--labels": args.labels}
    given = [name for name, value in parts.items() if value is not None]
    if args.config is not None and given:
        raise UsageError(f"run: either CONFIG or {', '.join(given)}, not both")
    if not given:
        return load_config(args.config or DEFAULT_CONFIG)
    if args.model is None or args.source is None:
        raise UsageError("run: without CONFIG, say both --model and --source")
    return config_from_parts(model=args.model, labels=args.labels, source=args.source, mqtt=args.mqtt or "localhost")
