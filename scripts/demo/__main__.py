"""The demo: broker, agent and subscriber, from start to summary. Run by scripts/demo.sh."""

import argparse
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.cli.album import Album
from agent.errors import AgentError
from agent.publish.topics import Topics
from agent.sources.belt import Belt
from agent.sources.config import SyntheticConfig
from scripts.demo.broker import HOST, EmbeddedBroker, choose_port
from scripts.demo.clip import CLIP, save_clip
from scripts.demo.score import truth_of
from scripts.demo.subscriber import Subscriber
from scripts.demo.view import View, make_view, summary

CONFIG = Path(__file__).parents[2] / "device_configs/demo.yaml"
DEVICE = "demo"
LOG = "log"
FIRST_RESULT_S = 60.0
END_S = 6.0  # the agent ends within 5 s of SIGTERM
LOOK_S = 0.05


def main() -> int:
    """Returns the exit status: 0 after N seconds or Ctrl-C, 1 where the agent gave no results."""
    args = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as cleanly as Ctrl-C
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    (pipeline,) = config["pipelines"]
    (source,) = config["sources"].values()
    camera = msgspec.convert(source, SyntheticConfig)
    belt = Belt(camera.size, camera.fps, camera.seed, camera.parts)
    topic = Topics("edge", DEVICE).results(pipeline)
    album = Album(args.save) if args.save else None
    port = choose_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-demo-")))
        stack.enter_context(EmbeddedBroker(port))
        subscriber = stack.enter_context(Subscriber(port, topic, partial(truth_of, belt)))
        agent = stack.enter_context(started(here(config, folder, port), folder))
        view = make_view(subscriber, f"listen too:  mosquitto_sub -h {HOST} -p {port} -t '{topic}'")
        watch(agent, subscriber, view, args.seconds)
        if agent.poll() is not None or subscriber.latest is None:
            print(f"the agent gave no results; it says:\n{(folder / LOG).read_text()}", file=sys.stderr)
            return 1
    print(summary(subscriber))
    if album is not None:
        save_clip(album, belt, camera.fps, subscriber.results)
        print(f"annotated clip: {args.save / CLIP}")
    return 0


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/demo.sh", description="A conveyor belt, a model that names its parts, a broker.")
    parser.add_argument("--seconds", type=_seconds, default=math.inf, metavar="N", help="end after N seconds; else Ctrl-C does")
    parser.add_argument("--save", type=Path, metavar="DIR", help="leave an annotated clip of the last minute in DIR")
    return parser.parse_args()


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text}")


def here(config: dict[str, Any], folder: Path, port: int) -> dict[str, Any]:
    """The demo's config with our broker, its state in a folder that goes away, and a result for every frame."""
    models = {name: {**slot, "bundle": str((CONFIG.parent / slot["bundle"]).resolve())} for name, slot in config["models"].items()}
    pipelines = {name: {**pipeline, "publish": {"empty": True}} for name, pipeline in config["pipelines"].items()}
    mqtt = {"host": HOST, "port": port, "protocol": "3.1.1"}
    changed = {"device": {"id": DEVICE}, "models": models, "pipelines": pipelines, "mqtt": mqtt, "state_dir": str(folder / "state")}
    return {**config, **changed}


@contextmanager
def started(config: dict[str, Any], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The agent on a config, its log in `folder`; ended on leaving."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    with (folder / LOG).open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "agent.cli.main", "run", str(file)], stderr=log, start_new_session=True, cwd=CONFIG.parents[1]
        )
    try:
        yield agent
    finally:
        agent.terminate()
        try:
            agent.wait(END_S)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()


def watch(agent: "subprocess.Popen[bytes]", subscriber: Subscriber, view: View, seconds: float) -> None:
    """Show what comes until the time is over, Ctrl-C, or the agent's failure."""
    start = time.monotonic()
    try:
        with view:
            while (running_s := time.monotonic() - start) < seconds and agent.poll() is None:
                if subscriber.latest is None and running_s > FIRST_RESULT_S:
                    return
                view.show(running_s)
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AgentError, OSError) as error:
        print(f"demo.sh: {error}", file=sys.stderr)
        sys.exit(error.exit_status if isinstance(error, AgentError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
