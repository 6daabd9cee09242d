"""The operator's desk: edge-fleet, as anyone would type it, on a repository and a broker that go away with the demo."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import yaml

from agent.errors import PublishError
from agent.fleet.layout import Layout
from agent.fleet.rollout import ENDINGS
from scripts.demo.story import Story

PROJECT = Path(__file__).parents[2]
NEXT = PROJECT / "models/parts-1.1.0"
DESK_NICE = 10  # in life it is another computer, which takes no time from the device
ALONE_S = 10.0  # of the first model
NEW = "spring"  # the label that it has and the one before has not
EXCHANGED = ("bolt", "nut")

Steps = Generator[None, None, None]  # of work that is looked at between two pictures of the view


class Device(NamedTuple):
    """Where the models are to go. broker: HOST:PORT."""

    broker: str
    name: str
    slot: str


def make_repository(folder: Path) -> Steps:
    """Without a model yet; its keys lie beside it."""
    yield from _edge_fleet("init", folder)


def root_of(repository: Path) -> Path:
    """What devices trust at first."""
    return Layout(repository).role("root", 1)


class Desk:
    """Its work is done in steps, for the caller to take; whoever closes them ends a command that is under way."""

    def __init__(self, folder: Path, repository: Path, device: Device, story: Story) -> None:
        """folder: for a bundle that is made to be broken."""
        self._folder = folder
        self._repository = repository
        self._device = device
        self._story = story

    def work(self) -> Steps:
        """A model that is better, then one that is broken."""
        begin_s = self._story.running_s + ALONE_S
        while self._story.running_s < begin_s:
            yield
        state = yield from self._deploy(NEXT, f"another runtime, another input size, and it knows {NEW}s")
        if state == "committed":
            broken = broken_copy(NEXT, self._folder / "parts-1.2.0", "1.2.0")
            yield from self._deploy(broken, f"broken: somebody has exchanged the labels {' and '.join(EXCHANGED)}")

    def _deploy(self, bundle: Path, remark: str) -> Generator[None, None, str]:
        """Returns the state in which the deployment has ended."""
        manifest = yaml.safe_load((bundle / "bundle.yaml").read_text())
        release = f"{manifest['name']}@{manifest['version']}"
        self._story.tell("desk", f"edge-fleet publish {bundle.name}  # {remark}")
        yield from _edge_fleet("publish", bundle, "--repo", self._repository)
        device = self._device
        where = ("--slot", device.slot, "--device", device.name)
        self._story.tell("desk", f"edge-fleet deploy {release} {' '.join(where)}")
        broker = ("--mqtt", device.broker, "--protocol", "3.1.1")
        said = yield from _edge_fleet("deploy", release, *where, "--repo", self._repository, *broker, "--json")
        deployment = json.loads(said)["deployment"]
        while True:
            reported = self._story.reported
            if reported and reported.deployment == deployment and reported.state in ENDINGS:
                return reported.state
            yield


def broken_copy(bundle: Path, copy: Path, version: str) -> Path:
    """A copy with a version of its own, in which two labels are exchanged."""
    shutil.copytree(bundle, copy)
    manifest = copy / "bundle.yaml"
    manifest.write_text(yaml.safe_dump({**yaml.safe_load(manifest.read_text()), "version": version}))
    labels = copy / "labels.txt"
    one, other = EXCHANGED
    names = [{one: other, other: one}.get(name, name) for name in labels.read_text().split()]
    labels.write_text("\n".join(names) + "\n")
    return copy


def _edge_fleet(*arguments: str | Path) -> Generator[None, None, str]:
    """Returns what it prints. PublishError where it fails."""
    command = [sys.executable, "-m", "agent.fleet.main", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_FLEET_")}
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us
    ) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, DESK_NICE)
        try:
            while process.poll() is None:
                yield
        finally:
            process.kill()
        out, err = process.communicate()
    if process.returncode:
        raise PublishError(f"edge-fleet {arguments[0]}: {err.strip()}")
    return out
