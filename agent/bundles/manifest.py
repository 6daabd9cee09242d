"""bundle.yaml as msgspec Structs.

python -m agent.bundles.manifest > docs/bundle.schema.json
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from agent import __version__
from agent.bundles.content import model_files
from agent.checked import Name, Version, check, suggest
from agent.core.heads import FAMILIES, HEADS
from agent.core.spec import Anchor, Color, Interpolation, Resize, Task
from agent.document import Document, Keys, load_yaml, show
from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import RuntimeName

LATER_TASKS = ("anomaly", "regress", "embed")

Section = TypeVar("Section", bound=Struct)
Fraction = Annotated[float, Meta(ge=0, le=1)]
Pixels = Annotated[int, Meta(ge=1, le=16384)]
Positive = Annotated[float, Meta(gt=0)]
LeastVersion = Annotated[str, Meta(pattern=r"^>=\d{1,9}(\.\d{1,9}){0,2}$", description='a least version, such as ">=1.0"')]


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture becomes the model's input, see `agent.core.spec.InputSpec`; the tensor, then the head, decide what is left out.

    size: [width, height]. mean, std: one number, or one a channel in the order of `color`, for pixels of 0 to 255.
    """

    size: tuple[Pixels, Pixels] | None = None
    color: Color | None = None
    resize: Resize | None = None
    anchor: Anchor | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    interpolation: Interpolation | None = None
    mean: float | list[float] | None = None
    std: Positive | list[Positive] | None = None


class Nms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What pipelines keep unless they say otherwise, see `agent.core.spec.Thresholds`; the head decides what is left out."""

    score: Fraction | None = None
    iou: Fraction | None = None
    class_agnostic: bool | None = None
    max_detections: Annotated[int, Meta(ge=1, le=5000)] | None = None


class DeviceRequires(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device must have. delegate: among its slot's, and to be had. runtime: what is to run it. arch: of its processor."""

    delegate: Name | None = None
    runtime: RuntimeName | None = None
    arch: Literal["x86_64", "aarch64"] | None = None


