"""Vetting: real models, good and bad, tried in real workers."""

import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.bundles.load import Bundle, open_bundle, open_variants
from agent.bundles.store import Store
from agent.errors import VettingError, VettingFailure
from agent.pipeline.config import ModelConfig
from agent.pipeline.models import make_worker, plan
from agent.runtimes import Delegate
from agent.update.limits import Limits
from agent.update.vetting import Effort, Vetted, vet
from agent.worker.inference import Answer, Inference
from agent.worker.model import ModelWorker
from agent.worker.spawner import Spawner
from agent.worker.starting import ModelPlan, Variant
from tests.conftest import ROOT
from tests.faulty import faulty_spec
from tests.frames import make_frame
from tests.media import plain
from tests.models import Found, Output, Person, class_map, constant, faded, write_onnx, write_tflite, yolo, yolo_pose
from tests.processes import children

QUICK = Effort(load_s=60.0, runs=8, longest_s=2.0)
ALL_DAY = Limits(memory_mb=None, max_latency_ms=None, demand_hz=0.0)
WHITE = (255, 255, 255)
CLASSIFIER = 'name: a\nversion: "1.0.0"\nmodel: m.onnx\nhead: {type: classify, scores: probabilities}\ninput: {mean: 0, std: 255}\n'
DETECTOR = 'name: a\nversion: "1.0.0"\nmodel: m.onnx\nhead: {type: yolo, box: xywh_pixels}\ninput: {mean: 0, std: 255}\n'
GOLDEN = "golden: [{input: white.png, expect: white.json}]\n"
SCORES = faded("scores", np.array([[0.2, 0.8]], np.float32))
BOX = [Found((16.0, 8.0, 48.0, 40.0))]
IN_WHITE = [{"label": "0", "class_id": 0, "score": 0.9, "box": [0.25, 0.125, 0.75, 0.625]}]


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    spawner = Spawner()
    yield spawner
    spawner.close()


def write_golden(folder: Path, wanted: list[Any]) -> None:
    assert cv2.imwrite(str(folder / "white.png"), plain((64, 64), WHITE))
    (folder / "white.json").write_text(json.dumps(wanted))


def try_bundle(spawner: Spawner, path: Path, limits: Limits = ALL_DAY, **config: Any) -> Vetted:
    """Vet a bundle's directory."""
    slot = ModelConfig(bundle=str(path), **config)
    bundles = plan(slot, open_variants(slot.bundle)).bundles
    with closing(make_worker("main", slot, bundles, 2, spawner, restart=False)) as worker:
        vetted = vet(worker, bundles, None, limits, effort=QUICK)
        assert vetted is not None
        assert (worker.state, worker.acquire(0) is not None) == ("running", True)
        return vetted


def refused(spawner: Spawner, path: Path, limits: Limits = ALL_DAY, **config: Any) -> tuple[VettingFailure, str]:
    with pytest.raises(VettingError) as caught:
        try_bundle(spawner, path, limits, **config)
    assert "\n" not in str(caught.value)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("name", ["parts-1.0.0", "parts-1.1.0"])
def test_good_bundles_pass(spawner: Spawner, name: str) -> None:
    checks: list[str] = []
    fractions: list[float] = []
    slot = ModelConfig(bundle=str(ROOT / "models" / name))
    bundles = plan(slot, open_variants(slot.bundle)).bundles
    with closing(make_worker("main", slot, bundles, 2, spawner, restart=False)) as worker:
        vetted = vet(
            worker, bundles, None, ALL_DAY, progress=fractions.append, effort=QUICK, passed=lambda check, _: checks.append(check)
        )
        assert vetted is not None
        assert worker.state == "running"
        assert worker.acquire(10) is not None
    assert checks == ["load", "golden", "output", "latency", "memory"]
    assert fractions == sorted(fractions)
    assert (min(fractions) > 0, fractions[-1]) == (True, 1.0)
    assert (vetted.spec.name, vetted.variant, vetted.limits.memory_mb) == ("parts", None, 120)
    assert 0 < vetted.p50_ms <= vetted.p99_ms
    assert 1 << 20 < vetted.memory_bytes < 120 << 20


def detector(folder: Path) -> None:
    write_onnx(folder / "m.onnx", [yolo(BOX, normalized=False)])
    (folder / "bundle.yaml").write_text(DETECTOR + GOLDEN)
    write_golden(folder, IN_WHITE)


