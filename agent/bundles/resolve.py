"""From a bundle, and what the runtime reports of its tensors, to a ModelSpec in which everything is decided.

What the manifest says wins over what the file says of itself, that over the guess from the tensors' shapes and the head's defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import msgspec

from agent.bundles.load import MANIFEST, Bundle
from agent.bundles.metadata import read_facts
from agent.checked import check
from agent.core.guess import guess_heads
from agent.core.heads import HEADS, Head, ModelOutputs
from agent.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
from agent.core.types import Layout, TensorSpec
from agent.document import Document
from agent.errors import BundleError
from agent.loading import load_class
from agent.runtimes import ModelReport

PIXEL_TYPES = ("uint8", "int8", "int32", "float16", "float32")
CHANNELS = (1, 3)
MAX_SIDE = 16384  # of a picture in pixels, as in a manifest
MAX_PIXELS = 64_000_000


class UndecidedError(BundleError):
    """Neither manifest nor file says a field of the manifest, and nothing can be guessed.

    why: the first half of the message, without the way out. choices: what the field may be, empty where that is a free value.
    """

    def __init__(self, why: str, way_out: str, field: str, choices: Sequence[str] = ()) -> None:
        super().__init__(f"{why}{': ' if choices else '; '}{way_out}")
        self.why = why
        self.field = field
        self.choices = tuple(choices)


def resolve(bundle: Bundle, report: ModelReport) -> ModelSpec:
    """Decide everything. BundleError, naming the field or the tensor, where manifest, file and tensors do not agree."""
    return _Resolution(bundle, report).spec()


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    cls: type[Head]
    options: Any


class _Resolution:
    def __init__(self, bundle: Bundle, report: ModelReport) -> None:
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._report = report
        self._facts = read_facts(report.metadata, bundle.runtime)

    def spec(self) -> ModelSpec:
        """See `resolve`."""
        tensor = self._tensor()
        size = _size(tensor)
        labels = self._bundle.labels or self._facts.labels or ()
        outputs = ModelOutputs(self._report.outputs, size, len(labels))
        head = self._head(outputs)
        self._check_labels(head, outputs, labels)
        self._check_head(head, outputs)
        return ModelSpec(
            name=self._bundle.name,
            version=self._bundle.version,
            digest=self._bundle.digest,
            task=head.cls.task,
            labels=labels,
            input=self._input(tensor, size, head),
            tensor=tensor,
            head=HeadSpec(head.name, asdict(head.options)),
            thresholds=self._thresholds(head),
            variant=self._bundle.variant,
        )

    def _tensor(self) -> TensorSpec:
        """The picture input, its layout told and its dynamic dimensions filled in."""
        if len(self._report.inputs) != 1:
            names = ", ".join(_shown(tensor) for tensor in self._report.inputs)
            why = f"the model has {len(self._report.inputs)} inputs ({names}); only one picture is taken yet"
            raise self._error("", f"{why}: export it with the rest, a picture's size say, as constants")
        (tensor,) = self._report.inputs
        layout = self._layout(tensor)
        if tensor.shape[0] not in (1, -1):
            raise self._error(
                "", f"input {_shown(tensor)} takes {tensor.shape[0]} pictures at once; export the model for batches of 1"
            )
        if tensor.dtype not in PIXEL_TYPES:
            raise self._error("", f"input {_shown(tensor)} is {tensor.dtype}; only {', '.join(PIXEL_TYPES)} can hold a picture")
        known = replace(tensor, shape=(1, *tensor.shape[1:]), layout=layout)
        width, height = self._fill(_size(known), tensor)
        if not 0 < min(width, height) <= max(width, height) <= MAX_SIDE or width * height > MAX_PIXELS:
            limits = f"from 1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS // 1_000_000} megapixels are taken"
            raise self._error("", f"input {_shown(tensor)} is no picture of a usual size, but of {width}x{height}; {limits}")
        channels = tensor.shape[1 if layout == "NCHW" else 3]
        return replace(known, shape=(1, channels, height, width) if layout == "NCHW" else (1, height, width, channels))

    def _layout(self, tensor: TensorSpec) -> Layout:
        places: dict[Layout, int] = {"NHWC": 3, "NCHW": 1} if self._bundle.runtime == "litert" else {"NCHW": 1, "NHWC": 3}
        for layout, axis in places.items():
            if len(tensor.shape) == 4 and tensor.shape[axis] in CHANNELS:
                return layout
        raise self._error("", f"input {_shown(tensor)} is no picture of 1 or 3 channels, [1, h, w, c] or [1, c, h, w]")

    def _fill(self, size: tuple[int, int], tensor: TensorSpec) -> tuple[int, int]:
        """(width, height), where the tensor leaves one open, as manifest or file say."""
        wanted = self._manifest.input.size
        if wanted is not None and any(n not in (-1, w) for n, w in zip(size, wanted, strict=True)):
            raise self._error("input.size", f"it says {list(wanted)}, {self._model} has {list(size)} (width, height)")
        if -1 not in size:
            return size
        wanted = wanted or self._facts.size
        if wanted is None:
            why = f"the model takes pictures of any size, its input being {_shown(tensor)}"
            raise self._undecided("input.size", why, "input: {size: [640, 640]}")
        return (wanted[0] if size[0] == -1 else size[0], wanted[1] if size[1] == -1 else size[1])

    def _head(self, outputs: ModelOutputs) -> _Head:
        given = self._manifest.head or {}
        name = given.get("type") or self._told(outputs) or self._guess(outputs)
        cls = cast("type[Head]", load_class(HEADS[name]))
        if self._manifest.task not in (None, cls.task):
            raise self._error("task", f"it says {self._manifest.task}, but head {name} is for {cls.task}")
        from_file = self._facts.head_options if name == self._facts.head else {}
        options = {**from_file, **{key: value for key, value in given.items() if key != "type"}}
        problems: list[str] = []
        checked = check(Document(options), cls.Options, problems, under=("head",))
        if problems:
            raise self._error("", "; ".join(problems))
        return _Head(name, cls, checked)

    def _told(self, outputs: ModelOutputs) -> str | None:
        """The head that the file's metadata names. Where it fits and its family has others that end otherwise, the tensors tell."""
        name = self._facts.head
        if name is None or name not in self._facts.heads:
            return name
        return next((head for head in self._facts.heads if _fits(head, outputs)), name)

    def _guess(self, outputs: ModelOutputs) -> str:
        told = self._facts.task
        if told is not None:
            taken = "of Ultralytics' models detect, classify and pose are taken, of RF-DETR's detect"
            raise self._error("", f"its metadata says task {told}, for which there is no head; {taken}")
        heads = [head for head in HEADS if self._manifest.task in (None, load_class(HEADS[head]).task)]
        guess = guess_heads(outputs, heads)
        if not guess.heads:
            guess = guess_heads(replace(outputs, classes=0), heads)
        if len(guess.heads) == 1:
            return next(iter(guess.heads))
        shapes = ", ".join(_shown(tensor) for tensor in outputs.tensors)
        if not guess.heads:
            why = f"no head takes the outputs {shapes} as they are; there are {', '.join(HEADS)}"
            if guess.wanting:
                why = f"no head takes the outputs {shapes} as they are: {'; '.join(guess.wanting)}"
            raise self._error(
                "head", f"{why}; if one of them fits with options of its own, say them in a {MANIFEST}: docs/bundles.md"
            )
        subject = f"output {_dimensions(outputs.tensors[0])} fits" if len(outputs.tensors) == 1 else f"outputs {shapes} fit"
        why = f"{subject} {_with_classes(guess.heads)}"
        way_out = f"say head.type, or run edge-agent model init {self._bundle.model}" if self._bundle.bare else "say head.type"
        raise UndecidedError(self._line("head.type", why), way_out, "head.type", list(guess.heads))

    def _ways(self, field: str) -> str:
        if not self._bundle.bare:
            return f"say {field}"
        return f"say {field} in a {MANIFEST}, which this writes: edge-agent model init {self._bundle.model}"

    def _check_labels(self, head: _Head, outputs: ModelOutputs, labels: Sequence[str]) -> None:
        try:
            classes = head.cls.classes(outputs)
        except ValueError as error:
            raise self._error("head", str(error)) from None
        if labels and classes is not None and classes not in (-1, len(labels)):
            if self._bundle.labels_file is not None:
                source = f"{self._bundle.labels_file.name} has {len(labels)} lines"
            else:
                source = f"{self._model}'s metadata has {len(labels)} labels"
            shapes = ", ".join(_shown(tensor) for tensor in outputs.tensors)
            raise self._error("labels", f"{source}, output {shapes} has {classes} classes")

    def _check_head(self, head: _Head, outputs: ModelOutputs) -> None:
        try:
            head.cls(outputs, head.options)
        except ValueError as error:
            raise self._error("head", str(error)) from None

    def _input(self, tensor: TensorSpec, size: tuple[int, int], head: _Head) -> InputSpec:
        section = self._manifest.input
        given = {key: value for key, value in msgspec.structs.asdict(section).items() if value is not None and key != "size"}
        # A quantized input takes the pixels themselves, whatever its float ancestor was trained with (metadata_schema.fbs).
        scaling = () if tensor.quantized and "mean" not in given and "std" not in given else ("mean", "std")
        told = self._facts.input
        if self._facts.head not in (None, head.name):  # how pictures are cut is another head's matter
            told = {key: value for key, value in told.items() if key in ("color", "mean", "std")}
        chosen = {**head.cls.input, **told, **given}
        if any(key not in chosen for key in scaling):
            raise self._unscaled(tensor)
        channels = _channels(tensor)
        if channels == 1:
            chosen["color"] = given.get("color", "gray")
        if (chosen.get("color") == "gray") != (channels == 1):
            raise self._error("input.color", f"{chosen.get('color', 'rgb')}, but input {_shown(tensor)} has {channels} channels")
        for key in ("mean", "std"):
            chosen[key] = self._per_channel(key, chosen[key], channels) if key in scaling else ()
        return InputSpec(size=size, **chosen)

    def _unscaled(self, tensor: TensorSpec) -> UndecidedError:
        usual = "mean: 0, std: 255 for pixels as 0 to 1; mean: 127.5, std: 127.5 for -1 to 1; mean: 0, std: 1 for 0 to 255"
        why = f"which numbers does input {_shown(tensor)} of {tensor.dtype} take? Usual are {usual}"
        return self._undecided("input.mean", why, "input: {mean: …, std: …}")

    def _per_channel(self, key: str, value: Any, channels: int) -> tuple[float, ...]:
        numbers = tuple(float(number) for number in (value if isinstance(value, list | tuple) else [value]))
        if len(numbers) not in (1, channels):
            raise self._error(f"input.{key}", f"{len(numbers)} numbers for {channels} channels")
        return numbers

    def _thresholds(self, head: _Head) -> Thresholds:
        given = {key: value for key, value in msgspec.structs.asdict(self._manifest.nms).items() if value is not None}
        return replace(head.cls.defaults, **given)

    @property
    def _model(self) -> str:
        return self._bundle.model.name

    def _error(self, field: str, message: str) -> BundleError:
        return BundleError(self._line(field, message))

    def _undecided(self, field: str, why: str, example: str, choices: Sequence[str] = ()) -> UndecidedError:
        return UndecidedError(self._line(field, why), self._ways(example), field, choices)

    def _line(self, field: str, message: str) -> str:
        place = str(self._bundle.place)
        which = f"variants.{self._bundle.variant}" if self._bundle.variant else ""
        return ": ".join(part for part in (place, which, field, message) if part)


