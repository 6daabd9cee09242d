"""edge-agent model: look at a model, make a bundle, try it, fetch a public one, or say which the running agent is to have."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.bundles.load import Bundle, name_for
from agent.bundles.metadata import read_facts
from agent.bundles.resolve import resolve
from agent.cli import model_daemon
from agent.cli.options import add_labels_option, add_runtime_options, add_state_option, store_for
from agent.core.spec import ModelSpec
from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.pipeline.config import ModelConfig
from agent.runtimes import ModelReport

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SHOW_EXAMPLES = """examples:
  edge-agent model show yolov8n_int8.tflite
  edge-agent model show people/
  edge-agent model show mobilenet.tflite --labels imagenet.txt --json"""
INIT_EXAMPLES = """examples:
  edge-agent model init yolov8n_int8.tflite                     a folder yolov8n_int8 from what the file says of itself
  edge-agent model init best.onnx --name people --labels labels.txt --output bundles/people
  edge-agent model init net.tflite --head classify --mean 127.5 --std 127.5

What neither the file nor an option says is asked for at a terminal, and named elsewhere."""
VET_EXAMPLES = """examples:
  edge-agent model vet people/
  edge-agent model vet people/ --delegate edgetpu --delegate cpu

exit status: 0 fit to serve, 1 not"""
FETCH_EXAMPLES = """examples:
  edge-agent model fetch                             what there is
  edge-agent model fetch yolox-nano                  a folder yolox-nano: the model, its labels and bundle.yaml
  edge-agent model fetch yolox-nano --output bundles/things

