"""edge-fleet bundle check: what devices would say of a bundle, as far as this computer can tell, before it is published."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.bundles.load import Bundle, open_variants
from agent.bundles.resolve import resolve
from agent.errors import AgentError, UsageError, VettingError
from agent.pipeline.config import ModelConfig
from agent.pipeline.models import plan
from agent.vet import vet_by_hand
from agent.worker.inspect import inspect_model

if TYPE_CHECKING:
    from argparse import _SubParsersAction

EXAMPLES = """examples:
  edge-fleet bundle check people

exit status: 0 fine, 1 a device would refuse it, or no variant can be loaded here"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser("bundle", help="check a bundle before it is published")
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    check = kinds.add_parser(
        "check",
        help="what devices would say of it",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("bundle", metavar="DIR", type=Path, help="a bundle's folder")
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what holds; 1 where a variant that this computer serves is wrong, or it serves none, or would refuse it in vetting."""
    if not args.bundle.is_dir():
        raise UsageError(f"{args.bundle}: expected a bundle's folder; edge-agent model init MODEL-FILE writes one")
    bundles = open_variants(args.bundle)
    print(f"bundle    {bundles[0].name}@{bundles[0].version}")
    print(f"digest    {bundles[0].digest}")
    config = ModelConfig(bundle=str(args.bundle))
    planned = plan(config, bundles)
    for unfit, why in planned.model.unfit.items():
        print(f"variant   {unfit}: not for this computer: {why}")
    failed = False
    for bundle, variant in zip(planned.bundles, planned.model.variants, strict=True):
        said = f"variant   {bundle.variant}: " if bundle.variant else "model     "
        try:
            loaded = inspect_model(bundle.name, replace(planned.model, variants=(variant,)))
            spec = resolve(bundle, loaded.report)
        except AgentError as error:
            failed = True
            for line in str(error).splitlines():
                print(f"edge-fleet: {line}", file=sys.stderr)
            continue
        labels = f"{len(spec.labels)} labels" if spec.labels else "no labels"
        size = "x".join(map(str, spec.input.size))
        print(f"{said}{spec.task} by {spec.head.type}, {size}, {labels}, on {loaded.report.delegate}")
    if not failed:
        try:
            vet_by_hand(config, passed=lambda check, result: print(f"{check:9} {result}"))
        except VettingError as error:
            failed = True
            print(f"edge-fleet: a device would refuse it ({error.code}): {error}", file=sys.stderr)
    for warning in _lacking(bundles):
        print(f"lacking   {warning}")
    return 1 if failed else 0


def _lacking(bundles: tuple[Bundle, ...]) -> Iterator[str]:
    if not all(bundle.manifest.golden for bundle in bundles):
        yield "golden: without a sample, a device cannot tell whether its runtime computes what yours does"
    if any(bundle.manifest.license is None for bundle in bundles):
        yield "license: whoever gets the model does not know what is allowed"
    if any(bundle.manifest.requires.memory_mb is None for bundle in bundles):
        yield "requires.memory_mb: a device cannot tell beforehand whether its memory is enough"
