"""Writes a bundle's directory for a model file, from what the file tells, what options say, and what is answered at a terminal."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.bundles.labels import LABELS, write_labels
from agent.bundles.load import MANIFEST, Bundle, name_for, open_bundle, parts_of
from agent.bundles.manifest import Manifest
from agent.bundles.metadata import read_facts
from agent.bundles.resolve import UndecidedError, resolve
from agent.checked import check
from agent.core.heads import HEADS
from agent.core.spec import ModelSpec
from agent.document import Document
from agent.errors import OutputError, UsageError
from agent.pipeline.config import ModelConfig
from agent.pipeline.models import look_at
from agent.runtimes import ModelReport

Ask = Callable[[str], str]
OPTIONS = {"name": "--name", "version": "--version", "input.size": "--size", "input.mean": "--mean", "input.std": "--std"}


def write_bundle(args: argparse.Namespace) -> int:
    """The verb `model init`, see `agent.cli.model`."""
    bundle = open_bundle(args.model, args.labels)
    if not bundle.bare:
        raise UsageError(f"{args.model}: it has a {MANIFEST} already; give the model file itself")
    folder = args.output or Path(args.name or name_for(args.model))
    if os.path.exists(folder):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise UsageError(f"{folder}: it is there already; say --output DIR for another folder")
    report = look_at(bundle.name, ModelConfig(bundle=str(args.model), labels=args.labels))[1].report
    spec = decide(bundle, report, _fields(args), _at_terminal if sys.stdin.isatty() else None)
    write(folder, bundle, spec, read_facts(report.metadata, bundle.runtime).license)
    print(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    if not spec.labels:
        print(f"no labels are known, so classes are reported by number; put them into {folder}/{LABELS} and say labels: {LABELS}")
    print(f"try it: edge-agent predict {folder} PICTURE")
    return 0


def decide(bundle: Bundle, report: ModelReport, fields: dict[str, Any], ask: Ask | None) -> ModelSpec:
    """What the model is, with `fields` of the manifest given. ask: where there is a terminal. UsageError for what must be said."""
    while True:
        problems: list[str] = []
        data = {"name": bundle.name, "version": bundle.version, "model": bundle.model.name, **fields}
        manifest = check(Document(data), Manifest, problems)
        if manifest is None or problems:
            raise UsageError("\n".join(_by_option(problem) for problem in problems))
        asked = replace(bundle, name=manifest.name, version=manifest.version, manifest=manifest)
        try:
            return resolve(asked, report)
        except UndecidedError as error:
            if ask is None:
                raise UsageError(f"{error.why}; say {_needed(error)}") from None
            print(error.why)
            fields = _answered(error, fields, ask)


def write(folder: Path, bundle: Bundle, spec: ModelSpec, license_: str) -> None:
    """Make the folder with its bundle.yaml, the labels and the model, or nothing. UsageError, OutputError where that fails."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    try:
        for name, part in parts_of(bundle.model).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(part.resolve(), folder / name)
            except OSError:  # another file system, or someone else's file
                shutil.copyfile(part, folder / name)
        if spec.labels:
            write_labels(folder, spec.labels)
        text = "".join(f"{line}\n" for line in manifest_lines(bundle, spec, license_))
        (folder / MANIFEST).write_text(text, encoding="utf-8")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise OutputError(f"{folder} cannot be written: {error.strerror}") from None
        raise