def classifier(folder: Path) -> None:
    write_tflite(folder / "m.tflite", [SCORES])
    (folder / "bundle.yaml").write_text(CLASSIFIER.replace(".onnx", ".tflite") + GOLDEN)
    write_golden(folder, [{"label": "1", "class_id": 1, "score": 0.8}, {"label": "0", "class_id": 0, "score": 0.2}])


def segmenter(folder: Path) -> None:
    write_onnx(folder / "m.onnx", [class_map(np.repeat([[1, 0]], 32, axis=1).repeat(64, axis=0))])
    (folder / "bundle.yaml").write_text(
        'name: a\nversion: "1.0.0"\nmodel: m.onnx\nhead: {type: segment}\ninput: {mean: 0, std: 255}\n' + GOLDEN
    )
    write_golden(folder, [{"label": "1", "class_id": 1, "area": 0.5, "mask": {"size": [64, 64], "rle": [0, 2048, 2048]}}])


def poses(folder: Path) -> None:
    person = Person((16.0, 8.0, 48.0, 40.0), [(20.0, 10.0, 0.9), (40.0, 30.0, 0.8)])
    write_onnx(folder / "m.onnx", [yolo_pose([person], normalized=False)])
    (folder / "bundle.yaml").write_text(
        'name: a\nversion: "1.0.0"\nmodel: m.onnx\nhead: {type: yolo_pose, kpt_shape: [2, 3], box: xywh_pixels}\n'
        "input: {mean: 0, std: 255}\n" + GOLDEN
    )
    points = [[0.3125, 0.1563, 0.9], [0.625, 0.4688, 0.8]]
    write_golden(folder, [IN_WHITE[0] | {"points": points}])


@pytest.mark.parametrize("make", [detector, classifier, segmenter, poses])
def test_golden_samples_of_every_task(spawner: Spawner, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)
    assert try_bundle(spawner, tmp_path).spec.name == "a"
    wanted = json.loads((tmp_path / "white.json").read_text())
    write_golden(tmp_path, [thing | {"label": "zebra"} for thing in wanted])
    code, says = refused(spawner, tmp_path)
    assert code == "golden_mismatch"
    assert says.startswith("a 1.0.0: in white.png it misses zebra")


@pytest.mark.parametrize(
    ("output", "manifest", "code", "says"),
    [
        (faded("scores", np.zeros((1, 3, 7), np.float32)), CLASSIFIER, "bundle_invalid", "head"),
        (SCORES, CLASSIFIER + "input: {size: [32, 32]}\n", "bundle_invalid", "input.size: it says [32, 32]"),
        (
            SCORES,
            CLASSIFIER + "labels: labels.txt\n",
            "bundle_invalid",
            "labels.txt has 3 lines, output scores [1, 2] has 2 classes",
        ),
        (faded("scores", np.array([[0.2, np.nan]], np.float32)), CLASSIFIER, "protocol", "not finite"),
        (replace(yolo(BOX, normalized=False), gain=np.full((1, 6, 84), np.nan, np.float32)), DETECTOR, "protocol", "not finite"),
        (faded("scores", np.array([[0.2, 5.0]], np.float32)), CLASSIFIER, "protocol", "outside 0..1"),
        (constant("scores", [[0.2, 0.8]]), CLASSIFIER, "constant_output", "the same answer for 8 pictures"),
        (constant("output0", yolo(BOX, normalized=False).gain), DETECTOR, "constant_output", "the same answer for 8 pictures"),
        (yolo([], normalized=False), DETECTOR + GOLDEN, "golden_mismatch", "in white.png it misses 0 0.90"),
    ],
)
def test_bad_models_are_refused(
    spawner: Spawner, tmp_path: Path, output: Output, manifest: str, code: VettingFailure, says: str
) -> None:
    write_onnx(tmp_path / "m.onnx", [output])
    lines = {line.partition(":")[0]: line for line in manifest.splitlines()}  # the last of a key
    (tmp_path / "bundle.yaml").write_text("\n".join(lines.values()))
    (tmp_path / "labels.txt").write_text("person\ncar\ndog\n")
    write_golden(tmp_path, IN_WHITE)
    found, line = refused(spawner, tmp_path)
    assert (found, says in line) == (code, True), line


def test_what_is_no_model_is_refused(spawner: Spawner, tmp_path: Path) -> None:
    model = write_onnx(tmp_path / "m.onnx", [SCORES])
    model.write_bytes(model.read_bytes().replace(b"ReduceMean", b"ReduceMoan"))
    (tmp_path / "bundle.yaml").write_text(CLASSIFIER)
    assert refused(spawner, tmp_path)[0] == "bundle_invalid"