A download that was cut off goes on where it ended when the command is given again."""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = verbs.add_parser(
        "model", help="models: look at one, make a bundle, try it, or say which the agent is to have", description=__doc__
    )
    kinds = parser.add_subparsers(metavar="show|init|vet|fetch|list|install|activate|rollback|verify", required=True)
    shown = kinds.add_parser(
        "show", help="its tensors, and how they would be used", epilog=SHOW_EXAMPLES, formatter_class=formatter
    )
    shown.add_argument("model", metavar="MODEL", help="a model file, a bundle's directory, or name@version in the store")
    add_state_option(shown)
    add_labels_option(shown)
    shown.add_argument("--json", action="store_true", help="for programs")
    shown.set_defaults(run=show)
    init = kinds.add_parser("init", help="write a bundle for a model file", epilog=INIT_EXAMPLES, formatter_class=formatter)
    init.add_argument("model", metavar="FILE", type=Path, help="a .tflite, .onnx or OpenVINO .xml file")
    init.add_argument("--labels", metavar="FILE", help="a label list, one label a line")
    init.add_argument("--name", help="of the bundle; the file's, if nothing is said")
    init.add_argument("--version", default="1.0.0", help="of the bundle; %(default)s, if nothing is said")
    init.add_argument("--head", metavar="TYPE", help="what decodes the outputs; guessed from their shapes, if nothing is said")
    init.add_argument("--size", metavar="WxH", help="of the input, where the model leaves it open")
    init.add_argument(
        "--mean", metavar="N", help="subtracted from each pixel of 0 to 255; one number, or one a channel: 123.7,116.3,103.5"
    )
    init.add_argument("--std", metavar="N", help="by which each pixel is then divided")
    init.add_argument("--output", metavar="DIR", type=Path, help="the bundle's folder; NAME, if nothing is said")
    init.set_defaults(run=init_bundle)
    vetted = kinds.add_parser(
        "vet", help="try it as the agent does before it takes over", epilog=VET_EXAMPLES, formatter_class=formatter
    )
    vetted.add_argument("model", metavar="MODEL", help="a model file, a bundle's directory, or name@version in the store")
    add_state_option(vetted)
    add_labels_option(vetted)
    add_runtime_options(vetted)
    vetted.set_defaults(run=vet)
    fetched = kinds.add_parser("fetch", help="fetch a public model", epilog=FETCH_EXAMPLES, formatter_class=formatter)
    fetched.add_argument("name", nargs="?", metavar="NAME", help="a model of the catalog; without it, the catalog is listed")
    fetched.add_argument("--output", metavar="DIR", type=Path, help="the bundle's folder; NAME, if nothing is said")
    fetched.add_argument("--catalog", metavar="FILE", type=Path, help="a catalog of your own, written as models/catalog.yaml")
    fetched.set_defaults(run=fetch_bundle)
    model_daemon.add_parsers(kinds)


def init_bundle(args: argparse.Namespace) -> int:
    """Write a bundle."""
    from agent.cli.bundle_writer import write_bundle  # noqa: PLC0415  show does without it

    return write_bundle(args)


def fetch_bundle(args: argparse.Namespace) -> int:
    """Fetch a model, or list what there is."""
    from agent.cli.model_fetch import fetch_model  # noqa: PLC0415  as above

    return fetch_model(args)


def vet(args: argparse.Namespace) -> int:
    """Try a model."""
    from agent.cli.model_vet import vet_model  # noqa: PLC0415  as above

    return vet_model(args)


def show(args: argparse.Namespace) -> int:
    """Print what a model is. 1 where it can be loaded but not used as it is."""
    from agent.pipeline.models import look_at  # noqa: PLC0415  --help does without it

    slot = ModelConfig(bundle=args.model, labels=args.labels)
    bundle, loaded = look_at(name_for(Path(args.model)), slot, store_for(args.model, args.state_dir))
    report = loaded.report
    try:
        spec, problem = resolve(bundle, report), None
    except BundleError as error:
        spec, problem = None, error
    if args.json:
        print(json.dumps(_as_data(bundle, report, spec, problem), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_as_text(bundle, report, spec)))
    if problem is not None:
        raise problem
    return 0


def _as_data(bundle: Bundle, report: ModelReport, spec: ModelSpec | None, problem: BundleError | None) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "variant": bundle.variant,
        "model": str(bundle.model),
        "runtime": bundle.runtime,
        "delegate": report.delegate,
        "inputs": [asdict(tensor) for tensor in report.inputs],
        "outputs": [asdict(tensor) for tensor in report.outputs],
        "metadata": dict(report.metadata),
        "spec": asdict(spec) if spec else None,
        "problem": str(problem) if problem else None,
    }


def _as_text(bundle: Bundle, report: ModelReport, spec: ModelSpec | None) -> Iterator[str]:
    facts = read_facts(report.metadata, bundle.runtime)
    yield f"{bundle.name} {bundle.version}  {bundle.model}"
    yield f"digest      {bundle.digest}"
    if bundle.variant:
        yield f"variant     {bundle.variant}"
    yield f"runtime     {bundle.runtime} on {report.delegate}"
    for tensor in report.inputs:
        yield f"input       {_tensor(tensor)}"
    for tensor in report.outputs:
        yield f"output      {_tensor(tensor)}"
    if facts.origin:
        about = "; ".join(part for part in (facts.description, facts.license and f"licence: {facts.license}") if part)
        yield f"metadata    {facts.origin}{': ' if about else ''}{about}"
    if spec is not None:
        yield from _spec(spec)


def _spec(spec: ModelSpec) -> Iterator[str]:
    picture = spec.input
    resize = f"{picture.resize} {picture.anchor}, pad {picture.pad}" if picture.resize == "letterbox" else picture.resize
    scaling = f"(pixel - {_list(picture.mean)}) / {_list(picture.std)}" if picture.mean else "the pixels themselves"
    yield f"task        {spec.task}"
    yield f"picture     {picture.size[0]}x{picture.size[1]} {picture.color}, {resize}, {picture.interpolation}, {scaling}"
    options = ", ".join(f"{key}: {_option(value)}" for key, value in spec.head.options.items() if value is not None)
    yield f"head        {spec.head.type}{': ' if options else ''}{options}"
    kept = spec.thresholds
    overlap = "none" if kept.iou is None else f"IoU {kept.iou}{', across classes' if kept.class_agnostic else ''}"
    yield f"keeps       score >= {kept.score}, at most {kept.max_detections}; NMS {overlap}"
    if not spec.labels:
        yield "labels      none known: classes are reported by number"
    else:
        first = ", ".join(spec.labels[:5])
        yield f"labels      {len(spec.labels)}: {first}{', …' if len(spec.labels) > 5 else ''}"


def _tensor(tensor: TensorSpec) -> str:
    shape = ", ".join(str(n) if n >= 0 else "?" for n in tensor.shape)
    quantized = f", real = (q - {tensor.zero_point}) * {tensor.scale:.6g}" if tensor.quantized else ""
    return f"{tensor.name} {tensor.dtype} [{shape}]{quantized}"


def _list(numbers: tuple[float, ...]) -> str:
    return f"{numbers[0]:g}" if len(numbers) == 1 else f"[{', '.join(f'{n:g}' for n in numbers)}]"


def _option(value: object) -> str:
    return f"[{', '.join(str(item) for item in value)}]" if isinstance(value, list | tuple) else str(value)