def manifest_lines(bundle: Bundle, spec: ModelSpec, license_: str) -> Iterator[str]:
    """A bundle.yaml that says everything."""
    yield "# How edge-agent uses this model. Its docs/bundles.md explains every field."
    yield "format: 1"
    yield f"name: {spec.name}"
    yield f"version: {_quoted(spec.version)}  # in quotes; raise it with every change"
    yield f"license: {_quoted(license_)}" if license_ else "# license: Apache-2.0"
    yield f"model: {_quoted(bundle.model.name)}"
    yield f"task: {spec.task}"
    yield f"labels: {LABELS}  # {len(spec.labels)}, one a line" if spec.labels else f"# labels: {LABELS}  # one a line"
    yield from _input_lines(spec)
    yield "head:  # how the outputs are decoded"
    yield f"  type: {spec.head.type}"
    yield from (f"  {key}: {_value(value)}" for key, value in spec.head.options.items() if value is not None)
    yield "nms:  # what is kept where a pipeline does not say"
    kept = spec.thresholds
    yield f"  score: {kept.score}"
    if kept.iou is not None:
        yield f"  iou: {kept.iou}"
        yield f"  class_agnostic: {_value(kept.class_agnostic)}"
    yield f"  max_detections: {kept.max_detections}"


def _input_lines(spec: ModelSpec) -> Iterator[str]:
    picture = spec.input
    shape = "x".join(str(n) for n in spec.tensor.shape)
    yield f"input:  # how a picture becomes {spec.tensor.dtype} {shape}"
    yield f"  size: [{picture.size[0]}, {picture.size[1]}]  # width, height"
    yield f"  color: {picture.color}"
    yield f"  resize: {picture.resize}"
    if picture.resize == "letterbox":
        yield f"  anchor: {picture.anchor}"
        yield f"  pad: {picture.pad}"
    yield f"  interpolation: {picture.interpolation}"
    if picture.mean:
        mean, std = (_value(numbers[0] if len(numbers) == 1 else numbers) for numbers in (picture.mean, picture.std))
        yield f"  mean: {mean}  # (pixel - mean) / std, pixels from 0 to 255"
        yield f"  std: {std}"
    else:
        yield "  # no mean and std: this quantized input takes the pixels themselves"


def _fields(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as a manifest has it."""
    picture = {"size": _size(args.size), "mean": _numbers("--mean", args.mean), "std": _numbers("--std", args.std)}
    if args.head is not None and args.head not in HEADS:
        raise UsageError(f"--head: expected one of {', '.join(HEADS)}, got {args.head}")
    return {
        "name": args.name or name_for(args.model),
        "version": args.version,
        "input": {key: value for key, value in picture.items() if value is not None},
        **({"head": {"type": args.head}} if args.head else {}),
    }


def _size(text: str | None) -> list[int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size: expected WxH, such as 640x640, got {text}")
    return [int(width), int(height)]


def _numbers(option: str, text: str | None) -> float | list[float] | None:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option}: expected a number, or one a channel such as 123.7,116.3,103.5, got {text}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _at_terminal(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        raise UsageError("no answer: nothing is written") from None


def _needed(error: UndecidedError) -> str:
    if error.field == "input.mean":
        return "--mean N --std N"
    return " or ".join(f"--head {choice}" for choice in error.choices) or "--size WxH"


def _answered(error: UndecidedError, fields: dict[str, Any], ask: Ask) -> dict[str, Any]:
    """The fields with an answer to what was undecided. UsageError where the answer makes no sense."""
    if error.field == "head.type":
        name = ask(f"head ({', '.join(error.choices)}): ").strip()
        if name not in error.choices:
            raise UsageError(f"expected one of {', '.join(error.choices)}, got {name}")
        return fields | {"head": {"type": name}}
    if error.field == "input.size":
        added: dict[str, Any] = {"size": _size(ask("size of the input (WxH): ").strip())}
    else:
        added = {"mean": _numbers("mean", ask("mean: ")), "std": _numbers("std", ask("std: "))}
    return fields | {"input": {**fields.get("input", {}), **added}}


def _by_option(problem: str) -> str:
    """A problem of a manifest's field, as one of the option that gave it."""
    field, colon, rest = problem.partition(": ")
    return f"{OPTIONS.get(field.partition('[')[0], field)}{colon}{rest}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return f"{value:.10g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, bool | int) else str(value)