class Requires(DeviceRequires, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As DeviceRequires; agent: its least version. memory_mb: what the model needs while it runs."""

    agent: LeastVersion | None = None
    memory_mb: Annotated[int, Meta(ge=1)] | None = None


class Golden(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture and what the model finds in it; boxes may differ down to an IoU of `iou`, scores by `score`."""

    input: str
    expect: str
    iou: Fraction = 0.9
    score: Fraction = 0.05


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model in another form; what it leaves out is the bundle's. input, nms: field by field. max_latency_ms: as of Manifest."""

    id: Name
    model: str
    requires: DeviceRequires = DeviceRequires()
    labels: str | None = None
    input: Input = Input()
    head: dict[str, Any] | None = None
    nms: Nms = Nms()
    max_latency_ms: Positive | None = None
    golden: list[Golden] | None = None


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model and how to use it. model, labels: files in the bundle's directory. head: its type and that type's own options.

    variants: in place of `model`; a device takes the first that it can serve. max_latency_ms: what the median of its inferences may
    take on a device.
    """

    format: Literal[1] = 1
    name: Name
    version: Version
    license: str | None = None
    model: str | None = None
    task: Task | None = None
    labels: str | None = None
    input: Input = Input()
    head: dict[str, Any] | None = None
    nms: Nms = Nms()
    variants: Annotated[list[Variant], Meta(min_length=1)] = []
    requires: Requires = Requires()
    max_latency_ms: Positive | None = None
    golden: list[Golden] = []
    provenance: dict[str, str] = {}

    def models(self) -> list[str]:
        """Its model file, or that of each variant."""
        named = [self.model, *(variant.model for variant in self.variants)]
        return list(dict.fromkeys(name for name in named if name))

    def files(self) -> list[str]:
        """Every file that it names, the weights that belong to an OpenVINO model included."""
        named = [*_model_files(self.model), self.labels, *_golden_files(self.golden)]
        for variant in self.variants:
            named += [*_model_files(variant.model), variant.labels, *_golden_files(variant.golden or [])]
        return list(dict.fromkeys(name for name in named if name))

    def alone(self, variant: Variant) -> "Manifest":
        """That of a bundle with one of its variants as its only model."""
        return msgspec.structs.replace(
            self,
            variants=[],
            model=variant.model,
            labels=variant.labels or self.labels,
            input=_over(self.input, variant.input),
            head=variant.head or self.head,
            nms=_over(self.nms, variant.nms),
            requires=_over(self.requires, variant.requires),
            max_latency_ms=variant.max_latency_ms or self.max_latency_ms,
            golden=self.golden if variant.golden is None else variant.golden,
        )


def _model_files(name: str | None) -> list[str]:
    return [] if name is None else [name, *(str(part) for part in model_files(PurePosixPath(name))[1:])]


def _golden_files(samples: list[Golden]) -> list[str]:
    return [path for sample in samples for path in (sample.input, sample.expect)]


def _over(ours: Section, theirs: Struct) -> Section:
    """`ours`, and over it what `theirs` says."""
    return msgspec.structs.replace(
        ours, **{key: value for key, value in msgspec.structs.asdict(theirs).items() if value is not None}
    )


def read_manifest(path: Path) -> tuple[Manifest, dict[str, Any]]:
    """A bundle.yaml, checked, and its data as they were written. BundleError with every problem, one a line."""
    problems: list[str] = []
    document = load_yaml(path, problems)
    manifest = check_manifest(document, problems) if document else None
    if problems or document is None or manifest is None:
        raise BundleError("\n".join(problems))
    return manifest, document.data if isinstance(document.data, dict) else {}


def check_manifest(document: Document, problems: list[str]) -> Manifest | None:
    """What a bundle says of itself, in YAML or in a published manifest. Problems are lines; None where too little remains."""
    manifest = check(_without_later_tasks(document, problems), Manifest, problems)
    if isinstance(document.data, dict):
        _check_models(document, document.data, problems)
    if manifest:
        _check_head(document, manifest.head, problems)
        for i, variant in enumerate(manifest.variants):
            _check_head(document, variant.head, problems, ("variants", i))
    return manifest


def check_agent(place: object, manifest: Manifest) -> None:
    """BundleError where it needs a later edge-agent than this."""
    least = manifest.requires.agent
    if least is not None and _numbers(__version__) < _numbers(least.removeprefix(">=")):
        raise BundleError(f"{place}: requires.agent: it needs an edge-agent {least}, this is {__version__}")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _check_models(document: Document, data: dict[str, Any], problems: list[str]) -> None:
    variants = data.get("variants")
    if ("model" in data) == ("variants" in data):
        way_out = "say either model: FILE or variants, a list of {id: …, model: FILE, requires: …}"
        problems.append(document.problem(("variants",) if "variants" in data else (), way_out))
    ids = [str(variant.get("id")) for variant in variants if isinstance(variant, dict)] if isinstance(variants, list) else []
    problems += [document.problem(("variants", i, "id"), f"{id_} is there twice") for i, id_ in enumerate(ids) if id_ in ids[:i]]


def _without_later_tasks(document: Document, problems: list[str]) -> Document:
    data = document.data
    if not isinstance(data, dict) or data.get("task") not in LATER_TASKS:
        return document
    built = ", ".join(get_args(Task))
    problems.append(document.problem(("task",), f"{data['task']} is not built yet in this version; only {built} are"))
    return replace(document, data={key: value for key, value in data.items() if key != "task"})


def _check_head(document: Document, head: dict[str, Any] | None, problems: list[str], under: Keys = ()) -> None:
    if head is None:
        return
    type_, options = head.get("type"), {key: value for key, value in head.items() if key != "type"}
    if not isinstance(type_, str) or type_ not in HEADS:
        got = f", got {show(type_)}{_suggest_head(type_)}" if "type" in head else ""
        problems.append(document.problem((*under, "head", "type"), f"expected one of {', '.join(HEADS)}{got}"))
    else:
        check(replace(document, data=options), load_class(HEADS[type_]).Options, problems, under=(*under, "head"))


def _suggest_head(name: object) -> str:
    plain = name.lower().replace("-", "").replace("_", "") if isinstance(name, str) else ""
    return f"; did you mean {FAMILIES[plain]}?" if plain in FAMILIES else suggest(name, HEADS)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of bundle.yaml, for editors."""
    schema = msgspec.json.schema(Manifest)
    for name in ("Manifest", "Variant"):
        schema["$defs"][name]["properties"]["head"] = {"anyOf": [_head_schema(type_) for type_ in HEADS]}
    schema["$defs"]["Manifest"]["oneOf"] = [{"required": ["model"]}, {"required": ["variants"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge-agent's bundle.yaml", **schema}


def _head_schema(type_: str) -> dict[str, Any]:
    (_, components) = msgspec.json.schema_components([load_class(HEADS[type_]).Options])
    (options,) = components.values()
    properties = {"type": {"const": type_}, **options["properties"]}
    return {"type": "object", "properties": properties, "required": ["type"], "additionalProperties": False}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
