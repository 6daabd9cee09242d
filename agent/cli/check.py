"""edge-agent check: would this config run, and if not, why not? Loads every model once; asks no camera and no broker."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.checked import suggest
from agent.cli.options import store_for
from agent.config import Config, load_config
from agent.core.spec import ModelSpec
from agent.document import show
from agent.errors import AgentError
from agent.pipeline.config import ModelConfig
from agent.publish.tls import client_context

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from agent.worker.starting import LoadedModel

EXAMPLES = """examples:
  edge-agent check config.yaml
  edge-agent check /etc/edge-agent/config.yaml     with the files of /etc/edge-agent/config.d over it

exit status: 0 it would run, 1 a model is wrong, 2 the config is wrong"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "check",
        help="check a config and the models that it names",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what would run; ConfigError lists every problem of the config. 1 where a model is wrong."""
    config = load_config(args.config)
    if config.mqtt.tls:
        client_context(config.mqtt.tls)
    print(f"device    {config.device_id}")
    print(f"mqtt      {config.mqtt.host}:{config.mqtt.port}{', TLS' if config.mqtt.tls else ''}")
    if config.updates:
        window = config.updates.window
        print(f"updates   {config.updates.repository or 'from no repository'}{f', switched from {window}' if window else ''}")
    specs = {name: _checked(name, slot, config.state_dir) for name, slot in config.models.items()}
    for line in _summary(config, specs):
        print(line)
    return 1 if None in specs.values() else 0


def _checked(name: str, slot: ModelConfig, state: Path) -> ModelSpec | None:
    from agent.pipeline.models import look_at  # noqa: PLC0415  a wrong config is told without importing the worker

    try:
        _, loaded = look_at(name, slot, store_for(slot.bundle, state))
        spec = loaded.variant.resolve(loaded.report)
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"edge-agent: models.{name}: {line}", file=sys.stderr)
        return None
    for line in _model_lines(name, spec, loaded):
        print(line)
    return spec


def _model_lines(name: str, spec: ModelSpec, loaded: "LoadedModel") -> Iterator[str]:
    width, height = spec.input.size
    labels = f"{len(spec.labels)} labels" if spec.labels else "no labels"
    what = f"{spec.task} by {spec.head.type}, {width}x{height}, {labels}"
    variant = f", variant {spec.variant}" if spec.variant else ""
    yield f"model     {name}: {spec.name} {spec.version}{variant}, {what}, on {loaded.report.delegate}"
    for delegate, why in loaded.refused.items():
        yield f"          delegate {delegate} cannot be had: {why}"


def _summary(config: Config, specs: dict[str, ModelSpec | None]) -> Iterator[str]:
    for name, source in config.sources.items():
        unused = "" if any(p.source == name for p in config.pipelines.values()) else " (no pipeline takes it)"
        yield f"source    {name}: {source.__struct_config__.tag}{unused}"
    for name, pipeline in config.pipelines.items():
        yield f"pipeline  {name}: {pipeline.source} -> {pipeline.model} -> results/{name}"
        spec = specs[pipeline.model]
        for label in pipeline.labels or []:
            if spec is not None and label not in spec.labels:
                yield f"          {spec.name} has no label {show(label)}{suggest(label, spec.labels)}"