def _fits(head: str, outputs: ModelOutputs) -> bool:
    """Whether a head takes these tensors with its default options, and as many classes as there are labels."""
    cls: type[Head] = load_class(HEADS[head])
    try:
        cls(outputs, cls.Options())
    except ValueError:
        return False
    return not outputs.classes or cls.classes(outputs) in (None, -1, outputs.classes)


def _with_classes(heads: Mapping[str, int | None]) -> str:
    """Such as: yolo (80 classes) and yolov5 (79)."""
    counted = next((head for head, classes in heads.items() if classes), None)
    named = [
        f"{head} ({classes} classes)" if head == counted else f"{head} ({classes})" if classes else head
        for head, classes in heads.items()
    ]
    return f"{', '.join(named[:-1])} and {named[-1]}"


def _size(tensor: TensorSpec) -> tuple[int, int]:
    """(width, height), -1 where dynamic."""
    return (tensor.shape[3], tensor.shape[2]) if tensor.layout == "NCHW" else (tensor.shape[2], tensor.shape[1])


def _channels(tensor: TensorSpec) -> int:
    return tensor.shape[1] if tensor.layout == "NCHW" else tensor.shape[3]


def _shown(tensor: TensorSpec) -> str:
    return f"{tensor.name} {_dimensions(tensor)}"


def _dimensions(tensor: TensorSpec) -> str:
    return f"[{', '.join(str(n) if n >= 0 else '?' for n in tensor.shape)}]"
