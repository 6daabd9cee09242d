"""The demo: broker, agent, subscriber and desk, from start to summary."""

import argparse
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent.cli.album import Album
from agent.cli.interruption import Interruption
from agent.errors import AgentError
from agent.publish.topics import Topics
from agent.sources.belt import Belt
from agent.sources.config import SyntheticConfig
from scripts.demo.broker import HOST, EmbeddedBroker, choose_port
from scripts.demo.clip import CLIP, save_clip
from scripts.demo.desk import Desk, Device, Steps, make_repository, root_of
from scripts.demo.score import truth_of
from scripts.demo.story import Story
from scripts.demo.subscriber import Subscriber
from scripts.demo.view import View, make_view, summary
from scripts.demo.web import WebFolder

CONFIG = Path(__file__).parents[2] / "device_configs/demo.yaml"
DEVICE = "demo"
LOG = "log"
FIRST_RESULT_S = 60.0
END_S = 6.0  # the agent ends within 5 s of SIGTERM
LOOK_S = 0.05
PROBATION = {"min_probation_s": 5, "min_probation_frames": 100}  # for people who watch


def play() -> int:
    """Returns the exit status: 0 after N seconds or Ctrl-C, 1 where the agent gave no results."""
    try:
        return _play(arguments())
    except (AgentError, OSError) as error:
        print(f"demo.sh: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, AgentError) else 1


def _play(args: argparse.Namespace) -> int:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    (pipeline,) = config["pipelines"]
    (slot,) = config["models"]
    (source,) = config["sources"].values()
    camera = msgspec.convert(source, SyntheticConfig)
    belt = Belt(camera.size, camera.fps, camera.seed, camera.parts)
    topics = Topics("edge", DEVICE)
    album = Album(args.save) if args.save else None
    port = choose_port()
    with Interruption() as interruption:
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-agent-demo-")))
            repository = folder / "repository"
            finish(make_repository(repository), interruption)
            web = stack.enter_context(WebFolder(repository))
            stack.enter_context(EmbeddedBroker(port))
            story = Story(1000 / camera.fps)
            subscriber = stack.enter_context(Subscriber(port, topics, pipeline, slot, partial(truth_of, belt), story.hear))
            agent = stack.enter_context(started(here(config, folder, port, web.url, root_of(repository)), folder))
            desk = Desk(folder, repository, Device(f"{HOST}:{port}", DEVICE, slot), story)
            work = stack.enter_context(closing(desk.work()))
            view = make_view(subscriber, story, f"listen too:  mosquitto_sub -h {HOST} -p {port} -t '{topics.results(pipeline)}'")
            watch(agent, subscriber, view, work, story, lambda: interruption.asked or story.running_s >= args.seconds)
            if agent.poll() is not None or (subscriber.latest is None and not interruption.asked):
                print(f"the agent gave no results; it says:\n{(folder / LOG).read_text()}", file=sys.stderr)
                return 1
    if subscriber.latest is not None:
        print(summary(subscriber, story))
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


def here(config: dict[str, Any], folder: Path, port: int, web: str, root: Path) -> dict[str, Any]:
    """The demo's config with our broker and repository, its state in a folder that goes away, and a result for every frame."""
    models = {name: {**slot, "bundle": str((CONFIG.parent / slot["bundle"]).resolve())} for name, slot in config["models"].items()}
    pipelines = {name: {**pipeline, "publish": {"empty": True}} for name, pipeline in config["pipelines"].items()}
    return {
        **config,
        "device": {"id": DEVICE},
        "models": models,
        "pipelines": pipelines,
        "mqtt": {"host": HOST, "port": port, "protocol": "3.1.1"},
        "updates": {"repository": web, "trust_root": str(root), **PROBATION},
        "state_dir": str(folder / "state"),
    }


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


def finish(work: Steps, interruption: Interruption) -> None:
    """All of some work. KeyboardInterrupt, with none of it under way."""
    with closing(work):
        for _ in work:
            interruption.check()
            time.sleep(LOOK_S)


def watch(
    agent: "subprocess.Popen[bytes]", subscriber: Subscriber, view: View, work: Steps, story: Story, is_over: Callable[[], bool]
) -> None:
    """Show what comes, and from the first result on let the desk work, until it is over, or the agent has failed."""
    with view:
        while not is_over() and agent.poll() is None:
            if subscriber.latest is not None:
                next(work, None)
            elif story.running_s > FIRST_RESULT_S:
                return
            view.show()
            time.sleep(LOOK_S)