@pytest.mark.parametrize(
    ("output", "manifest"),
    [
        (class_map(np.full((64, 64), 0.4)), CLASSIFIER.replace("classify, scores: probabilities", "segment")),
        (yolo([], normalized=False), DETECTOR),
    ],
)
def test_a_model_that_finds_nothing_in_patterns_is_left_to_its_golden_samples(
    spawner: Spawner, tmp_path: Path, output: Output, manifest: str
) -> None:
    """Only background in noise, ramps and discs: right, and the same for all of them."""
    write_onnx(tmp_path / "m.onnx", [output])
    (tmp_path / "bundle.yaml").write_text(manifest)
    assert try_bundle(spawner, tmp_path).spec.name == "a"


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("picture", [b"GIF89a but no more", png(64, 64), png(60_000, 60_000), b""])
def test_a_hostile_picture_costs_the_bundle_alone(spawner: Spawner, tmp_path: Path, picture: bytes) -> None:
    detector(tmp_path)
    (tmp_path / "white.png").write_bytes(picture)
    before = children(os.getpid())
    code, says = refused(spawner, tmp_path)
    assert (code, "white.png" in says) == ("bundle_invalid", True)
    assert children(os.getpid()) == before


def test_an_expectation_of_another_task_is_told(spawner: Spawner, tmp_path: Path) -> None:
    detector(tmp_path)
    write_golden(tmp_path, [{"label": "0", "class_id": 0, "score": 0.9}])
    code, says = refused(spawner, tmp_path)
    assert (code, "no list of what a model for detect finds" in says) == ("bundle_invalid", True)


def test_the_variant_that_serves_states_its_own(spawner: Spawner, tmp_path: Path) -> None:
    detector(tmp_path)
    (tmp_path / "other.json").write_text("[]")
    head = DETECTOR.replace("model: m.onnx\n", "max_latency_ms: 1000000\n")
    (tmp_path / "bundle.yaml").write_text(
        head + "golden: [{input: white.png, expect: other.json}]\nvariants:\n"
        "  - {id: coral, model: m.onnx, requires: {delegate: edgetpu}}\n"
        "  - {id: any, model: m.onnx, max_latency_ms: 2000000, golden: [{input: white.png, expect: white.json}]}\n"
    )
    vetted = try_bundle(spawner, tmp_path)
    assert (vetted.variant, vetted.spec.variant, vetted.limits.max_latency_ms) == ("any", "any", 2e6)


def test_where_no_variant_can_be_loaded_the_device_is_unfit(spawner: Spawner, tmp_path: Path) -> None:
    """The CPU's onnxruntime has no CUDA, which shows when the model is loaded."""
    detector(tmp_path)
    (tmp_path / "bundle.yaml").write_text(DETECTOR + "requires: {delegate: cuda}\n")
    code, says = refused(spawner, tmp_path, delegates=["cuda"])
    assert (code, "cuda" in says) == ("device_unfit", True)


def test_a_bundle_of_the_store_is_tried_on_its_own_pictures(spawner: Spawner, tmp_path: Path) -> None:
    store = Store(tmp_path / "state", reserve_bytes=0)
    digest = store.import_directory(ROOT / "models/parts-1.1.0", "sideload").digest
    slot = ModelConfig(bundle="parts@1.1.0")
    bundles = store.open(digest)
    said: dict[str, str] = {}
    with closing(make_worker("main", slot, bundles, 2, spawner, restart=False)) as worker:
        assert vet(worker, bundles, None, ALL_DAY, effort=QUICK, passed=said.__setitem__) is not None
    assert said["golden"] == "2 samples, each as expected"


def test_memory_beyond_what_the_bundle_says(spawner: Spawner, tmp_path: Path) -> None:
    detector(tmp_path)
    (tmp_path / "bundle.yaml").write_text(DETECTOR + "requires: {memory_mb: 1}\n")
    code, says = refused(spawner, tmp_path)
    assert code == "memory"
    assert says.startswith("a 1.0.0: it uses ")
    assert says.endswith("MB of memory, more than 1.25 times the 1 MB of its memory_mb")


# --- models that behave as their path says


def tried_plan(what: str) -> ModelPlan:
    variant = Variant("", f"models/{what}", "tests.tried_runtime:TriedRuntime", faulty_spec, (Delegate("cpu"),))
    return ModelPlan("tried/bundle.yaml", (variant,), {}, 1, "all", 200 << 20)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Stands for that of the models that are tried; it says nothing."""
    write_onnx(tmp_path / "m.onnx", [SCORES])
    (tmp_path / "bundle.yaml").write_text(CLASSIFIER)
    return open_bundle(tmp_path)


def code_of(
    spawner: Spawner, bundle: Bundle, what: str, serving: str | None = None, limits: Limits = ALL_DAY, effort: Effort = QUICK
) -> str | None:
    """What a model is refused for beside another that serves; None where it is not."""
    with (
        closing(ModelWorker("candidate", tried_plan(what), 2, spawner, restart=False)) as candidate,
        closing(ModelWorker("serving", tried_plan(serving or "fine"), 2, spawner)) as other,
    ):
        if serving:
            other.start()
            assert other.spec(20) is not None
        try:
            vet(candidate, (bundle,), other if serving else None, limits, effort=effort)
        except VettingError as error:
            return error.code if "\n" not in str(error) else str(error)
        assert candidate.acquire(10) is not None
        return None


@pytest.mark.parametrize(
    ("what", "code", "effort"),
    [
        ("fine", None, QUICK),
        ("segfault", "crashed", QUICK),
        ("hang", "deadline", QUICK._replace(load_s=1.0)),
        ("leak", "memory", QUICK),
        ("leak-later", "memory", QUICK),
        ("crash-later", "crashed", QUICK),
        ("broken", "bundle_invalid", QUICK),
    ],
)
def test_failing_models(spawner: Spawner, bundle: Bundle, what: str, code: str | None, effort: Effort) -> None:
    before = children(os.getpid())
    assert code_of(spawner, bundle, what, effort=effort) == code
    assert children(os.getpid()) == before


@pytest.mark.parametrize(
    ("candidate", "serving", "demand_hz", "max_latency_ms", "code"),
    [
        ("slow-80", "slow-40", 18.0, None, "latency"),  # 80 ms at 18 Hz is 144 % of the time, 40 ms are 72 %
        ("slow-80", "slow-40", 5.0, None, None),  # as slow, and fast enough
        ("slow-80", "slow-80", 18.0, None, None),  # they could not be kept up with before either
        ("slow-80", None, 18.0, None, None),  # nothing served
        ("slow-80", None, 0.0, 60.0, "latency"),
        ("slow-40", None, 0.0, 1000.0, None),
    ],
)
def test_slower_is_a_fault_only_where_the_sources_cannot_be_kept_up_with(
    spawner: Spawner,
    bundle: Bundle,
    candidate: str,
    serving: str | None,
    demand_hz: float,
    max_latency_ms: float | None,
    code: str | None,
) -> None:
    limits = Limits(None, max_latency_ms, demand_hz)
    assert code_of(spawner, bundle, candidate, serving, limits) == code


def test_it_serves_on_meanwhile(spawner: Spawner) -> None:
    old = ModelConfig(bundle=str(ROOT / "models/parts-1.0.0"))
    new = ModelConfig(bundle=str(ROOT / "models/parts-1.1.0"))
    answers: list[Answer] = []
    over = threading.Event()
    with (
        closing(make_worker("old", old, open_variants(old.bundle), 2, spawner)) as serving,
        closing(make_worker("new", new, open_variants(new.bundle), 2, spawner, restart=False)) as candidate,
    ):
        serving.start()
        spec = serving.spec(20)
        assert spec is not None
        inference = Inference(serving, spec, spec.thresholds)

        def go_on() -> None:
            while not over.is_set():
                slot = serving.acquire(1)
                if slot is not None:
                    inference.submit(slot, make_frame(len(answers)), answers.append)

        pipeline = threading.Thread(target=go_on)
        pipeline.start()
        try:
            vetted = vet(candidate, open_variants(new.bundle), serving, Limits(None, None, 1e6), effort=QUICK)
        finally:
            over.set()
            pipeline.join()
        assert vetted is not None
        assert (serving.restarts, candidate.state) == (0, "running")
    assert len(answers) > 20
    assert all(answer.prediction is not None for answer in answers[:-2])


def test_it_can_be_cancelled_between_runs(spawner: Spawner, bundle: Bundle) -> None:
    done: list[float] = []
    with closing(ModelWorker("candidate", tried_plan("slow-10"), 2, spawner, restart=False)) as candidate:
        assert vet(candidate, (bundle,), None, ALL_DAY, lambda: len(done) == 3, done.append) is None
        assert candidate.state == "running"
    assert len(done) == 3


def test_it_can_be_cancelled_while_it_loads(spawner: Spawner, bundle: Bundle) -> None:
    with closing(ModelWorker("candidate", tried_plan("hang"), 2, spawner, restart=False)) as candidate:
        assert vet(candidate, (bundle,), None, ALL_DAY, lambda: candidate.pid is not None) is None
